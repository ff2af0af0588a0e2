"""
Run an example DAG on a real Airflow, against the Roe simulator or real Roe.

Started by `make demo`. With ROE_API_KEY and ROE_ORGANIZATION_ID set (and ROE_BASE_URL, for a tenant) it is
real Roe. KEEP=1 leaves Airflow up afterwards, until Ctrl-C.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from dev.local_airflow import LocalAirflow, LocalAirflowError
from dev.processes import SIGNALS, ComponentError

if TYPE_CHECKING:
    from collections.abc import Iterator

CHECKOUT = Path(__file__).resolve().parent.parent
HOME = CHECKOUT / ".demo"
DAG_ID = "example_roe_submit_and_wait"
STARTED = time.monotonic()


def main() -> int:
    """Run the demo and return its exit code."""
    for number in SIGNALS:
        signal.signal(number, end)
    shutil.rmtree(HOME, ignore_errors=True)
    try:
        with roe_connection() as (roe, connection):
            env = {"AIRFLOW_CONN_ROE_DEFAULT": connection}
            airflow = LocalAirflow(HOME, CHECKOUT / "example_dags", env=env)
            print(f"Roe      {roe}")
            print(f"Airflow  {version('apache-airflow')} on {airflow.url}, its files in {HOME.name}/\n")
            say("Airflow starts: database, API server, scheduler, DAG processor, triggerer")
            with airflow:
                say("Airflow is up")
                succeeded = run_dag(airflow)
                if os.environ.get("KEEP"):
                    print(f"\nThe Airflow UI is on {airflow.url} until you press Ctrl-C.")
                    signal.pause()
            say("Airflow has ended; nothing of it is left running")
    except (LocalAirflowError, ComponentError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    return 0 if succeeded else 1


def end(signal_number: int, _: object) -> NoReturn:
    """Leave all `with` blocks, which end what they have started; once is enough."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    print("\nEnding all processes", flush=True)
    raise SystemExit(128 + signal_number)


@contextmanager
def roe_connection() -> Iterator[tuple[str, str]]:
    """Give a description of the Roe to be used and the Airflow connection to it."""
    key, organization = os.environ.get("ROE_API_KEY"), os.environ.get("ROE_ORGANIZATION_ID")
    if bool(key) != bool(organization):
        raise SystemExit(
            "Set both ROE_API_KEY and ROE_ORGANIZATION_ID for real Roe, or neither for the simulator."
        )
    if key:
        base_url = os.environ.get("ROE_BASE_URL") or "https://api.roe-ai.com"
        fields = {"conn_type": "roe", "login": organization, "password": key, "host": base_url}
        yield f"organization {organization} on {base_url}", json.dumps(fields)
    else:
        from airflow_provider_roe.testing import RoeSimulator

        with RoeSimulator() as simulator:
            yield "the simulator on this machine", simulator.connection_uri


def run_dag(airflow: LocalAirflow) -> bool:
    """Run the DAG, say what happens, and return whether it succeeded."""
    airflow.wait_for_dag(DAG_ID)
    run_id = airflow.trigger(DAG_ID)
    say(f"run of {DAG_ID} is triggered")
    run = airflow.wait_for_run(DAG_ID, run_id, timeout=900, on_change=say_state)
    say(f"run is {run['state']}")
    if run["state"] != "success":
        print_logs(airflow, run_id)
        return False
    print_summary(airflow, run_id)
    return True


def print_summary(airflow: LocalAirflow, run_id: str) -> None:
    """Print how the tasks ended, the query's outcome and its first rows."""
    tasks = {task["task_id"]: task["state"] for task in airflow.task_instances(DAG_ID, run_id)}
    query = airflow.xcom(DAG_ID, run_id, "wait")
    rows: list[dict[str, str]] = airflow.xcom(DAG_ID, run_id, "report")
    print()
    print("Tasks    " + ", ".join(f"{task_id} {state}" for task_id, state in tasks.items()))
    print(f"Query    {query['query_id']}: {query['status']} after {query['duration'] or 0:.1f} s")
    for index, row in enumerate(rows):
        print(
            "         " if index else "Rows     ",
            ", ".join(f"{name} = {cell}" for name, cell in row.items()),
            sep="",
        )
    print(f"Total    {time.monotonic() - STARTED:.1f} s")


def print_logs(airflow: LocalAirflow, run_id: str) -> None:
    """Print the log of each task that failed."""
    for task in airflow.task_instances(DAG_ID, run_id):
        if task["state"] == "failed":
            print(f"\nLog of task {task['task_id']}:\n")
            print(airflow.log(DAG_ID, run_id, task["task_id"], task["try_number"], task["map_index"]))


def say_state(task: dict[str, Any]) -> None:
    """Print a task's new state."""
    if task["state"]:
        say(f"  {task['task_id']:<8}{task['state']}")


def say(text: str) -> None:
    """Print a line of progress with the seconds since the start."""
    print(f"{time.monotonic() - STARTED:6.1f} s  {text}", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
