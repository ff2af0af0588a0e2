"""The example DAGs run as they are."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from dev.patience import patient

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
    "example_roe_agent": {
        "run": "success",
        "use_outputs": "success",
    },
    "example_roe_agent_branch": {
        "classify": "success",
        "choose": "success",
        "pay": "success",
        "file_away": "skipped",
    },
    "example_roe_agent_folder": {
        "add_documents": "success",
        "list_documents": "success",
        "run": "success",
        "count_rows": "success",
    },
    "example_roe_sql_checks": {
        "check_columns": "success",
        "check_table": "success",
        "choose": "success",
        "list_unpaid": "success",
        "nothing_to_do": "skipped",
    },
    "example_roe_failed_query": {
        "submit": "success",
        "wait": "skipped",
        "choose": "success",
        "use_result": "skipped",
        "use_fallback": "success",
    },
}


class Run:
    """
    A run of an example from its start to its end.

    :ivar links: The links that each task showed in each of its states, by task id, map index and state.
    """

    def __init__(self, airflow: LocalAirflow, dag_id: str) -> None:
        self._airflow, self._dag_id = airflow, dag_id
        self.links: dict[tuple[str, int, str], dict[str, str]] = {}
        airflow.wait_for_dag(dag_id)
        self._run_id = airflow.trigger(dag_id)
        self.state = airflow.wait_for_run(dag_id, self._run_id, on_change=self._look)["state"]

    def _look(self, task: dict[str, Any]) -> None:
        name = task["task_id"], task["map_index"]
        if task["state"] in ("deferred", "success"):
            self.links[*name, task["state"]] = self._airflow.links(self._dag_id, self._run_id, *name)

    def tasks(self) -> dict[str, str]:
        return {
            task["task_id"]: task["state"]
            for task in self._airflow.task_instances(self._dag_id, self._run_id)
        }

    def xcom(self, task_id: str) -> Any:
        return self._airflow.xcom(self._dag_id, self._run_id, task_id)

    def log(self, task_id: str) -> str:
        return self._airflow.log(self._dag_id, self._run_id, task_id)


@pytest.fixture(scope="module")
def runs(airflow: LocalAirflow) -> dict[str, Run]:
    """All examples, which run side by side."""
    with ThreadPoolExecutor(len(EXPECTED_TASKS)) as threads:
        ended = threads.map(partial(Run, airflow), EXPECTED_TASKS)
        return dict(zip(EXPECTED_TASKS, ended, strict=True))


@pytest.mark.parametrize(("dag_id", "tasks"), EXPECTED_TASKS.items(), ids=EXPECTED_TASKS.keys())
def test_example_runs_to_its_end(dag_id: str, tasks: dict[str, str], runs: dict[str, Run]) -> None:
    assert (runs[dag_id].tasks(), runs[dag_id].state) == (tasks, "success")


def test_every_example_is_run(example_dags: Path) -> None:
    assert {path.stem for path in example_dags.glob("*.py")} == set(EXPECTED_TASKS)


def test_a_mapped_sensor_waits_for_each_query_and_does_not_hold_its_worker(runs: dict[str, Run]) -> None:
    run = runs["example_roe_many_queries"]
    assert {index for task_id, index, state in run.links if state == "deferred"} == {0, 1, 2}
    assert Counter(run.xcom("summarize").values()) == {"SUCCESS": 3}


def test_what_a_deferred_wait_leaves(runs: dict[str, Run], roe: RoeSimulator) -> None:
    run = runs["example_roe_submit_and_wait"]
    query_id = run.xcom("submit")
    assert ("wait", -1, "deferred") in run.links
    assert run.xcom("wait")["query_id"] == query_id
    assert run.xcom("report") == [{"n": "1", "word": "one"}, {"n": "2", "word": "two"}]
    log = run.log("wait")
    assert f"Waiting for query {query_id}" in log
    assert f"Query {query_id} ended as SUCCESS" in log
    assert roe.api_key not in log


def test_rows_are_extracted_to_parquet(runs: dict[str, Run]) -> None:
    assert runs["example_roe_extract"].xcom("count_rows") == 40  # of the simulator's three tables


def test_the_outputs_of_a_folder_of_documents_are_written_to_parquet(runs: dict[str, Run]) -> None:
    assert runs["example_roe_agent"].xcom("use_outputs") == ["inputs"]
    assert runs["example_roe_agent_folder"].xcom("count_rows") == 3


def test_the_link_to_roe_is_there_while_the_task_is_deferred_and_stays(runs: dict[str, Run]) -> None:
    links = runs["example_roe_submit_and_wait"].links
    for state in ("deferred", "success"):
        assert links["wait", -1, state] == {"Open Roe": "https://app.roe-ai.com/"}


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
        timeout=patient(180),
        check=False,
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    [query] = roe_connection.queries.values()
    assert f"Query {query.id} is SUCCESS" in outcome.stdout + outcome.stderr
    assert roe_connection.api_key not in outcome.stdout + outcome.stderr
