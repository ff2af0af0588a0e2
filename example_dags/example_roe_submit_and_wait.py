"""
Submit a query, wait for it, use its rows.

`submit` hands the SQL to Roe and returns the query's id. `wait` is deferrable: after two seconds it leaves
its worker slot and waits in the triggerer, where a thousand such waits cost next to nothing. `report` runs
when the query is done.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_roe.hooks.roe import RoeHook
from airflow_provider_roe.sensors.roe import RoeQueryStatusSensor

# The comment makes the simulator take sixteen seconds; to real Roe it is only a comment.
SQL = """
/* simulate {"statuses": [["PENDING", 2], ["STARTED", 14]]} */
SELECT 1 AS n, 'one' AS word UNION ALL SELECT 2, 'two' ORDER BY n
"""


@dag(schedule=None, catchup=False, tags=["roe", "example"], doc_md=__doc__)
def example_roe_submit_and_wait():
    @task
    def submit() -> str:
        return RoeHook().submit_query(SQL).query_id

    @task
    def report(status: dict) -> list[dict[str, str]]:
        """Return the first rows; `status` is what the sensor has left: the query's id, status and times."""
        statement = RoeHook().get_query_result(status["query_id"]).results[0]
        return [dict(zip(statement.column_names, row, strict=True)) for row in statement.rows[:10]]

    wait = RoeQueryStatusSensor(
        task_id="wait",
        query_id=submit(),
        deferrable=True,
        defer_after=2,
        timeout=timedelta(minutes=10).total_seconds(),
    )
    report(wait.output)


example_roe_submit_and_wait()
