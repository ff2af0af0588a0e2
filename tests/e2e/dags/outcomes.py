"""
A sensor for each cell of the table of outcomes: what happens, in which mode, with which flag.

The run's conf names each task's query.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.common.compat.sdk import dag

from airflow_provider_roe.sensors.roe import RoeQueryStatusSensor

MODES: dict[str, dict[str, Any]] = {
    "poke": {"mode": "poke", "deferrable": False},
    "reschedule": {"mode": "reschedule", "deferrable": False},
    "deferrable": {"deferrable": True, "defer_after": 0},
}
FLAGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "soft_fail": {"soft_fail": True},
    "never_fail": {"never_fail": True},
    "silent_fail": {"silent_fail": True},
}
ROWS: dict[str, dict[str, Any]] = {
    "success": {},
    "failure": {},
    "timeout": {"timeout": 4},
    "execution_timeout": {"execution_timeout": timedelta(seconds=15)},
    "short_outage": {},
    "long_outage": {"roe_conn_id": "roe_impatient"},
    "401": {"roe_conn_id": "roe_wrong_key", "timeout": 8},
    "403": {},
    "404": {"timeout": 8},
    "bad_input": {"timeout": 8},
}


@dag(
    schedule=None,
    catchup=False,
    max_active_tasks=200,
    default_args={"retries": 1, "retry_delay": timedelta(0)},
)
def outcomes():
    for row, arguments in ROWS.items():
        for mode, mode_arguments in MODES.items():
            for flag, flag_arguments in FLAGS.items():
                RoeQueryStatusSensor(
                    task_id=f"{row}.{mode}.{flag}",
                    query_id="{{ dag_run.conf[ti.task_id] }}",
                    **{"poke_interval": 1, "timeout": 300} | arguments | mode_arguments | flag_arguments,
                )


outcomes()
