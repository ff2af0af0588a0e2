"""Deferred waits on an Airflow with PostgreSQL and two triggerers; parts of it die, restart or freeze."""

from __future__ import annotations

import itertools
import math
import signal
import time
from collections import Counter
from contextlib import contextmanager
from copy import copy
from datetime import UTC, datetime
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_roe.testing import QueryPlan, RoeSimulator
from dev.local_postgres import AVAILABLE
from dev.patience import patient
from tests.e2e.running import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dev.local_airflow import LocalAirflow
    from dev.local_postgres import LocalPostgres

pytestmark = pytest.mark.skipif(
    not AVAILABLE, reason="needs a PostgreSQL server: install it (Debian: postgresql)"
)

ENDS = {"SUCCESS": "success", "FAILURE": "failed", "REVOKED": "failed"}


@pytest.fixture(autouse=True)
def whole_again(airflow: LocalAirflow) -> Iterator[None]:
    """Leave Airflow to the next test with all of its parts."""
    yield
    airflow.component("triggerer-2").kill(signal.SIGCONT)
    airflow.revive()
    airflow.wait_until_healthy(120)


class Waits:
    """Waits that the triggerers have taken up, for queries that end when they are told to."""

    def __init__(self, airflow: LocalAirflow, roe: RoeSimulator, number: int) -> None:
        self._airflow, self._roe = airflow, roe
        self.number = number
        self.query_ids = [roe.submit("SELECT 1", QueryPlan([("STARTED", math.inf)])) for _ in range(number)]
        self._first, self._ended_before = 0, 0
        self._running = self._yet_to_end()
        airflow.wait_for_dag("under_fire")
        self.run_id = airflow.trigger("under_fire", {"query_ids": self.query_ids})
        until(lambda: min(self.polls()[query_id] for query_id in self.query_ids) > 1, timeout=400)

    def part(self, index: int, number: int) -> Waits:
        """Return so many of the waits, of those parts of this size the one with this index."""
        part = copy(self)
        part.number, part._first = number, index * number
        part.query_ids = self.query_ids[part._first :][:number]
        part._running, part._ended_before = part._yet_to_end(), self.ended()
        return part

    def _yet_to_end(self) -> Iterator[tuple[str, str]]:
        return zip(self.query_ids, itertools.cycle(ENDS), strict=False)

    def polls(self) -> Counter[str | None]:
        """Return how often each query was polled: first on a worker, and then where its wait goes on."""
        return Counter(request.query_id for request in self._roe.requests_of("status"))

    def end(self, number: int) -> None:
        """Let so many more queries end now."""
        for query_id, status in itertools.islice(self._running, number):
            self._roe.finish(query_id, status)

    @contextmanager
    def ending(self, number: int, seconds: float) -> Iterator[None]:
        """Let so many more queries end one after another while the block runs."""

        def end_each() -> None:
            for _ in range(number):
                self.end(1)
                time.sleep(seconds / number)

        thread = Thread(target=end_each)
        thread.start()
        yield
        thread.join()

    def ended(self) -> int:
        """Return how many waits have ended."""
        states = {"state": ["success", "failed"], "task_id": "wait", "limit": 1}
        path = f"dags/under_fire/dagRuns/{self.run_id}/taskInstances"
        return int(self._airflow.api("GET", path, params=states)["total_entries"]) - self._ended_before

    def all_ended(self) -> bool:
        return self.ended() == self.number

    def triggerers(self) -> set[int]:
        """Return the ids of the triggerers that have the waits which are still deferred."""
        return {task["triggerer_job"]["id"] for task in self._tasks() if task["state"] == "deferred"}

    def report(self, began: datetime, ended: datetime) -> str:
        """Say how the waits ended, and how many queries did while something was amiss."""
        queries = [self._roe.queries[query_id] for query_id in self.query_ids]
        meanwhile = sum(began < query.finished_at < ended for query in queries if query.finished_at)
        repeated = sum(task["try_number"] > 1 for task in self._tasks())
        return (
            f"{self.number} waits, {len(self.wrong())} wrong, {repeated} at a further try;"
            f" {meanwhile} queries ended meanwhile ({(ended - began).total_seconds():.1f} s);"
            f" worst delay {self.worst_delay():.1f} s"
        )

    def worst_delay(self) -> float:
        """Seconds from the end of a query to the end of its task, at most."""
        delays = (
            datetime.fromisoformat(task["end_date"]).timestamp() - self._query(task).finished_at.timestamp()
            for task in self._tasks()
        )
        return float(max(delays))

    def wrong(self, tries: int = 4) -> list[tuple[int, str, int, int]]:
        """
        Return index, state, try and ends of each wait that did not end as its query did, in so many tries.

        Each try may have told an end, where the API server did not hear of it.
        """
        ends = Counter((self._airflow.home / "ends.txt").read_text().splitlines())
        found = [
            (task, task["state"], task["try_number"], ends[f"{self.run_id} {task['map_index']}"])
            for task in self._tasks()
        ]
        return [
            (task["map_index"], state, tried, times)
            for task, state, tried, times in found
            if state != ENDS[self._query(task).status] or tried > tries or not 1 <= times <= tried
        ]

    def _tasks(self) -> list[dict[str, Any]]:
        tasks = self._airflow.task_instances("under_fire", self.run_id)
        ours = range(self._first, self._first + self.number)
        return [task for task in tasks if task["task_id"] == "wait" and task["map_index"] in ours]

    def _query(self, task: dict[str, Any]) -> Any:
        return self._roe.queries[self.query_ids[task["map_index"] - self._first]]


def test_no_wait_is_lost_or_wrong_when_a_triggerer_is_killed_and_the_other_restarts(
    airflow: LocalAirflow, roe: RoeSimulator, record_figure: Callable[[str], None]
) -> None:
    waits = Waits(airflow, roe, 60)
    with waits.ending(60, seconds=60):
        airflow.component("triggerer-2").kill(signal.SIGKILL)
        until(lambda: waits.ended() > 0)
        airflow.component("triggerer").stop(grace=30)
        gap_began = datetime.now(UTC)
        time.sleep(10)
        gap_ended = datetime.now(UTC)
        airflow.component("triggerer").start()
    until(waits.all_ended, timeout=400)
    record_figure(f"one triggerer killed, the other stopped for 10 s: {waits.report(gap_began, gap_ended)}")
    assert not waits.wrong(tries=1)
    assert waits.worst_delay() < patient(180)


def restart_api_server(airflow: LocalAirflow, postgres: LocalPostgres) -> None:
    airflow.component("api-server").restart()
    airflow.wait_until_healthy(120)


def restart_scheduler(airflow: LocalAirflow, postgres: LocalPostgres) -> None:
    airflow.component("scheduler").restart()
    airflow.wait_until_healthy(120)


def restart_database_five_times(airflow: LocalAirflow, postgres: LocalPostgres) -> None:
    for _ in range(5):  # a single drop goes unnoticed by those that ask nothing at that moment
        postgres.restart()
        time.sleep(1)


RESTARTS = [restart_api_server, restart_scheduler, restart_database_five_times]


@pytest.fixture(scope="module")
def many_waits(airflow: LocalAirflow, roe: RoeSimulator) -> Waits:
    """Waits for all restarts, since it takes long until they are deferred."""
    return Waits(airflow, roe, 16 * len(RESTARTS))


@pytest.mark.parametrize("disturb", RESTARTS)
def test_no_wait_is_lost_or_wrong(
    disturb: Callable[[LocalAirflow, LocalPostgres], None],
    many_waits: Waits,
    airflow: LocalAirflow,
    postgres: LocalPostgres,
    record_figure: Callable[[str], None],
) -> None:
    waits = many_waits.part(RESTARTS.index(disturb), 16)
    died: list[str] = []

    def all_ended() -> bool:
        # A scheduler or triggerer that asks its database when the connection drops dies of it.
        died.extend(airflow.revive())
        return waits.all_ended()

    with waits.ending(16, seconds=15):
        until(lambda: waits.ended() > 0)
        began = datetime.now(UTC)
        disturb(airflow, postgres)
        ended = datetime.now(UTC)
        until(all_ended, timeout=200)
    what = disturb.__name__.replace("_", " ")
    record_figure(f"{what}: {waits.report(began, ended)}; died of it: {', '.join(died) or 'none'}")
    # A task that is to go on while no API server answers may fail at its start: Airflow spends a retry on it,
    # and another where a busy machine takes a minute to start the server.
    assert not waits.wrong()
    assert waits.worst_delay() < patient(180)


def test_no_wait_ends_twice_or_wrong_when_a_triggerer_freezes_and_thaws_after_the_other_took_over(
    airflow: LocalAirflow, roe: RoeSimulator, record_figure: Callable[[str], None]
) -> None:
    freezing = airflow.component("triggerer-2")
    airflow.component("triggerer").stop()
    waits = Waits(airflow, roe, 24)
    [frozen] = waits.triggerers()
    its_connections = {request.connection for request in roe.requests_of("status")}
    airflow.component("triggerer").start()
    freezing.kill(signal.SIGSTOP)
    frozen_at = datetime.now(UTC)
    with waits.ending(8, seconds=20):
        until(lambda: frozen not in waits.triggerers())
    polls = len(roe.requests)
    freezing.kill(signal.SIGCONT)
    thawed_at = datetime.now(UTC)
    waits.end(8)  # which both triggerers can see
    # It goes on with waits that are no longer its own.
    until(lambda: any(request.connection in its_connections for request in roe.requests[polls:]))
    time.sleep(3)
    waits.end(8)
    until(waits.all_ended, timeout=200)
    record_figure(f"triggerer frozen while the other took over: {waits.report(frozen_at, thawed_at)}")
    assert not waits.wrong(tries=1)
    assert waits.worst_delay() < patient(180)
