"""Queries whose tasks are killed, cleared, or cannot return. The run's conf has their SQL by task id."""

from __future__ import annotations

from typing import Any

from airflow.providers.common.compat.sdk import dag

from airflow_provider_roe.operators.roe import RoeQueryOperator

ARGUMENTS: dict[str, dict[str, Any]] = {
    "blocking": {},
    "deferrable": {"deferrable": True, "defer_after": 50},
    "cleared_while_deferred": {"deferrable": True, "defer_after": 0},
    "not_durable": {"durable": False},
    "xcom_fails": {"retries": 2},
    "xcom_fails_after_deferral": {"retries": 2, "deferrable": True, "defer_after": 0},
    "nul": {"retries": 0},
}


@dag(schedule=None, catchup=False)
def operators():
    for task_id, arguments in ARGUMENTS.items():
        RoeQueryOperator(
            task_id=task_id,
            sql="{{ dag_run.conf[ti.task_id] }}",
            **{"poll_interval": 1, "result": "rows", "retries": 1, "retry_delay": 1} | arguments,
        )


operators()
