"""Deferred waits that a user ends, and such whose time is up."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.common.compat.sdk import dag

from airflow_provider_roe.sensors.roe import RoeQueryStatusSensor

WAITS: dict[str, dict[str, Any]] = {
    "timeout_before_the_gap": {"timeout": 20},
    "timeout_in_the_gap": {"timeout": 70},
    "success_in_the_gap": {"timeout": 70},
    "timeout_after_the_gap": {"timeout": 100},
    "execution_timeout": {"execution_timeout": timedelta(seconds=25)},
    "retried": {"roe_conn_id": "roe_impatient", "retries": 9, "retry_delay": 2},
}


@dag(schedule=None, catchup=False)
def ended_by_a_user():
    RoeQueryStatusSensor(
        task_id="wait",
        query_id="{{ dag_run.conf['query_id'] }}",
        deferrable=True,
        defer_after=0,
        poke_interval=1,
    )


@dag(schedule=None, catchup=False)
def deadlines():
    """The gap is a time without triggerers. The run's conf names each task's query."""
    for task_id, arguments in WAITS.items():
        RoeQueryStatusSensor(
            task_id=task_id,
            query_id="{{ dag_run.conf[ti.task_id] }}",
            deferrable=True,
            defer_after=0,
            poke_interval=2,
            **arguments,
        )


ended_by_a_user()
deadlines()
