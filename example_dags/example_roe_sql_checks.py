"""
Check what is in Roe's tables with Airflow's own SQL operators, and go on as it is.

A connection of type `roe` is a database to them: they need nothing but its id. Their forms that hold no
worker while Roe works are in `airflow_provider_roe.operators.roe_sql`.
"""

from __future__ import annotations

from airflow.providers.common.compat.sdk import dag, task
from airflow.providers.common.sql.operators.sql import (
    BranchSQLOperator,
    SQLColumnCheckOperator,
    SQLTableCheckOperator,
)

CONN_ID = "roe_default"


@dag(schedule=None, catchup=False, tags=["roe", "example"], doc_md=__doc__)
def example_roe_sql_checks():
    check_columns = SQLColumnCheckOperator(
        task_id="check_columns",
        conn_id=CONN_ID,
        table="invoices",
        column_mapping={
            "total": {"null_check": {"equal_to": 0}, "min": {"greater_than": 0}},
            "confidence": {"max": {"leq_to": 1}},
        },
    )
    check_table = SQLTableCheckOperator(
        task_id="check_table",
        conn_id=CONN_ID,
        table="invoices",
        checks={
            "due_after_issue": {"check_statement": "due_on >= issued_on", "partition_clause": "due_on <> ''"}
        },
    )
    choose = BranchSQLOperator(
        task_id="choose",
        conn_id=CONN_ID,
        sql="SELECT count(*) > 0 FROM invoices WHERE paid = 0",
        follow_task_ids_if_true="list_unpaid",
        follow_task_ids_if_false="nothing_to_do",
    )

    @task.sql(conn_id=CONN_ID)
    def list_unpaid() -> str:
        return "SELECT vendor, total FROM invoices WHERE paid = 0 ORDER BY total DESC"

    @task
    def nothing_to_do() -> str:
        return "All is paid."

    [check_columns, check_table] >> choose >> [list_unpaid(), nothing_to_do()]


example_roe_sql_checks()
