"""
How long after its query a task ends on a real Airflow, by how long the query takes.

    python -m benchmarks.lateness LocalExecutor|CeleryExecutor [ways]

All sensors of a way wait at the same time, each for a query that begins with its first poll and ends so many
seconds later. The Airflow is the one that this runs on, with its defaults; on Celery with two workers.
"""

from __future__ import annotations

import math
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_roe.testing import QueryPlan, RoeSimulator
from benchmarks.machine import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dev.local_airflow import LocalAirflow

DAGS = CHECKOUT / "benchmarks" / "dags"
DURATIONS = (5, 12, 20, 30, 45, 90, 200)
#: The durations of the queries, and the arguments of the sensors
WAYS: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "deferrable": (DURATIONS, {"deferrable": True}),
    "deferrable_every_5_s": (DURATIONS, {"deferrable": True, "poke_interval": 5}),
    "deferred_at_once": (DURATIONS[:3], {"deferrable": True, "defer_after": 0}),
    "rescheduled": (DURATIONS, {"mode": "reschedule"}),
}
#: What is set otherwise for tests
DEFAULTS = {
    "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "5",
    "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "1",
    "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "5",
    "AIRFLOW__CORE__PARALLELISM": "32",
}


def measure(airflow: LocalAirflow, roe: RoeSimulator, way: str) -> dict[int, tuple[float, int]]:
    """Return, by how long a query takes, how many seconds later its task ends, and the polls of it."""
    durations, _ = WAYS[way]
    queries = {seconds: roe.submit("SELECT 1", QueryPlan([("STARTED", math.inf)])) for seconds in durations}
    dag_id = f"lateness_{way}"
    airflow.wait_for_dag(dag_id)
    ending = threading.Thread(target=end_each, args=(roe, queries))
    ending.start()
    run_id = airflow.trigger(dag_id, {str(seconds): query_id for seconds, query_id in queries.items()})
    airflow.wait_for_run(dag_id, run_id, timeout=900)
    ending.join()
    tasks = {task["task_id"]: task for task in airflow.task_instances(dag_id, run_id)}
    found = {}
    for seconds, query_id in queries.items():
        task, finished_at = tasks[f"after_{seconds}"], roe.queries[query_id].finished_at
        if (task["state"], task["try_number"]) != ("success", 1):
            raise RuntimeError(f"{task}\n{airflow.log(dag_id, run_id, task['task_id'])}")
        late = (datetime.fromisoformat(task["end_date"]) - finished_at).total_seconds()
        found[seconds] = late, len(roe.requests_of("status", query_id))
    return found


def end_each(roe: RoeSimulator, queries: dict[int, str]) -> None:
    """Let each query end so many seconds after its first poll."""
    running = dict(queries)
    while running:
        for seconds, query_id in list(running.items()):
            polls = roe.requests_of("status", query_id)
            if polls and time.time() >= polls[0].received_at.timestamp() + seconds:
                roe.finish(query_id, "SUCCESS")
                del running[seconds]
        time.sleep(0.02)


@contextmanager
def running(executor: str, home: Path, **settings: Any) -> Iterator[LocalAirflow]:
    """Run an Airflow with an executor."""
    if executor == "CeleryExecutor":
        from dev.local_celery import LocalAirflowOnCelery
        from dev.local_redis import LocalRedis

        with (
            LocalRedis() as redis,
            LocalAirflowOnCelery(home, DAGS, broker_url=redis.url, **settings) as airflow,
        ):
            yield airflow
    else:
        from dev.local_airflow import LocalAirflow

        with LocalAirflow(home, DAGS, **settings) as airflow:
            yield airflow


def main(executor: str, ways: list[str]) -> None:
    from airflow import __version__ as airflow_version

    from dev.local_postgres import LocalPostgres

    print(f"Airflow {airflow_version}, {executor}: seconds late (polls), by the query's duration in seconds")
    print("| | " + " | ".join(map(str, DURATIONS)) + " |")
    print("|---" * (len(DURATIONS) + 1) + "|")
    with (
        tempfile.TemporaryDirectory(prefix="bench-airflow-") as home,
        RoeSimulator() as roe,
        LocalPostgres() as postgres,
    ):
        env = DEFAULTS | {"AIRFLOW_CONN_ROE_DEFAULT": roe.connection_uri, "PYTHONPATH": str(CHECKOUT)}
        settings = {"sql_alchemy_conn": postgres.sql_alchemy_conn, "env": env, "start_timeout": 400}
        with running(executor, Path(home), **settings) as airflow:
            for way in ways or WAYS:
                found = measure(airflow, roe, way)
                cells = (f"{late:.1f} ({polls})" for late, polls in found.values())
                print(f"| {way.replace('_', ' ')} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
