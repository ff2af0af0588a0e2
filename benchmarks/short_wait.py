"""How long a task takes on a real Airflow that waits for something which ends 5 s after its first poll."""

from __future__ import annotations

import tempfile
from datetime import datetime
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.client import ask, order
from benchmarks.kinds import KINDS
from benchmarks.machine import CHECKOUT
from benchmarks.work import Work
from dev.local_airflow import LocalAirflow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.machine import Server

DAGS = CHECKOUT / "benchmarks" / "dags"
PACKAGES = {
    "roe": "airflow_provider_roe",
    "http": "airflow.providers.http",
    "dbt_cloud": "airflow.providers.dbt",
}
MODES = ("poke", "deferrable")
ROUNDS = 5
SECONDS = 5.0


def runs(to: Server, rounds: int = ROUNDS) -> Iterator[dict[str, Any]]:
    """Run the DAG of each kind that is installed in each mode, one by one and by turns."""
    kinds = [name for name, package in PACKAGES.items() if find_spec(package)]
    env = to.env(*(KINDS[name] for name in kinds)) | {"PYTHONPATH": str(CHECKOUT)}
    with (
        tempfile.TemporaryDirectory(prefix="bench-airflow-") as home,
        LocalAirflow(Path(home), DAGS, env=env) as airflow,
    ):
        # The round before the first is not counted: what is imported and started at first use is no wait.
        for number, name, mode in product(range(-1, rounds), kinds, MODES):
            order(to.control, Work(KINDS[name].service, waits=1, ends_after=SECONDS))
            seconds = wait(airflow, f"{name}_{mode}")
            polls = ask(to.control, "/counts")["requests"]
            cost = {"seconds": seconds, "polls": polls}
            if number >= 0:
                yield {"kind": name, "mode": mode, "round": number, "cost": cost}


def wait(airflow: LocalAirflow, dag_id: str) -> float:
    """Run a DAG and return the seconds from its task's start to its success."""
    airflow.wait_for_dag(dag_id)
    run_id = airflow.trigger(dag_id)
    run = airflow.wait_for_run(dag_id, run_id)
    if run["state"] != "success":
        raise RuntimeError(f"{dag_id} ended as {run['state']}:\n{airflow.log(dag_id, run_id, 'wait')}")
    (task,) = airflow.task_instances(dag_id, run_id)
    start, end = (datetime.fromisoformat(task[name]) for name in ("start_date", "end_date"))
    return (end - start).total_seconds()
