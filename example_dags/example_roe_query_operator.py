"""
Run a query, and go on as its rows say.

`count` returns rows, so the task after it reads them as a list of dicts. If its worker dies while the query
runs, the next try waits for the same query.
"""

from __future__ import annotations

from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_roe.operators.roe import RoeQueryOperator


@dag(schedule=None, catchup=False, tags=["roe", "example"], doc_md=__doc__)
def example_roe_query_operator():
    count = RoeQueryOperator(
        task_id="count",
        sql="SELECT count(*) AS n FROM invoices",
        result="rows",
        deferrable=True,
        retries=2,
    )

    @task.branch
    def choose(rows: list[dict]) -> str:
        return "process" if int(rows[0]["n"]) else "nothing_to_do"

    @task
    def process() -> str:
        return "There are invoices."

    @task
    def nothing_to_do() -> str:
        return "There are none."

    choose(count.output) >> [process(), nothing_to_do()]


example_roe_query_operator()
