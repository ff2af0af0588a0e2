"""
Wait for as many queries as there happen to be.

`submit` is mapped over a list that is known only when the DAG runs, and the sensor over the ids that come
back. Mapped sensors defer after their first poll, so that many of them hold no worker slots while they wait.
"""

from __future__ import annotations

from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_roe.hooks.roe import RoeHook
from airflow_provider_roe.sensors.roe import RoeQueryStatusSensor


@dag(schedule=None, catchup=False, tags=["roe", "example"], doc_md=__doc__)
def example_roe_many_queries():
    @task
    def list_queries() -> list[str]:
        simulate = '/* simulate {"statuses": [["PENDING", 1], ["STARTED", 12]]} */'
        return [f"{simulate} SELECT {number} AS n" for number in (1, 2, 3)]

    @task
    def submit(sql: str) -> str:
        return RoeHook().submit_query(sql).query_id

    @task
    def summarize(statuses: list[dict]) -> dict[str, str]:
        return {status["query_id"]: status["status"] for status in statuses}

    wait = RoeQueryStatusSensor.partial(task_id="wait", deferrable=True).expand(
        query_id=submit.expand(sql=list_queries())
    )
    summarize(wait.output)


example_roe_many_queries()
