"""The example DAGs run as they are."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_roe.testing import RoeSimulator
    from dev.local_airflow import LocalAirflow

EXPECTED_TASKS = {
    "example_roe_submit_and_wait": {"submit": "success", "wait": "success", "report": "success"},
    "example_roe_sensor_modes": {
        "submit": "success",
        "poke": "success",
        "reschedule": "success",
        "deferrable": "success",
    },
    "example_roe_many_queries": {
        "list_queries": "success",
        "submit": "success",
        "wait": "success",
        "summarize": "success",
    },
    "example_roe_query_operator": {
        "count": "success",
        "choose": "success",
        "process": "success",
        "nothing_to_do": "skipped",
    },
    "example_roe_extract": {
        "list_extracts": "success",
        "extract": "success",
        "count_rows": "success",
    },
    "example_roe_failed_query": {
        "submit": "success",
        "wait": "skipped",
        "choose": "success",
        "use_result": "skipped",
        "use_fallback": "success",
    },
}


@pytest.mark.parametrize(("dag_id", "tasks"), EXPECTED_TASKS.items(), ids=EXPECTED_TASKS.keys())
def test_example_runs_to_its_end(dag_id: str, tasks: dict[str, str], airflow: LocalAirflow) -> None:
    airflow.wait_for_dag(dag_id)
    run_id = airflow.trigger(dag_id)
    run = airflow.wait_for_run(dag_id, run_id)
    assert {task["task_id"]: task["state"] for task in airflow.task_instances(dag_id, run_id)} == tasks
    assert run["state"] == "success"


def test_every_example_is_run(example_dags: Path) -> None:
    assert {path.stem for path in example_dags.glob("*.py")} == set(EXPECTED_TASKS)


def test_a_mapped_sensor_waits_for_each_query_and_does_not_hold_its_worker(airflow: LocalAirflow) -> None:
    dag_id = "example_roe_many_queries"
    airflow.wait_for_dag(dag_id)
    run_id = airflow.trigger(dag_id)
    deferred = set()
    airflow.wait_for_run(
        dag_id,
        run_id,
        on_change=lambda task: deferred.add(task["map_index"]) if task["state"] == "deferred" else None,
    )
    assert deferred == {0, 1, 2}
    statuses = airflow.xcom(dag_id, run_id, "summarize")
    assert Counter(statuses.values()) == {"SUCCESS": 3}


def test_what_a_deferred_wait_leaves(airflow: LocalAirflow, roe: RoeSimulator) -> None:
    dag_id = "example_roe_submit_and_wait"
    airflow.wait_for_dag(dag_id)
    run_id = airflow.trigger(dag_id)
    states = []
    airflow.wait_for_run(
        dag_id,
        run_id,
        on_change=lambda task: states.append(task["state"]) if task["task_id"] == "wait" else None,
    )
    query_id = airflow.xcom(dag_id, run_id, "submit")
    assert "deferred" in states
    assert airflow.xcom(dag_id, run_id, "wait")["query_id"] == query_id
    assert airflow.xcom(dag_id, run_id, "report") == [{"n": "1", "word": "one"}, {"n": "2", "word": "two"}]
    log = airflow.log(dag_id, run_id, "wait")
    assert f"Query {query_id} is PENDING" in log
    assert roe.api_key not in log


def test_the_link_to_roe_is_there_while_the_task_is_deferred_and_stays(airflow: LocalAirflow) -> None:
    dag_id = "example_roe_submit_and_wait"
    airflow.wait_for_dag(dag_id)
    run_id = airflow.trigger(dag_id)
    path = f"dags/{dag_id}/dagRuns/{quote(run_id)}/taskInstances/wait/links"
    links = {}

    def look(task: dict[str, Any]) -> None:
        if task["task_id"] == "wait":
            links[task["state"]] = airflow.api("GET", path)["extra_links"]

    airflow.wait_for_run(dag_id, run_id, on_change=look)
    assert links["deferred"] == links["success"] == {"Open Roe": "https://app.roe-ai.com/"}


def test_airflow_dags_test_runs_a_deferrable_sensor(
    database_env: dict[str, str], example_dags: Path, roe_connection: RoeSimulator
) -> None:
    outcome = subprocess.run(
        [sys.executable, "-m", "airflow", "dags", "test", "example_roe_submit_and_wait"],
        env=database_env
        | {
            "AIRFLOW__CORE__DAGS_FOLDER": str(example_dags),
            "AIRFLOW_CONN_ROE_DEFAULT": roe_connection.connection_uri,
        },
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    [query] = roe_connection.queries.values()
    assert f"Query {query.id} is SUCCESS" in outcome.stdout + outcome.stderr
    assert roe_connection.api_key not in outcome.stdout + outcome.stderr
