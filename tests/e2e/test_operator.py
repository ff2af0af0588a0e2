"""The operator on a real Airflow: a query is submitted once, whatever happens to its task."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from airflow_provider_roe.testing import QueryPlan
from tests.e2e.running import until

if TYPE_CHECKING:
    from airflow_provider_roe.testing import RoeSimulator
    from dev.local_airflow import LocalAirflow

KILLED = ("blocking", "deferrable", "not_durable")
CLEARED = "cleared_while_deferred"
XCOM_FAILS = ("xcom_fails", "xcom_fails_after_deferral")


def pids_of(task: dict[str, Any]) -> list[int]:
    """Return the process that runs a task, once it is there. Its worker says LocalExecutor before the id."""
    title = f"airflow worker -- {task['id']}"
    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if " ".join(process.info["cmdline"] or ()).strip() == title
    ]


def kill_worker(task: dict[str, Any]) -> None:
    """Kill the process that runs a task, as the kernel does when memory runs out."""
    until(lambda: len(pids_of(task)) == 1)
    os.kill(pids_of(task)[0], signal.SIGKILL)


class Run:
    """
    A run in which workers die and a deferred task is cleared, each while its query runs.

    Other tasks cannot return what they have read: for two tries, or at all.
    """

    def __init__(self, airflow: LocalAirflow, roe: RoeSimulator) -> None:
        self.airflow, self.roe = airflow, roe
        self.sql = {name: f"SELECT '{name}' AS task" for name in (*KILLED, CLEARED)}
        long = '/* simulate {"statuses": [["STARTED", 900000]]} */'
        conf = {name: f"{long} {sql}" for name, sql in self.sql.items()}
        self.sql |= {name: f"SELECT '{name}' AS task" for name in XCOM_FAILS}
        self.sql["nul"] = "SELECT 'a' || char(0) AS task"
        airflow.wait_for_dag("operators")
        self.run_id = airflow.trigger("operators", self.sql | conf)
        with ThreadPoolExecutor(len(KILLED)) as threads:
            list(threads.map(self.kill, KILLED))
        until(lambda: self.task(CLEARED)["state"] == "deferred")
        self.query_id_while_deferred = airflow.xcom("operators", self.run_id, CLEARED, key="query_id")
        self.clear(CLEARED)
        for name in (*KILLED, CLEARED):
            until(lambda: self.is_waited_for_again(name))  # noqa: B023
        for name in (*KILLED, CLEARED):
            roe.finish(self.query_ids(name)[-1], "SUCCESS")
        airflow.wait_for_run("operators", self.run_id)

    def clear(self, *names: str) -> None:
        body = {"dry_run": False, "only_failed": False, "dag_run_id": self.run_id, "task_ids": names}
        self.airflow.api("POST", "dags/operators/clearTaskInstances", json=body)

    def kill(self, name: str) -> None:
        until(lambda: self.is_waited_for(name))
        kill_worker(self.task(name))

    def query_ids(self, name: str) -> list[str]:
        """Return the queries that a task has submitted."""
        return [query.id for query in self.roe.queries.values() if query.sql.endswith(self.sql[name])]

    def is_waited_for(self, name: str) -> bool:
        return any(len(self.roe.requests_of("status", query_id)) > 1 for query_id in self.query_ids(name))

    def is_waited_for_again(self, name: str) -> bool:
        """Tell whether a further try runs, and has asked for the last query of the task."""
        task = self.task(name)
        if task["try_number"] < 2 or task["state"] not in ("running", "deferred"):
            return False
        polls = self.roe.requests_of("status", self.query_ids(name)[-1])
        return any(poll.received_at > datetime.fromisoformat(task["start_date"]) for poll in polls)

    def task(self, name: str) -> dict[str, Any]:
        path = f"dags/operators/dagRuns/{self.run_id}/taskInstances/{name}"
        return dict(self.airflow.api("GET", path))


@pytest.fixture(scope="module")
def run(airflow: LocalAirflow, roe: RoeSimulator) -> Run:
    assert roe.plan == QueryPlan()
    return Run(airflow, roe)


@pytest.mark.parametrize(
    ("name", "submits"), [("blocking", 1), ("deferrable", 1), (CLEARED, 1), ("not_durable", 2)]
)
def test_the_next_try_attaches_to_the_query_unless_the_task_is_not_durable(
    run: Run, name: str, submits: int
) -> None:
    log = run.airflow.log("operators", run.run_id, name, 2)
    assert (run.task(name)["state"], run.task(name)["try_number"]) == ("success", 2), log
    assert len(run.query_ids(name)) == submits
    assert run.airflow.xcom("operators", run.run_id, name) == [{"task": name}]
    assert run.airflow.xcom("operators", run.run_id, name, key="query_id") == run.query_ids(name)[-1]


def test_the_query_id_is_there_while_the_task_waits(run: Run) -> None:
    assert [run.query_id_while_deferred] == run.query_ids(CLEARED)


def test_what_an_xcom_cannot_hold_is_refused_by_the_task(run: Run) -> None:
    assert run.task("nul")["state"] == "failed"
    words = "Statement 1, row 1, column task: Airflow's database refuses the character U+0000 in an XCom."
    assert words in run.airflow.log("operators", run.run_id, "nul")


def test_a_task_whose_return_failed_attaches_and_submits_anew_once_it_is_cleared_after_its_success(
    run: Run,
) -> None:
    for name in XCOM_FAILS:
        log = run.airflow.log("operators", run.run_id, name, 2)
        assert "The XCom backend is out." in log
        assert (run.task(name)["state"], run.task(name)["try_number"]) == ("success", 3), log
        assert len(run.query_ids(name)) == 1
        assert run.airflow.xcom("operators", run.run_id, name) == [{"task": name}]
    run.clear(*XCOM_FAILS)
    run.airflow.wait_for_run("operators", run.run_id)
    for name in XCOM_FAILS:
        assert (run.task(name)["state"], run.task(name)["try_number"]) == ("success", 4)
        assert len(run.query_ids(name)) == 2
