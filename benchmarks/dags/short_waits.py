"""A DAG for each installed kind and each mode, with one sensor that waits for number 0."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from airflow.sdk import DAG

MODES: dict[str, dict[str, Any]] = {"poke": {"deferrable": False}, "deferrable": {"deferrable": True}}


def sensors() -> dict[str, tuple[Any, dict[str, Any]]]:
    """Return the sensor of each kind that is installed, and what it waits for."""
    from airflow_provider_roe.sensors.roe import RoeQueryStatusSensor

    query_id = "00000000-0000-0000-0000-000000000000"
    found: dict[str, tuple[Any, dict[str, Any]]] = {
        "roe": (RoeQueryStatusSensor, {"query_id": query_id, "roe_conn_id": "bench_roe"})
    }
    if find_spec("airflow.providers.http"):
        from airflow.providers.http.sensors.http import HttpSensor

        found["http"] = HttpSensor, {"endpoint": "things/0", "http_conn_id": "bench_http"}
    if find_spec("airflow.providers.dbt"):
        from airflow.providers.dbt.cloud.sensors.dbt import DbtCloudJobRunSensor

        run = {"run_id": 0, "account_id": 1, "dbt_cloud_conn_id": "bench_dbt_cloud"}
        found["dbt_cloud"] = DbtCloudJobRunSensor, run
    return found


for kind, (sensor, arguments) in sensors().items():
    for mode, mode_arguments in MODES.items():
        with DAG(f"{kind}_{mode}", schedule=None, catchup=False) as dag:
            sensor(task_id="wait", poke_interval=5, timeout=300, **arguments, **mode_arguments)
        globals()[dag.dag_id] = dag
