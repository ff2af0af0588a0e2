"""Waits in each mode. The run's conf lists, by mode, the arguments of each sensor."""

from __future__ import annotations

from typing import Any

from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_roe.sensors.roe import RoeQueryStatusSensor

MODES: dict[str, dict[str, Any]] = {
    "poke": {"mode": "poke"},
    "reschedule": {"mode": "reschedule"},
    "deferrable": {"deferrable": True},
}


@dag(schedule=None, catchup=False, max_active_tasks=500)
def waits():
    @task
    def arguments(mode: str, dag_run=None) -> list[dict[str, Any]]:
        return dag_run.conf[mode]

    for mode, mode_arguments in MODES.items():
        RoeQueryStatusSensor.partial(task_id=mode, poke_interval=1, **mode_arguments).expand_kwargs(
            arguments.override(task_id=f"arguments_of_{mode}")(mode)
        )


waits()
