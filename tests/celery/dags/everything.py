"""
A task for each way to wait, and each end; their queries and jobs end when they are told to.

The run's conf has the queries of the sensors by task id, and a folder.
"""

from __future__ import annotations

from typing import Any

from airflow.providers.common.compat.sdk import dag

from airflow_provider_roe.operators.roe import RoeQueryOperator
from airflow_provider_roe.operators.roe_agent import RoeAgentOperator
from airflow_provider_roe.sensors.roe import RoeQueryStatusSensor

DEFERRED: dict[str, Any] = {"deferrable": True, "defer_after": 0}
MODES: dict[str, dict[str, Any]] = {
    "poke": {},
    "reschedule": {"mode": "reschedule"},
    "deferrable": DEFERRED,
}
ENDS = ("success", "failure", "revoked")
ROWS: dict[str, Any] = {"result": "rows"}
FILE: dict[str, Any] = {"output_path": "{{ dag_run.conf['folder'] }}/{{ ti.task_id }}.jsonl"}
OPERATORS: dict[str, dict[str, Any]] = {
    "rows": ROWS,
    "rows_deferred": ROWS | DEFERRED,
    "file": FILE,
    "file_deferred": FILE | DEFERRED,
    "killed": ROWS | {"retries": 1, "retry_delay": 1},
}
AGENTS: dict[str, dict[str, Any]] = {"agents": {}, "agents_deferred": DEFERRED}


@dag(schedule=None, catchup=False, max_active_tasks=50, default_args={"retries": 0})
def everything():
    for mode, arguments in MODES.items():
        for end in ENDS:
            RoeQueryStatusSensor(
                task_id=f"{mode}_{end}",
                query_id="{{ dag_run.conf[ti.task_id] }}",
                poke_interval=1,
                **arguments,
            )
    for task_id, arguments in OPERATORS.items():
        RoeQueryOperator(
            task_id=task_id,
            sql="SELECT '{{ ti.task_id }}' AS task, 7 AS number",
            poll_interval=1,
            **arguments,
        )
    for task_id, arguments in AGENTS.items():
        RoeAgentOperator(
            task_id=task_id,
            agent_id="{{ dag_run.conf['agent_id'] }}",
            inputs=[{"task": "{{ ti.task_id }}", "document": document} for document in "abc"],
            result="outputs",
            poll_interval=1,
            **arguments,
        )


everything()
