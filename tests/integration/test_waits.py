"""Whole waits over HTTP: a sensor, its deferral, its trigger and its return, without Airflow's processes."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest

from airflow_provider_roe.hooks.roe import RoeHook
from airflow_provider_roe.testing import QueryPlan
from tests.integration.running import MODES, as_stored, each_mode, ending

UNKNOWN_QUERY = "7d9c3b1e-52f4-4a8d-9e60-1b7f2c4d8a35"
RUNS = [("PENDING", 0.03), ("STARTED", 0.07)]
PLANS = {
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
    "of another query": QueryPlan(
        statuses=(), fields={"worksheet_query_id": UNKNOWN_QUERY, "status": "SUCCESS"}
    ),
    "without times": QueryPlan(
        statuses=RUNS, ends_as="SUCCESS", fields={"created_at": None, "finished_at": QueryPlan.MISSING}
    ),
    "a clock that is off": QueryPlan(statuses=RUNS, ends_as="SUCCESS", clock_skew=-86400),
}
SUCCESSES = ("SUCCESS", "Completed")
FLAGS = [{}, {"soft_fail": True}, {"never_fail": True}, {"silent_fail": True}]
CELLS = [
    (plan, flags) for plan in PLANS for flags in (FLAGS[:1] if PLANS[plan].ends_as in SUCCESSES else FLAGS)
]


@pytest.mark.parametrize(
    ("plan", "flags"), CELLS, ids=lambda value: value if isinstance(value, str) else "".join(value)
)
def test_a_wait_ends_the_same_in_every_mode(roe, connect, plan, flags):
    connect(roe, retry_window=0.05)
    # The others with answers that are none end before their timeout, however busy the machine.
    no_answers = plan in ("malformed", "of another query")
    endless = plan == "never" or (no_answers and "silent_fail" in flags)

    def wait_in(mode: str) -> tuple[str, str]:
        query_id = roe.submit("SELECT 1", PLANS[plan])
        ended = ending(query_id, mode, timeout=0.3 if endless else 5, **flags)
        return ended.kind, type(ended.error).__name__

    with ThreadPoolExecutor() as pool:
        polled, rescheduled, deferred = pool.map(wait_in, MODES)
    assert polled == rescheduled == deferred
    assert (polled[0] == "success") == (PLANS[plan].ends_as in SUCCESSES)


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


def test_rescheduled_polls_keep_the_distance_that_airflow_needs(roe, connect, monkeypatch):
    monkeypatch.setattr("airflow_provider_roe.sensors._waiting.HAND_OVER", 0.5)
    connect(roe)
    query_id = roe.submit("SELECT 1", QueryPlan(statuses=[("STARTED", 1.2)], ends_as="SUCCESS"))
    assert ending(query_id, "reschedule").kind == "success"
    polls = [request.received_at for request in roe.requests_of("status")]
    assert len(polls) > 2
    assert all((later - earlier).total_seconds() >= 0.45 for earlier, later in pairwise(polls))
