"""A deferred wait for each query that the run's conf names. Each end leaves a line in a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_roe.sensors.roe import RoeQueryStatusSensor


def write_down(context: Any) -> None:
    task = context["ti"]
    with (Path(os.environ["AIRFLOW_HOME"]) / "ends.txt").open("a") as ends:
        ends.write(f"{task.run_id} {task.map_index}\n")


@dag(schedule=None, catchup=False, max_active_tasks=500)
def under_fire():
    @task
    def query_ids(dag_run=None) -> list[str]:
        return dag_run.conf["query_ids"]

    RoeQueryStatusSensor.partial(
        task_id="wait",
        deferrable=True,
        poke_interval=5,
        timeout=3600,
        retries=3,
        retry_delay=0,
        on_success_callback=write_down,
        on_failure_callback=write_down,
    ).expand(query_id=query_ids())


under_fire()
