"""All that Airflow's common.sql has, on a Roe connection whose SQL runs on a real ClickHouse."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from airflow import __version__ as AIRFLOW_VERSION

from airflow_provider_roe.testing import QueryPlan, RoeSimulator

if TYPE_CHECKING:
    from collections.abc import Iterator

AIRFLOW_2 = AIRFLOW_VERSION.startswith("2.")
DAG = Path(__file__).parent / "dags" / "sql_matrix.py"

#: How each task ends, and what a task after it is handed
ENDS = {
    "tables": "success",
    "execute": "success",
    "execute_fails": "failed",
    "parameters": "success",
    "parameters_fails": "failed",
    "several": "success",
    "statements": "success",
    "values": "success",
    "not_finite": "success" if AIRFLOW_2 else "failed",
    "database_fails": "failed",
    "column_check": "success",
    "column_check_fails": "failed",
    "table_check": "success",
    "table_check_fails": "failed",
    "check": "success",
    "check_fails": "failed",
    "value_check": "success",
    "value_check_fails": "failed",
    "interval_check": "success",
    "interval_check_fails": "failed",
    "threshold_check": "success",
    "threshold_check_fails": "failed",
    "insert_rows": "success",
    "insert_rows_fails": "failed",
    "transfer": "success",
    "transfer_fails": "failed",
    "paged_transfer": "success",
    "sensor": "success",
    "sensor_fails": "failed",
    "decorator": "success",
    "decorator_fails": "failed",
    "branch": "success",
    "branch_true": "success",
    "branch_false": "skipped",
    "branch_fails": "failed",
    "copied": "success",
    "note": "success",
}


class Run(NamedTuple):
    states: dict[str, str]
    values: dict[str, str]
    log: str


@pytest.fixture(scope="module")
def clickhouse() -> Iterator[RoeSimulator]:
    with RoeSimulator(engine="clickhouse", plan=QueryPlan(statuses=())) as roe:
        yield roe


@pytest.fixture(scope="module")
def run(
    clickhouse: RoeSimulator, database_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Run:
    """Run the DAG of common.sql's operators in one process, as ``airflow dags test`` does."""
    folder = tmp_path_factory.mktemp("sql")
    (folder / DAG.name).symlink_to(DAG)
    noted = folder / "values.json"
    done = subprocess.run(
        [sys.executable, "-m", "airflow", "dags", "test", "sql_matrix", "2026-03-08"],
        env=database_env
        | {
            "AIRFLOW__CORE__DAGS_FOLDER": str(folder),
            "AIRFLOW_CONN_ROE_SQL": clickhouse.connection_uri,
            "SQL_MATRIX_VALUES": str(noted),
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    with sqlite3.connect(Path(database_env["AIRFLOW_HOME"]) / "airflow.db") as database:
        states = database.execute("SELECT task_id, state FROM task_instance WHERE dag_id = 'sql_matrix'")
        log = done.stdout + done.stderr
        assert noted.exists(), log[-200_000:]
        return Run(dict(states.fetchall()), json.loads(noted.read_text()), log)


def test_print(run: Run) -> None:
    print(json.dumps(run.values, indent=1), run.states)


def test_there_is_a_row_for_each_task(run: Run) -> None:
    assert run.states.keys() - {"branch_fails_true", "branch_fails_false"} == ENDS.keys()


@pytest.mark.parametrize(("task_id", "state"), ENDS.items(), ids=ENDS)
def test_a_task_ends_as_it_should(task_id: str, state: str, run: Run) -> None:
    assert run.states[task_id] == state, run.log[-200_000:]


@pytest.mark.parametrize(
    ("task_id", "value"),
    {
        "execute": "[(1, 'one')]",
        "parameters": '[("it\'s 100 %; --",)]',
        "several": "[[(1,)], [(2,)]]",
        "copied": "[('copies', 3), ('pages', 3)]",
    }.items(),
)
def test_what_a_task_hands_on_is_what_roe_returned(task_id: str, value: str, run: Run) -> None:
    assert run.values[task_id] == value
