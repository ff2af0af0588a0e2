"""Whole waits over HTTP: a sensor, its deferral, its trigger and its return, without Airflow's processes."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest

from airflow_provider_roe.hooks.roe import RoeHook
from airflow_provider_roe.testing import JobPlan, QueryPlan
from tests.integration.running import MODES, as_stored, each_mode, ending, once
from tests.integration.things import JOB, QUERY, each_thing

UNKNOWN = "7d9c3b1e-52f4-4a8d-9e60-1b7f2c4d8a35"
RUNS = [("PENDING", 0.03), ("STARTED", 0.07)]
QUERIES = {
    "success": QueryPlan(statuses=RUNS, ends_as="SUCCESS"),
    "another word for success": QueryPlan(statuses=RUNS, ends_as="Completed"),
    "success with an error": QueryPlan(statuses=RUNS, ends_as="SUCCESS", error="one row was skipped"),
    "failure": QueryPlan(statuses=RUNS, ends_as="FAILURE", error="Unknown table"),
    "revoked": QueryPlan(statuses=RUNS, ends_as="REVOKED"),
    "an unknown end": QueryPlan(statuses=RUNS, ends_as="VANISHED"),
    "retried": QueryPlan(
        statuses=[*RUNS, ("RETRY", 0.06, "worker lost"), ("STARTED", 0.06)], ends_as="SUCCESS"
    ),
    "an unknown status": QueryPlan(statuses=[*RUNS, ("WARMING", 0.06)], ends_as="SUCCESS"),
    "never": QueryPlan(statuses=[("STARTED", math.inf)]),
    "malformed": QueryPlan(statuses=RUNS, fields={"status": None}),
    "of another query": QueryPlan(statuses=(), fields={"worksheet_query_id": UNKNOWN, "status": "SUCCESS"}),
    "without times": QueryPlan(
        statuses=RUNS, ends_as="SUCCESS", fields={"created_at": None, "finished_at": QueryPlan.MISSING}
    ),
    "a clock that is off": QueryPlan(statuses=RUNS, ends_as="SUCCESS", clock_skew=-86400),
}
CODES = [(0, 0.03), (1, 0.07)]
JOBS = {
    "success": JobPlan(CODES, ends_as=3),
    "another word for success": JobPlan(CODES, ends_as=6),
    "success with an error": JobPlan(CODES, ends_as=3, error="one row was skipped"),
    "failure": JobPlan(CODES, ends_as=4, error="Unknown table"),
    "cancelled": JobPlan(CODES, ends_as=5),
    "an unknown end": JobPlan(CODES, ends_as=99),
    "retried": JobPlan([*CODES, (2, 0.06, "worker lost"), (1, 0.06)]),
    "an unknown status": JobPlan([*CODES, (99, 0.06)]),
    "never": JobPlan([(1, math.inf)]),
    "malformed": JobPlan(CODES, fields={"status": None}),
    "of another job": JobPlan((), fields={"id": UNKNOWN}),  # alone it is asked for by its own id
    "without times": JobPlan(
        CODES,
        fields={"created_at": None, "last_updated_at": JobPlan.MISSING, "timestamp": "yesterday"},
    ),
    "a clock that is off": JobPlan(CODES, clock_skew=-86400),
}
SUCCESSES = ("SUCCESS", "Completed", 3, 6)
FLAGS = [{}, {"soft_fail": True}, {"never_fail": True}, {"silent_fail": True}]
#: What the flags make of an end does not depend on what was waited for: of jobs one of each end will do.
ENDS_OF_JOBS = ("failure", "never", "malformed")
CELLS = [
    (QUERY, name, plan, flags)
    for name, plan in QUERIES.items()
    for flags in (FLAGS[:1] if plan.ends_as in SUCCESSES else FLAGS)
] + [
    (JOB, name, plan, flags)
    for name, plan in JOBS.items()
    for flags in (FLAGS if name in ENDS_OF_JOBS else FLAGS[:1])
]


@pytest.mark.parametrize(
    ("thing", "name", "plan", "flags"),
    [
        pytest.param(*cell, id=f"{cell[0].name}-{cell[1]}-{''.join(cell[3])}".removesuffix("-"))
        for cell in CELLS
    ],
)
def test_a_wait_ends_the_same_in_every_mode(roe, connect, thing, name, plan, flags):
    connect(roe, retry_window=0.05)
    # The others end before their timeout, however busy the machine.
    no_answers = name in ("malformed", "of another query")
    endless = name == "never" or plan.ends_as == 99 or (no_answers and "silent_fail" in flags)

    def wait_in(mode: str) -> tuple[str, str]:
        ended = ending(thing.run(roe, plan), mode, thing, timeout=0.3 if endless else 60, **flags)
        return ended.kind, type(ended.error).__name__

    with ThreadPoolExecutor() as pool:
        polled, rescheduled, deferred = pool.map(wait_in, MODES)
    assert polled == rescheduled == deferred
    assert (polled[0] == "success") == (plan.ends_as in SUCCESSES and name not in ("never", "malformed"))


@each_mode
class TestTheWholeWay:
    def test_sql_is_submitted_waited_for_and_its_rows_fetched(self, roe, connect, mode):
        connect(roe)
        hook = RoeHook()
        query_id = hook.submit_query("SELECT count(*) AS n FROM invoices").query_id
        value = ending(query_id, mode).value
        assert as_stored(value) == value
        assert value["duration"] >= 1
        assert hook.get_query_result(query_id).results[0].column_names == ("n",)

    def test_sql_that_is_wrong_fails_with_the_database_s_words(self, roe, connect, mode):
        connect(roe)
        ended = ending(RoeHook().submit_query("SELECT * FROM nowhere").query_id, mode)
        assert ended.kind == "failed"
        assert "nowhere" in ended.message


@each_thing
def test_rescheduled_polls_keep_the_distance_that_airflow_needs(roe, connect, thing, monkeypatch):
    monkeypatch.setattr("airflow_provider_roe.sensors._waiting.HAND_OVER", 0.5)
    connect(roe)
    thing_id = thing.start(roe)

    def was_polled_three_times() -> bool:
        return len(roe.requests_of(thing.call)) >= 3

    def end() -> None:
        thing.finish(roe, thing_id, "SUCCESS")

    with once(was_polled_three_times, end):
        assert ending(thing_id, "reschedule", thing).kind == "success"
    polls = [request.received_at for request in roe.requests_of(thing.call)]
    assert len(polls) > 3
    assert all((later - earlier).total_seconds() >= 0.45 for earlier, later in pairwise(polls))
