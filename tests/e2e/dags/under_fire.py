"""A deferred wait for each query and each job that the run's conf names. Each end leaves a line in a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_roe.sensors.roe import RoeQueryStatusSensor
from airflow_provider_roe.sensors.roe_agent import RoeAgentJobSensor


def write_down(context: Any) -> None:
    task = context["ti"]
    with (Path(os.environ["AIRFLOW_HOME"]) / "ends.txt").open("a") as ends:
        ends.write(f"{task.run_id} {task.task_id} {task.map_index}\n")


WAIT: dict[str, Any] = {
    "deferrable": True,
    "poke_interval": 5,
    "timeout": 3600,
    "retries": 3,
    "retry_delay": 0,
    "on_success_callback": write_down,
    "on_failure_callback": write_down,
}


@dag(schedule=None, catchup=False, max_active_tasks=500)
def under_fire():
    @task
    def ids(of: str, dag_run=None) -> list[str]:
        return dag_run.conf[of]

    queries = ids.override(task_id="query_ids")("query_ids")
    jobs = ids.override(task_id="job_ids")("job_ids")
    RoeQueryStatusSensor.partial(task_id="wait_for_query", **WAIT).expand(query_id=queries)
    RoeAgentJobSensor.partial(task_id="wait_for_job", **WAIT).expand(job_ids=jobs)


under_fire()
