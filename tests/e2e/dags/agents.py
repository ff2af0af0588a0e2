"""Jobs of agents, of which some end only when they are told to. The run's conf has the inputs by task id."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.common.compat.sdk import dag

from airflow_provider_roe.operators.roe_agent import RoeAgentOperator
from airflow_provider_roe.sensors.roe_agent import RoeAgentJobSensor

DEFERRED: dict[str, Any] = {"deferrable": True, "defer_after": 0}
OPERATORS: dict[str, dict[str, Any]] = {
    "outputs": {"result": "outputs", **DEFERRED},
    "file": {"files": ["document"], "output_path": "{{ dag_run.conf['folder'] }}/outputs.jsonl"},
    "killed": {"files": ["document"], "retries": 1, "retry_delay": 1},
    "marked_running": {},
    "marked_deferred": DEFERRED,
    "out_of_time": DEFERRED | {"execution_timeout": timedelta(seconds=25)},
    "kept": DEFERRED,
}
SENSORS: dict[str, dict[str, Any]] = {
    "poke": {},
    "reschedule": {"mode": "reschedule"},
    "deferrable": DEFERRED,
}


@dag(schedule=None, catchup=False, render_template_as_native_obj=True)
def agents():
    for task_id, arguments in OPERATORS.items():
        RoeAgentOperator(
            task_id=task_id,
            agent_id="{{ dag_run.conf['agent_id'] }}",
            inputs="{{ dag_run.conf[ti.task_id] }}",
            poll_interval=1,
            **arguments,
        )
    for task_id, arguments in SENSORS.items():
        RoeAgentJobSensor(
            task_id=task_id, job_ids="{{ dag_run.conf[ti.task_id] }}", poke_interval=1, **arguments
        )


agents()
