"""Waits on a real Airflow, in every mode."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from dev.patience import patient

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_roe.testing import RoeSimulator
    from dev.local_airflow import LocalAirflow

MODES = ("poke", "reschedule", "deferrable")


class Waits:
    """
    A run of the DAG that waits in each mode.

    :param arguments: Returns the arguments of each sensor of a mode.
    """

    def __init__(self, airflow: LocalAirflow, arguments: Callable[[str], list[dict[str, Any]]]) -> None:
        self._airflow = airflow
        airflow.wait_for_dag("waits")
        self.run_id = airflow.trigger("waits", {mode: arguments(mode) for mode in MODES})

    def tasks(self) -> dict[tuple[str, int], dict[str, Any]]:
        """Return the waits by mode and index."""
        tasks = self._airflow.task_instances("waits", self.run_id)
        return {(task["task_id"], task["map_index"]): task for task in tasks if task["task_id"] in MODES}

    def ended(self) -> dict[tuple[str, int], dict[str, Any]]:
        """Return the waits once all have ended."""
        self._airflow.wait_for_run("waits", self.run_id, timeout=600)
        return self.tasks()

    def log(self, mode: str, index: int) -> str:
        return self._airflow.log("waits", self.run_id, mode, map_index=index)

    def value(self, mode: str, index: int) -> Any:
        """Return what a wait returned."""
        return self._airflow.xcom("waits", self.run_id, mode, map_index=index)


def are_waited_for(service: RoeSimulator) -> bool:
    """Tell whether each query of a service has been polled twice: on a worker, and where its wait goes on."""
    polls = Counter(request.query_id for request in service.requests_of("status"))
    return all(polls[query_id] > 1 for query_id in service.queries)


def until(condition: Callable[[], bool], timeout: float = 120) -> None:
    """Wait until a condition holds, for at most so many seconds, which a slow machine's factor stretches."""
    deadline = time.monotonic() + patient(timeout)
    while not condition():
        assert time.monotonic() < deadline, f"not so within {patient(timeout):g} s"
        time.sleep(0.5)
