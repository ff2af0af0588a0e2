"""
What a poke on a worker costs: the sensor's own, again and again, as in poke mode.

``python -m benchmarks.poke KIND POKES CONTROL_PORT CORE`` does the pokes and prints their cost as JSON.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from benchmarks.client import ask, order
from benchmarks.kinds import KINDS
from benchmarks.machine import CLIENT_CORE
from benchmarks.services import SERVICES, roe_id
from benchmarks.work import Work

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.machine import Server

ROUNDS = 5
POKES = 200


def runs(
    kinds: Sequence[str], to: Server, rounds: int = ROUNDS, pokes: int = POKES
) -> Iterator[dict[str, Any]]:
    """Let each kind poke, by turns."""
    for number in range(rounds):
        for name in kinds:
            order = name, str(pokes), str(to.control), str(CLIENT_CORE)
            cost = to.python(KINDS[name], "-m", "benchmarks.poke", *order)
            yield {"kind": name, "round": number, "pokes": pokes, "cost": cost}


def poker(name: str) -> Callable[[], Any]:
    """Return what pokes once for number 0, and is the same task each time."""
    common: dict[str, Any] = {"task_id": "wait"}
    sensor: Any
    match name:
        case "floor":
            return _floor()
        case "roe":
            from airflow_provider_roe.sensors.roe import RoeQueryStatusSensor

            sensor = RoeQueryStatusSensor(query_id=roe_id(0), roe_conn_id="bench_roe", **common)
        case "dbt_cloud":
            from airflow.providers.dbt.cloud.sensors.dbt import DbtCloudJobRunSensor

            sensor = DbtCloudJobRunSensor(
                run_id=0, account_id=1, dbt_cloud_conn_id="bench_dbt_cloud", **common
            )
        case "http":
            from airflow.providers.http.sensors.http import HttpSensor

            sensor = HttpSensor(endpoint="things/0", http_conn_id="bench_http", **common)
        case "airbyte":
            from airflow.providers.airbyte.sensors.airbyte import AirbyteJobSensor

            sensor = AirbyteJobSensor(airbyte_job_id=0, airbyte_conn_id="bench_airbyte", **common)
        case "databricks":
            from airflow.providers.databricks.hooks.databricks import DatabricksHook

            # It has no sensor for a run; this is what its operator does for each poll.
            hook = DatabricksHook("bench_databricks")
            return lambda: hook.get_run_state(0).is_terminal
    ti = SimpleNamespace(map_index=-1, start_date=datetime.now(UTC), xcom_push=lambda **_: None)
    return lambda: sensor.poke({"ti": ti})


def _floor() -> Callable[[], Any]:
    import requests

    connection = json.loads(os.environ["AIRFLOW_CONN_BENCH_ROE"])
    session = requests.Session()
    session.trust_env = False
    session.verify = os.environ["SSL_CERT_FILE"]
    session.headers["Authorization"] = f"Bearer {connection['password']}"
    url = f"{connection['host']}:{connection['port']}{SERVICES['roe'].path_of(0)}"
    return lambda: session.get(url, timeout=60).json()


def main() -> None:
    """Poke as often as the command line says."""
    name, pokes, control, core = sys.argv[1:]
    os.sched_setaffinity(0, {int(core)})
    logging.disable(logging.INFO)
    poke = poker(name)
    order(int(control), Work(KINDS[name].service, waits=1, polls=2 + int(pokes)))
    poke()  # imports, connection and session
    warm = ask(int(control), "/counts")
    began = time.process_time()
    for _ in range(int(pokes)):
        poke()
    cpu = time.process_time() - began
    counts = ask(int(control), "/counts")
    print(
        json.dumps(
            {
                "cpu_ms_a_poke": 1000 * cpu / int(pokes),
                "polls": counts["requests"] - warm["requests"],
                "handshakes": counts["handshakes"],
            }
        )
    )


if __name__ == "__main__":
    main()
