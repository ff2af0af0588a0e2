"""The table of outcomes, cell by cell, on real task runs: final state, XCom, and whether a retry was used."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from airflow_provider_roe.testing import Fault, QueryPlan, RoeSimulator

if TYPE_CHECKING:
    from dev.local_airflow import LocalAirflow

MODES = ("poke", "reschedule", "deferrable")
FLAGS = ("plain", "soft_fail", "never_fail", "silent_fail")

# A failure without a retry; and one that used up the task's one retry
FAILED, RETRIED = ("failed", 1), ("failed", 2)
SUCCESS, SKIPPED = ("success", 1), ("skipped", 1)
# What silent_fail waits for comes in the end, or the sensor's time is up
WAITED, TIMED_OUT = SUCCESS, FAILED

OUTCOMES = {
    "success": (SUCCESS, SUCCESS, SUCCESS, SUCCESS),
    "failure": (FAILED, SKIPPED, SKIPPED, FAILED),
    "timeout": (FAILED, SKIPPED, SKIPPED, FAILED),
    "execution_timeout": (RETRIED, SKIPPED, SKIPPED, RETRIED),
    "short_outage": (SUCCESS, SUCCESS, SUCCESS, SUCCESS),
    "long_outage": (RETRIED, RETRIED, SKIPPED, WAITED),
    "401": (RETRIED, RETRIED, SKIPPED, TIMED_OUT),
    "403": (RETRIED, RETRIED, SKIPPED, WAITED),
    "404": (RETRIED, RETRIED, SKIPPED, TIMED_OUT),
    "bad_input": (RETRIED, RETRIED, SKIPPED, TIMED_OUT),
}
CELLS = [
    pytest.param(f"{row}.{mode}.{flag}", *outcome, id=f"{row}-{mode}-{flag}")
    for row, outcomes in OUTCOMES.items()
    for mode in MODES
    for flag, outcome in zip(FLAGS, outcomes, strict=True)
]


def submit(roe: RoeSimulator, row: str, flag: str) -> str:
    """Have a query at Roe that makes happen what a row of the table is about."""
    short = (("STARTED", 1.5),)
    lasting = None if flag != "silent_fail" else 4  # answers after which the fault is over
    match row:
        case "failure":
            return roe.submit("SELECT 1", QueryPlan(short, ends_as="FAILURE", error="Memory limit exceeded"))
        case "timeout":
            return roe.submit("SELECT 1", QueryPlan((("STARTED", 3600),)))
        case "bad_input":
            return "42"
        case "404":
            return str(uuid4())
    query_id = roe.submit("SELECT 1", QueryPlan(short))
    match row:
        case "short_outage":
            roe.add_fault(Fault(query_id=query_id, status_code=503, times=1))
            roe.add_fault(Fault(query_id=query_id, reset="before", times=1))
        case "execution_timeout":
            roe.add_fault(Fault(query_id=query_id, hang=True))
        case "long_outage":
            roe.add_fault(Fault(query_id=query_id, status_code=503, times=lasting))
        case "403":
            roe.add_fault(Fault(query_id=query_id, status_code=403, times=lasting))
    return query_id


@pytest.fixture(scope="module")
def outcomes(airflow: LocalAirflow, roe: RoeSimulator) -> dict[str, dict[str, Any]]:
    """Run all cells at once, and return the task instances by task id."""
    airflow.wait_for_dag("outcomes")
    conf = {
        f"{row}.{mode}.{flag}": submit(roe, row, flag)
        for row, mode, flag in itertools.product(OUTCOMES, MODES, FLAGS)
    }
    run_id = airflow.trigger("outcomes", conf)
    airflow.wait_for_run("outcomes", run_id, timeout=900)
    return {
        task["task_id"]: {**task, "run_id": run_id, "query_id": conf[task["task_id"]]}
        for task in airflow.task_instances("outcomes", run_id)
    }


@pytest.mark.parametrize(("task_id", "state", "tries"), CELLS)
def test_a_wait_ends_as_the_table_of_outcomes_says(
    task_id: str, state: str, tries: int, outcomes: dict[str, dict[str, Any]], airflow: LocalAirflow
) -> None:
    task = outcomes[task_id]
    assert (task["state"], task["try_number"]) == (state, tries), airflow.log(
        "outcomes", task["run_id"], task_id, task["try_number"]
    )
    if state == "success":
        status = airflow.xcom("outcomes", task["run_id"], task_id)
        assert status == {
            "query_id": task["query_id"],
            "status": "SUCCESS",
            "error": None,
            "created_at": status["created_at"],
            "finished_at": status["finished_at"],
            "duration": pytest.approx(1.5),
        }
