"""Waits that leave their workers after one poll."""

from __future__ import annotations

from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_roe.sensors.roe import RoeQueryStatusSensor


@dag(schedule=None, catchup=False, max_active_tasks=100, default_args={"retries": 0})
def at_once():
    """Each waits for a query of the run's conf."""

    @task
    def query_ids(dag_run=None) -> list[str]:
        return dag_run.conf["query_ids"]

    RoeQueryStatusSensor.partial(task_id="wait", deferrable=True, defer_after=0, poke_interval=1).expand(
        query_id=query_ids()
    )


@dag(schedule=None, catchup=False, default_args={"retries": 0})
def on_workers_only():
    """Waits on a connection that the triggerers do not have."""
    RoeQueryStatusSensor(
        task_id="wait",
        query_id="{{ dag_run.conf['query_id'] }}",
        roe_conn_id="roe_on_workers",
        deferrable=True,
        defer_after=0,
        poke_interval=1,
    )


at_once()
on_workers_only()
