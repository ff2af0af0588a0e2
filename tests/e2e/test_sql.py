"""All that Airflow's common.sql has, on a Roe connection whose SQL runs on a real ClickHouse."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from airflow import __version__ as AIRFLOW_VERSION

from airflow_provider_roe.testing import QueryPlan, RoeSimulator
from dev.patience import patient
from tests.e2e.running import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dev.local_airflow import LocalAirflow

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
    "deferred_transfer": "success",
    "deferred_transfer_fails": "failed",
    "bulk_load_fails": "failed",
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

#: What a task gets that pulls what another has handed on. On Airflow 2.11, tuples become lists.
VALUES = {
    "execute": "[(1, 'one')]",
    "parameters": '[("it\'s 100 %; --",)]',
    "several": "[[(1,)], [(2,)]]",
    "values": (
        "[(1.5, 9007199254740993, 170141183460469231731687303715884105727, Decimal('10.5'),"
        " datetime.date(2026, 3, 1), datetime.datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=Timezone('UTC')),"
        " [1, 2], (1, 'a'), {'a': 1}, None, True, '61f0c404-5cb3-11e7-907b-a6006ad3dba0', 'Zürich')]"
    ),
    "copied": "[('copies', 3), ('deferred', 3), ('pages', 3)]",
}
VALUES_ON_2 = {
    "execute": "[[1, 'one']]",
    "parameters": '[["it\'s 100 %; --"]]',
    "several": "[[[1]], [[2]]]",
    "values": (
        "[[1.5, 9007199254740993, 170141183460469231731687303715884105727, Decimal('10.5'),"
        " datetime.date(2026, 3, 1),"
        " datetime.datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=zoneinfo.ZoneInfo(key='UTC')),"
        " [1, 2], [1, 'a'], {'a': 1}, None, True, '61f0c404-5cb3-11e7-907b-a6006ad3dba0', 'Zürich']]"
    ),
    "not_finite": "[[nan, inf]]",
    "copied": "[['copies', 3], ['deferred', 3], ['pages', 3]]",
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
        timeout=patient(300),
        check=False,
    )
    with sqlite3.connect(Path(database_env["AIRFLOW_HOME"]) / "airflow.db") as database:
        states = database.execute("SELECT task_id, state FROM task_instance WHERE dag_id = 'sql_matrix'")
        log = done.stdout + done.stderr
        assert noted.exists(), log[-200_000:]
        return Run(dict(states.fetchall()), json.loads(noted.read_text()), log)


def test_there_is_a_row_for_each_task(run: Run) -> None:
    assert run.states.keys() - {"branch_fails_true", "branch_fails_false"} == ENDS.keys()


@pytest.mark.parametrize(("task_id", "state"), ENDS.items(), ids=ENDS)
def test_a_task_ends_as_it_should(task_id: str, state: str, run: Run) -> None:
    assert run.states[task_id] == state, run.log[-200_000:]


@pytest.mark.parametrize(("task_id", "value"), (VALUES_ON_2 if AIRFLOW_2 else VALUES).items())
def test_what_a_task_hands_on_is_what_roe_returned(task_id: str, value: str, run: Run) -> None:
    assert run.values[task_id] == value


@pytest.fixture(scope="module")
def deferred(clickhouse: RoeSimulator, airflow: LocalAirflow, connect: Callable[..., None]) -> dict[str, Any]:
    """Run the deferrable operators on a real triggerer, and return their tasks by id."""
    for sql in (
        "CREATE TABLE IF NOT EXISTS days (day Date, amount Int64) ENGINE = MergeTree ORDER BY day",
        "TRUNCATE TABLE days",
        "INSERT INTO days VALUES ('2026-03-01', 10), ('2026-03-01', 20), ('2026-03-08', 30)",
    ):
        query_id = clickhouse.submit(sql, QueryPlan(statuses=()))
        until(lambda query_id=query_id: clickhouse.queries[query_id].finished_at is not None)
    clickhouse.plan = QueryPlan(statuses=[("STARTED", 2)])
    connect("roe_sql", clickhouse)
    airflow.wait_for_dag("sql_deferrable")
    day = {"logical_date": "2026-03-08T00:00:00Z"}
    run_id = airflow.api("POST", "dags/sql_deferrable/dagRuns", json=day)["dag_run_id"]
    airflow.wait_for_run("sql_deferrable", run_id, timeout=600)
    return {
        task["task_id"]: task | {"log": partial(airflow.log, "sql_deferrable", run_id, task["task_id"])}
        for task in airflow.task_instances("sql_deferrable", run_id)
    }


#: What the last line of the log of a task that fails says
REASONS = {
    "RoeSQLExecuteQueryOperator": "UNKNOWN_TABLE",
    "RoeSQLColumnCheckOperator": "Test failed",
    "RoeSQLTableCheckOperator": "Test failed",
    "RoeSQLCheckOperator": "Test failed",
    "RoeSQLValueCheckOperator": "Test failed",
    "RoeSQLIntervalCheckOperator": "The following tests have failed",
    "RoeSQLThresholdCheckOperator": "is not within thresholds",
}


@pytest.mark.parametrize("operator", REASONS)
def test_a_deferred_task_ends_as_it_should(operator: str, deferred: dict[str, Any]) -> None:
    well, badly = deferred[operator], deferred[f"{operator}_fails"]
    assert well["state"] == "success", well["log"]()
    assert badly["state"] == "failed", badly["log"]()
    assert REASONS[operator] in badly["log"]()


def test_a_deferred_branch_is_followed(deferred: dict[str, Any]) -> None:
    states = {name: deferred[name]["state"] for name in ("branch", "there", "not_there")}
    assert states == {"branch": "success", "there": "skipped", "not_there": "success"}, deferred["branch"][
        "log"
    ]()


def test_each_query_of_a_deferred_task_is_submitted_once(
    clickhouse: RoeSimulator, deferred: dict[str, Any]
) -> None:
    sql = Counter(query.sql for query in clickhouse.queries.values())
    assert sql["SELECT count(*) FROM days WHERE amount >= 20"] == 1
    assert sql["SELECT count(*) = 4 FROM days"] == 1
