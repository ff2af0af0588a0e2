"""
Each operator, sensor, decorator and transfer of Airflow's common.sql on a Roe connection, as it is pasted.

Of each there is a task that is to end well and one that is to fail. The last task notes what the others have
handed on, as a task gets to see it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from airflow.providers.common.compat.sdk import dag, task
from airflow.providers.common.sql.operators.generic_transfer import GenericTransfer
from airflow.providers.common.sql.operators.sql import (
    BranchSQLOperator,
    SQLBulkLoadOperator,
    SQLCheckOperator,
    SQLColumnCheckOperator,
    SQLExecuteQueryOperator,
    SQLInsertRowsOperator,
    SQLIntervalCheckOperator,
    SQLTableCheckOperator,
    SQLThresholdCheckOperator,
    SQLValueCheckOperator,
)
from airflow.providers.common.sql.sensors.sql import SqlSensor

try:
    from airflow.providers.standard.operators.empty import EmptyOperator
except ImportError:
    from airflow.operators.empty import EmptyOperator

ROE = {"conn_id": "roe_sql"}
TRANSFER = {"source_conn_id": "roe_sql", "destination_conn_id": "roe_sql"}
#: Days with amounts: two rows a day but for the last, which has one
TABLES = [
    "CREATE TABLE days (day Date, amount Nullable(Int64)) ENGINE = MergeTree ORDER BY day",
    "INSERT INTO days VALUES ('2026-03-01', 10), ('2026-03-01', 20), ('2026-03-08', 30)",
    "CREATE TABLE copies (day Date, amount Nullable(Int64)) ENGINE = MergeTree ORDER BY day",
    "CREATE TABLE pages (day Date, amount Nullable(Int64)) ENGINE = MergeTree ORDER BY day",
    "CREATE TABLE deferred (amount Nullable(Int64)) ENGINE = Memory",
    "CREATE TABLE given (n Int64, word String) ENGINE = MergeTree ORDER BY n",
]
VALUES = """
SELECT 1.5 AS float, 9007199254740993 AS big,
  toInt128('170141183460469231731687303715884105727') AS bigger, toDecimal64('10.50', 2) AS decimal,
  toDate('2026-03-01') AS date,
  toDateTime64('2026-03-01 12:00:00.123456', 6, 'UTC') AS datetime, [1, 2] AS array, (1, 'a') AS tuple,
  map('a', 1) AS map, NULL AS null, true AS bool,
  toUUID('61f0c404-5cb3-11e7-907b-a6006ad3dba0') AS uuid, 'Zürich' AS text
"""


def is_ten(value: Any) -> bool:
    return bool(value == 10)


def is_anything(_: Any) -> bool:
    return True


def as_tuples(rows: list[Any], **_: Any) -> list[Any]:
    return [tuple(row) for row in rows]


@dag(schedule=None, catchup=False, default_args={"retries": 0})
def sql_matrix():
    tables = SQLExecuteQueryOperator(task_id="tables", sql=TABLES, **ROE)
    tasks = [
        SQLExecuteQueryOperator(task_id="execute", sql="SELECT 1 AS n, 'one' AS word", **ROE),
        SQLExecuteQueryOperator(task_id="execute_fails", sql="SELECT * FROM nowhere", **ROE),
        SQLExecuteQueryOperator(
            task_id="parameters", sql="SELECT %(word)s", parameters={"word": "it's 100 %; --"}, **ROE
        ),
        SQLExecuteQueryOperator(task_id="parameters_fails", sql="SELECT %s, %s", parameters=[1], **ROE),
        SQLExecuteQueryOperator(task_id="several", sql=["SELECT 1", "SELECT 2"], return_last=False, **ROE),
        SQLExecuteQueryOperator(task_id="statements", sql="SELECT 1; SELECT ';' -- it's; one text", **ROE),
        SQLExecuteQueryOperator(task_id="values", sql=VALUES, **ROE),
        SQLExecuteQueryOperator(task_id="not_finite", sql="SELECT nan, inf", **ROE),
        SQLExecuteQueryOperator(task_id="database_fails", sql="SELECT 1", database="other", **ROE),
        SQLColumnCheckOperator(
            task_id="column_check",
            table="days",
            column_mapping={
                "amount": {"null_check": {"equal_to": 0}, "min": {"geq_to": 10}, "max": {"equal_to": 30}}
            },
            **ROE,
        ),
        SQLColumnCheckOperator(
            task_id="column_check_fails",
            table="days",
            column_mapping={"amount": {"distinct_check": {"equal_to": 99}}},
            **ROE,
        ),
        SQLTableCheckOperator(
            task_id="table_check",
            table="days",
            checks={
                "row_count": {"check_statement": "count(*) = 3"},
                "sums": {"check_statement": "sum(amount) > 0", "partition_clause": "day > '2026-01-01'"},
            },
            **ROE,
        ),
        SQLTableCheckOperator(
            task_id="table_check_fails",
            table="days",
            checks={"row_count": {"check_statement": "count(*) = 4"}},
            **ROE,
        ),
        SQLCheckOperator(task_id="check", sql="SELECT count(*), max(amount) FROM days", **ROE),
        SQLCheckOperator(task_id="check_fails", sql="SELECT 1, 0", **ROE),
        SQLValueCheckOperator(
            task_id="value_check", sql="SELECT sum(amount) FROM days", pass_value=58, tolerance=0.1, **ROE
        ),
        SQLValueCheckOperator(
            task_id="value_check_fails",
            sql="SELECT sum(amount) FROM days",
            pass_value=10,
            tolerance=0.1,
            **ROE,
        ),
        SQLIntervalCheckOperator(
            task_id="interval_check",
            table="days",
            days_back=-7,
            date_filter_column="day",
            metrics_thresholds={"SUM(amount)": 1.5},
            **ROE,
        ),
        SQLIntervalCheckOperator(
            task_id="interval_check_fails",
            table="days",
            days_back=-7,
            date_filter_column="day",
            metrics_thresholds={"COUNT(*)": 1.5},
            **ROE,
        ),
        SQLThresholdCheckOperator(
            task_id="threshold_check",
            sql="SELECT max(amount) FROM days",
            min_threshold="SELECT min(amount) FROM days",
            max_threshold=30,
            **ROE,
        ),
        SQLThresholdCheckOperator(
            task_id="threshold_check_fails",
            sql="SELECT max(amount) FROM days",
            min_threshold=1,
            max_threshold=29.5,
            **ROE,
        ),
        SQLInsertRowsOperator(
            task_id="insert_rows",
            table_name="given",
            columns=["n", "word"],
            rows=[(1, "it's"), (2, "two; -- three")],
            postoperator="SELECT throwIf(count() != 2) FROM given",
            **ROE,
        ),
        SQLInsertRowsOperator(
            task_id="insert_rows_fails", table_name="nowhere", columns=["n"], rows=[(1,)], **ROE
        ),
        GenericTransfer(
            task_id="transfer",
            sql="SELECT day, amount FROM days ORDER BY amount",
            destination_table="copies",
            insert_args={"target_fields": ["day", "amount"]},
            **TRANSFER,
        ),
        GenericTransfer(
            task_id="transfer_fails", sql="SELECT day FROM days", destination_table="nowhere", **TRANSFER
        ),
        GenericTransfer(
            task_id="paged_transfer",
            sql="SELECT day, amount FROM days ORDER BY amount",
            destination_table="pages",
            page_size=2,
            **TRANSFER,
        ),
        # On a triggerer of Airflow 3.3 with LocalExecutor, a deferral that is back early may lose its task.
        GenericTransfer(
            task_id="deferred_transfer",
            sql="SELECT amount FROM days ORDER BY amount",
            destination_table="deferred",
            page_size=2,
            deferrable=True,
            **TRANSFER,
        ),
        GenericTransfer(
            task_id="deferred_transfer_fails",
            sql="SELECT amount FROM nowhere",
            destination_table="deferred",
            page_size=2,
            deferrable=True,
            **TRANSFER,
        ),
        SQLBulkLoadOperator(task_id="bulk_load_fails", table="given", tmp_file=__file__, **ROE),
        SqlSensor(
            task_id="sensor",
            sql="SELECT count(*) FROM days WHERE amount > %(least)s",
            parameters={"least": 15},
            poke_interval=1,
            timeout=30,
            **ROE,
        ),
        SqlSensor(task_id="sensor_fails", sql="SELECT 10", failure=is_ten, success=is_anything, **ROE),
        the_day(),
        nowhere(),
    ]
    for branch, sql in (("branch", "SELECT count(*) = 3 FROM days"), ("branch_fails", "SELECT 'maybe'")):
        choose = BranchSQLOperator(
            task_id=branch,
            sql=sql,
            follow_task_ids_if_true=f"{branch}_true",
            follow_task_ids_if_false=f"{branch}_false",
            **ROE,
        )
        ways = [EmptyOperator(task_id=f"{branch}_{way}") for way in ("true", "false")]
        tables >> choose >> ways
    copied = SQLExecuteQueryOperator(
        task_id="copied",
        sql=(
            "SELECT * FROM (SELECT 'copies' AS copy, count() FROM copies"
            " UNION ALL SELECT 'pages', count() FROM pages"
            " UNION ALL SELECT 'deferred', count() FROM deferred) ORDER BY copy"
        ),
        trigger_rule="all_done",
        **ROE,
    )
    (
        tables
        >> tasks
        >> copied
        >> note([each.operator.task_id if hasattr(each, "operator") else each.task_id for each in tasks])
    )


@task.sql(task_id="decorator", **ROE)
def the_day() -> str:
    return "SELECT min(day) FROM days"


@task.sql(task_id="decorator_fails", **ROE)
def nowhere() -> str:
    return "SELECT * FROM nowhere"


@task(trigger_rule="all_done")
def note(task_ids: list[str], ti: Any = None) -> None:
    """Write down what the tasks have handed on."""
    values = {task_id: repr(ti.xcom_pull(task_ids=task_id)) for task_id in [*task_ids, "copied"]}
    Path(os.environ["SQL_MATRIX_VALUES"]).write_text(json.dumps(values))


sql_matrix()
