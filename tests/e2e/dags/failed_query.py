"""A query that fails on Roe."""

from __future__ import annotations

from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_roe.hooks.roe import RoeHook
from airflow_provider_roe.sensors.roe import RoeQueryStatusSensor

SQL = """
/* simulate {"statuses": [["STARTED", 1]], "ends_as": "FAILURE",
   "error": "Code: 47. DB::Exception: Unknown identifier 'vendr'."} */
SELECT vendr, sum(total) FROM invoices GROUP BY vendr
"""


@dag(schedule=None, catchup=False)
def failed_query():
    @task
    def submit() -> str:
        return RoeHook().submit_query(SQL).query_id

    RoeQueryStatusSensor(task_id="wait", query_id=submit(), deferrable=True, defer_after=0, retries=2)


failed_query()
