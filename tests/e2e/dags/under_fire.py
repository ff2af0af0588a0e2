"""A deferred wait for each query that the run's conf names."""

from __future__ import annotations

from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_roe.sensors.roe import RoeQueryStatusSensor


@dag(schedule=None, catchup=False, max_active_tasks=500)
def under_fire():
    @task
    def query_ids(dag_run=None) -> list[str]:
        return dag_run.conf["query_ids"]

    RoeQueryStatusSensor.partial(
        task_id="wait", deferrable=True, poke_interval=5, timeout=900, retries=1
    ).expand(query_id=query_ids())


under_fire()
