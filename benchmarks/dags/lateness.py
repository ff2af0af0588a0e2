"""A DAG for each way to wait, with a sensor for each duration of a query, which the conf of the run names."""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_provider_roe.sensors.roe import RoeQueryStatusSensor
from benchmarks.lateness import WAYS

for way, (durations, arguments) in WAYS.items():
    with DAG(f"lateness_{way}", schedule=None, catchup=False) as dag:
        for seconds in durations:
            RoeQueryStatusSensor(
                task_id=f"after_{seconds}",
                query_id=f"{{{{ dag_run.conf['{seconds}'] }}}}",
                timeout=900,
                **arguments,
            )
    globals()[dag.dag_id] = dag
