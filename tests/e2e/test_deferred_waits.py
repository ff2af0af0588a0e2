"""Deferred waits that end before their query does: a user ends them, their time is up, or Roe is away."""

from __future__ import annotations

import math
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_roe.testing import Fault, QueryPlan, RoeSimulator
from dev.patience import patient
from tests.e2e.running import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dev.local_airflow import LocalAirflow

    Task = dict[str, Any]

RUNS = QueryPlan([("STARTED", math.inf)])
#: What a user may do to a run or a task while it waits: method and path of the call, and its body
ACTIONS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "run set to failed": ("PATCH", "dagRuns/{run_id}", {"state": "failed"}),
    "run set to success": ("PATCH", "dagRuns/{run_id}", {"state": "success"}),
    "task set to failed": ("PATCH", "dagRuns/{run_id}/taskInstances/wait", {"new_state": "failed"}),
    "task set to success": ("PATCH", "dagRuns/{run_id}/taskInstances/wait", {"new_state": "success"}),
    "task cleared": ("POST", "clearTaskInstances", {"dry_run": False, "only_failed": False}),
}
#: Shorter than what a cleared task, which starts again at once, lets pass between its first two polls
SILENCE = timedelta(seconds=5)


def test_a_wait_that_a_user_ends_stops_to_poll_within_seconds(
    airflow: LocalAirflow, roe: RoeSimulator, record_figure: Callable[[str], None]
) -> None:
    airflow.wait_for_dag("ended_by_a_user")
    queries = {action: roe.submit("SELECT 1", RUNS) for action in ACTIONS}
    runs = {action: airflow.trigger("ended_by_a_user", {"query_id": queries[action]}) for action in ACTIONS}
    until(lambda: all(len(roe.requests_of("status", query_id)) > 3 for query_id in queries.values()))
    acted_at = {}
    for action, (method, path, body) in ACTIONS.items():
        acted_at[action] = datetime.now(UTC)
        if method == "POST":
            body = body | {"dag_run_id": runs[action]}
        airflow.api(method, f"dags/ended_by_a_user/{path.format(run_id=runs[action])}", json=body)

    def last_poll(action: str) -> datetime:
        return roe.requests_of("status", queries[action])[-1].received_at

    until(lambda: all(datetime.now(UTC) - last_poll(action) > SILENCE for action in ACTIONS), timeout=60)
    seconds = {action: (last_poll(action) - acted_at[action]).total_seconds() for action in ACTIONS}
    told = ", ".join(f"{action} {s:.1f} s" for action, s in seconds.items())
    record_figure(f"a user ends a wait: last poll after {told}")
    assert max(seconds.values()) < patient(30)

    roe.finish(queries["task cleared"], "SUCCESS")
    assert airflow.wait_for_run("ended_by_a_user", runs["task cleared"])["state"] == "success"


@contextmanager
def no_triggerer(airflow: LocalAirflow) -> Iterator[None]:
    triggerers = [airflow.component(name) for name in ("triggerer", "triggerer-2")]
    for triggerer in triggerers:
        triggerer.stop(grace=30)
    try:
        yield
    finally:
        for triggerer in triggerers:
            triggerer.start()


class Deadlines:
    """A run of waits of which some have to end before, in or after a time without triggerers, the gap."""

    def __init__(self, airflow: LocalAirflow, roe: RoeSimulator) -> None:
        self._airflow = airflow
        in_the_gap = ["timeout_in_the_gap", "success_in_the_gap"]
        names = ["timeout_before_the_gap", *in_the_gap, "timeout_after_the_gap", "execution_timeout"]
        self.queries = {name: roe.submit("SELECT 1", RUNS) for name in names}
        self.queries["retried"] = roe.submit("SELECT 1", QueryPlan([("STARTED", 60)]))
        airflow.wait_for_dag("deadlines")
        self.run_id = airflow.trigger("deadlines", self.queries)
        until(lambda: self.task("retried")["state"] == "deferred")
        roe.add_fault(Fault(query_id=self.queries["retried"], status_code=503))
        until(lambda: self.task("timeout_before_the_gap")["end_date"] is not None)
        with no_triggerer(airflow):
            self.gap_began = datetime.now(UTC)
            past_deadline = max(map(self.started_at, in_the_gap)) + timedelta(seconds=70 + 3)
            until(lambda: datetime.now(UTC) > past_deadline)
            roe.finish(self.queries["success_in_the_gap"], "SUCCESS")
        self.gap_ended = datetime.now(UTC)
        until(lambda: self.task("retried")["try_number"] > 1)
        roe.clear_faults()
        airflow.wait_for_run("deadlines", self.run_id)

    def task(self, task_id: str) -> Task:
        path = f"dags/deadlines/dagRuns/{self.run_id}/taskInstances/{task_id}"
        return dict(self._airflow.api("GET", path))

    def started_at(self, task_id: str) -> datetime:
        return datetime.fromisoformat(self.task(task_id)["start_date"])

    def ended_at(self, task_id: str) -> datetime:
        return datetime.fromisoformat(self.task(task_id)["end_date"])

    def seconds(self, task_id: str) -> float:
        """How long a task took in all."""
        return (self.ended_at(task_id) - self.started_at(task_id)).total_seconds()

    def log(self, task_id: str) -> str:
        return self._airflow.log("deadlines", self.run_id, task_id, self.task(task_id)["try_number"])


@pytest.fixture(scope="module")
def deadlines(airflow: LocalAirflow, roe: RoeSimulator) -> Deadlines:
    return Deadlines(airflow, roe)


@pytest.mark.parametrize(
    ("task_id", "timeout"), [("timeout_before_the_gap", 20), ("timeout_after_the_gap", 100)]
)
def test_a_wait_takes_its_timeout_whether_or_not_the_triggerers_restart(
    task_id: str, timeout: float, deadlines: Deadlines, record_figure: Callable[[str], None]
) -> None:
    assert deadlines.task(task_id)["state"] == "failed"
    assert f"AirflowSensorTimeout: Query {deadlines.queries[task_id]} is still STARTED" in deadlines.log(
        task_id
    )
    when = task_id.removeprefix("timeout_").replace("_", " ")
    took = deadlines.seconds(task_id)
    record_figure(f"timeout of {timeout} s, {when} without triggerers: failed after {took:.1f} s")
    assert timeout <= took < timeout + patient(45)


def test_a_wait_whose_time_was_up_while_no_triggerer_ran_ends_when_one_does(
    deadlines: Deadlines, record_figure: Callable[[str], None]
) -> None:
    deadline = deadlines.started_at("timeout_in_the_gap") + timedelta(seconds=70)
    assert deadlines.gap_began < deadline < deadlines.gap_ended
    assert "AirflowSensorTimeout" in deadlines.log("timeout_in_the_gap")
    delay = (deadlines.ended_at("timeout_in_the_gap") - deadlines.gap_ended).total_seconds()
    record_figure(f"timeout while no triggerer runs: failed {delay:.1f} s after the start of one")
    assert 0 < delay < patient(90)


def test_a_query_that_ended_past_the_deadline_while_no_triggerer_ran_is_a_success(
    deadlines: Deadlines,
) -> None:
    assert deadlines.task("success_in_the_gap")["state"] == "success", deadlines.log("success_in_the_gap")


def test_the_execution_timeout_is_honoured(
    deadlines: Deadlines, record_figure: Callable[[str], None]
) -> None:
    assert "AirflowTaskTimeout: The task's execution_timeout of 0:00:25" in deadlines.log("execution_timeout")
    took = deadlines.seconds("execution_timeout")
    record_figure(f"execution_timeout of 25 s while deferred: failed after {took:.1f} s")
    # The scheduler looks for deferred tasks whose time is up every 15 s.
    assert 25 <= took < 25 + patient(15 + 45)


def test_a_retry_waits_on_for_the_same_query_and_succeeds(
    deadlines: Deadlines, airflow: LocalAirflow, record_figure: Callable[[str], None]
) -> None:
    task = deadlines.task("retried")
    assert task["state"] == "success", deadlines.log("retried")
    assert "RoeUnavailableError" in airflow.log("deadlines", deadlines.run_id, "retried", 1)
    assert task["try_number"] > 1
    assert airflow.xcom("deadlines", deadlines.run_id, "retried")["query_id"] == deadlines.queries["retried"]
    record_figure(f"a retry waits for the same query: succeeded at try {task['try_number']}")
