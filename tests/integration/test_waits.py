"""Whole waits over HTTP: a sensor, its deferral, its trigger and its return, without Airflow's processes."""

from __future__ import annotations

import asyncio
import json
import math
import time
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_roe.hooks.roe import RoeHook
from airflow_provider_roe.sensors.roe import RoeQueryStatusSensor
from airflow_provider_roe.testing import Fault, QueryPlan, RoeSimulator
from airflow_provider_roe.triggers.roe import RoeQueryStatusTrigger

if TYPE_CHECKING:
    from collections.abc import Callable

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


@pytest.fixture
def roe(roe_connection: RoeSimulator, monkeypatch: pytest.MonkeyPatch) -> RoeSimulator:
    """Return the simulator that ``roe_default`` leads to, where transient errors are retried for a moment."""
    uri = f"{roe_connection.connection_uri}/?retry_window=0.05&request_timeout=5"
    monkeypatch.setenv("AIRFLOW_CONN_ROE_DEFAULT", uri)
    monkeypatch.setattr("airflow_provider_roe.triggers.roe.HAND_OVER", 0)
    monkeypatch.setattr("airflow_provider_roe.triggers.roe.FIRST_POLL_SPREAD", 0)
    return roe_connection


def as_stored(value: Any) -> Any:
    """Return what is left of a value that went through the database."""
    return json.loads(json.dumps(value))


def wait(query_id: str, **arguments: Any) -> Any:
    """Run a sensor as a worker and a triggerer do, and return what it returns."""
    sensor = RoeQueryStatusSensor(
        task_id="wait", query_id=query_id, **{"poke_interval": 0.05, "timeout": 3} | arguments
    )
    ti = SimpleNamespace(map_index=-1, start_date=datetime.now(UTC))
    try:
        return sensor.execute({"ti": ti})
    except TaskDeferred as deferral:
        path, kwargs = as_stored(deferral.trigger.serialize())
        assert path.endswith(RoeQueryStatusTrigger.__name__)
        event = as_stored(asyncio.run(only_event(RoeQueryStatusTrigger(**kwargs))))
        return sensor.resume_execution(deferral.method_name, {"event": event}, {"ti": ti})


async def only_event(trigger: RoeQueryStatusTrigger) -> Any:
    (event,) = [event.payload async for event in trigger.run()]
    return event


def outcome(call: Callable[[], Any]) -> tuple[str, Any]:
    """Return a call's value, or the kind of its error."""
    try:
        return "returned", call()
    except Exception as e:
        return "raised", type(e).__name__


SUCCESSES = ("SUCCESS", "Completed")
FLAGS = [{}, {"soft_fail": True}, {"never_fail": True}, {"silent_fail": True}]


CELLS = [
    (plan, flags) for plan in PLANS for flags in (FLAGS[:1] if PLANS[plan].ends_as in SUCCESSES else FLAGS)
]


@pytest.mark.parametrize(
    ("plan", "flags"), CELLS, ids=lambda value: value if isinstance(value, str) else "".join(value)
)
def test_a_wait_ends_the_same_whether_it_polls_or_defers(roe, plan, flags):
    timeout = 0.3 if plan in ("never", "malformed", "of another query") else 5
    query_id = roe.submit("SELECT 1", PLANS[plan])
    polled = outcome(lambda: wait(query_id, timeout=timeout, **flags))
    query_id = query_id if polled[0] == "returned" else roe.submit("SELECT 1", PLANS[plan])
    deferred = outcome(lambda: wait(query_id, timeout=timeout, deferrable=True, defer_after=0, **flags))
    assert deferred == polled
    assert (polled[0] == "returned") == (PLANS[plan].ends_as in SUCCESSES)


@pytest.mark.parametrize(
    "arguments", [{}, {"deferrable": True, "defer_after": 0}], ids=["poke", "deferrable"]
)
class TestTheWholeWay:
    def test_sql_is_submitted_waited_for_and_its_rows_fetched(self, roe, arguments):
        hook = RoeHook()
        query_id = hook.submit_query("SELECT count(*) AS n FROM invoices").query_id
        value = wait(query_id, **arguments)
        assert as_stored(value) == value
        assert value["duration"] >= 1
        assert hook.get_query_result(query_id).results[0].column_names == ("n",)

    def test_sql_that_is_wrong_fails_with_the_database_s_words(self, roe, arguments):
        query_id = RoeHook().submit_query("SELECT * FROM nowhere").query_id
        with pytest.raises(Exception, match="nowhere") as e:
            wait(query_id, **arguments)
        assert type(e.value).__name__ == "AirflowFailException"

    def test_an_outage_in_the_middle_is_waited_out(self, roe, arguments, monkeypatch):
        monkeypatch.setenv("AIRFLOW_CONN_ROE_DEFAULT", f"{roe.connection_uri}/?retry_window=30")
        query_id = roe.submit("SELECT 1", PLANS["success"])
        roe.add_fault(Fault(status_code=503, seconds=0.5))
        assert wait(query_id, timeout=30, **arguments)["status"] == "SUCCESS"
        assert 503 in [request.status_code for request in roe.requests]


async def test_a_hundred_waits_each_end_as_their_query_did_through_an_unreliable_service(roe, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_ROE_DEFAULT", f"{roe.connection_uri}/?retry_window=60&request_timeout=2")
    ends = ["success", "failure", "retried", "an unknown end"]
    queries = [(roe.submit("SELECT 1", PLANS[ends[i % 4]]), ends[i % 4]) for i in range(100)]
    for trouble in (
        {"status_code": 503},
        {"status_code": 429, "retry_after": 1},
        {"reset": "before"},
        {"reset": "body"},
        {"truncate": True},
        {"status_code": 200, "body": "<html>Bad gateway</html>"},
    ):
        roe.add_fault(Fault(probability=0.1, seconds=2, **trouble))
    triggers = [
        RoeQueryStatusTrigger(query_id=query_id, started_at=time.time(), timeout=60, poke_interval=0.2)
        for query_id, _ in queries
    ]
    events = await asyncio.gather(*map(only_event, triggers))
    kinds = {"success": "success", "retried": "success"}
    assert [event["kind"] for event in events] == [kinds.get(end, "query_failed") for _, end in queries]
    assert all(query_id in json.dumps(event) for (query_id, _), event in zip(queries, events, strict=True))
