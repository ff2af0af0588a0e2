"""Waits on an Airflow with PostgreSQL and two triggerers, while parts of it die."""

from __future__ import annotations

import itertools
import signal
import time
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from airflow_provider_roe.testing import QueryPlan, RoeSimulator
from dev.local_postgres import AVAILABLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from dev.local_airflow import LocalAirflow

pytestmark = pytest.mark.skipif(
    not AVAILABLE, reason="needs a PostgreSQL server: install it (Debian: postgresql)"
)

WAITS = 200
ENDS = {"SUCCESS": "success", "FAILURE": "failed", "REVOKED": "failed"}


def until(condition: Callable[[], bool], timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not so within {timeout} s"
        time.sleep(2)


def test_no_wait_is_lost_or_wrong_when_a_triggerer_is_killed_and_the_other_restarts(
    airflow: LocalAirflow, roe: RoeSimulator, capsys: pytest.CaptureFixture[str]
) -> None:
    airflow.wait_for_dag("under_fire")
    # They end one after another from a minute on: before, while and after no triggerer runs.
    ends = {
        roe.submit("SELECT 1", QueryPlan((("STARTED", 60 + 90 * number / WAITS),), ends_as=end)): end
        for number, end in zip(range(WAITS), itertools.cycle(ENDS), strict=False)
    }
    query_ids = list(ends)
    run_id = airflow.trigger("under_fire", {"query_ids": query_ids})

    def waits() -> list[dict]:
        tasks = airflow.task_instances("under_fire", run_id)
        return [task for task in tasks if task["task_id"] == "wait" and task["map_index"] >= 0]

    def count(*states: str) -> int:
        return sum(task["state"] in states for task in waits())

    until(lambda: count("deferred", "success", "failed") == WAITS, timeout=300)
    airflow.component("triggerer-2").kill(signal.SIGKILL)
    until(lambda: any(roe.queries[query_id].finished_at for query_id in query_ids), timeout=120)
    airflow.component("triggerer").stop(grace=30)
    gap_began = datetime.now(UTC)
    time.sleep(10)
    gap_ended = datetime.now(UTC)
    airflow.component("triggerer").start()
    until(lambda: count("success", "failed") == WAITS, timeout=400)

    in_the_gap, delays, wrong = 0, [], []
    for task in waits():
        query = roe.queries[query_ids[task["map_index"]]]
        in_the_gap += gap_began < query.finished_at < gap_ended
        delays.append((datetime.fromisoformat(task["end_date"]) - query.finished_at).total_seconds())
        if (task["state"], task["try_number"]) != (ENDS[ends[query.id]], 1):
            wrong.append((query.id, ends[query.id], task["state"], task["try_number"]))
    with capsys.disabled():
        print(
            f"\n{WAITS} waits: {dict(Counter(task['state'] for task in waits()))}, {len(wrong)} wrong;"
            f" {in_the_gap} queries ended while no triggerer ran; worst delay {max(delays):.1f} s"
        )
    assert not wrong
    assert in_the_gap > 0
    assert max(delays) < 120
