"""Deferred waits on an Airflow with PostgreSQL and two triggerers; parts of it die, restart or freeze."""

from __future__ import annotations

import itertools
import signal
import time
from collections import Counter
from contextlib import contextmanager
from copy import copy
from datetime import UTC, datetime
from threading import Thread
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from dev.local_postgres import AVAILABLE
from dev.patience import patient
from tests.e2e.running import until
from tests.integration.things import JOB, QUERY, THINGS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_roe.testing import RoeSimulator
    from dev.local_airflow import LocalAirflow
    from dev.local_postgres import LocalPostgres
    from tests.integration.things import Thing

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


class Wait(NamedTuple):
    """A wait: the index of a mapped task, for the thing with this id."""

    thing: Thing
    thing_id: str
    map_index: int

    @property
    def task_id(self) -> str:
        return f"wait_for_{self.thing.name}"


class Ending(NamedTuple):
    """How something was ended, and when."""

    status: str
    at: datetime


class Waits:
    """Waits that the triggerers have taken up, for queries and for jobs, which end when they are told to."""

    def __init__(self, airflow: LocalAirflow, roe: RoeSimulator, number: int) -> None:
        self._airflow, self._roe = airflow, roe
        self._waits = [
            Wait(thing, thing.start(roe), index) for index in range(number // len(THINGS)) for thing in THINGS
        ]
        self._ends: dict[str, Ending] = {}
        self._ended_before = 0
        self._running = iter(self._waits)
        airflow.wait_for_dag("under_fire")
        conf = {
            f"{thing.name}_ids": [wait.thing_id for wait in self._waits if wait.thing is thing]
            for thing in THINGS
        }
        self.run_id = airflow.trigger("under_fire", conf)
        until(lambda: min(self.polls()[wait.thing_id] for wait in self._waits) > 1, timeout=400)

    @property
    def number(self) -> int:
        return len(self._waits)

    def part(self, index: int, number: int) -> Waits:
        """Return so many of the waits, of those parts of this size the one with this index."""
        part = copy(self)
        part._waits = self._waits[index * number :][:number]
        part._running, part._ended_before = iter(part._waits), self.ended()
        return part

    def polls(self) -> Counter[str | None]:
        """Return how often each was asked for: first on a worker, and then where its wait goes on."""
        jobs = (job_id for request in self._roe.requests_of(JOB.call) for job_id in request.job_ids or ())
        return Counter(request.query_id for request in self._roe.requests_of(QUERY.call)) + Counter(jobs)

    def end(self, number: int) -> None:
        """Let so many more end now."""
        for wait in itertools.islice(self._running, number):
            status = list(ENDS)[wait.map_index % len(ENDS)]
            self._ends[wait.thing_id] = Ending(status, datetime.now(UTC))
            wait.thing.finish(self._roe, wait.thing_id, status)

    @contextmanager
    def ending(self, number: int, seconds: float) -> Iterator[None]:
        """Let so many more end one after another while the block runs."""

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
        path = f"dags/under_fire/dagRuns/{self.run_id}/taskInstances"
        total = 0
        for thing in THINGS:
            states = {"state": ["success", "failed"], "task_id": f"wait_for_{thing.name}", "limit": 1}
            total += int(self._airflow.api("GET", path, params=states)["total_entries"])
        return total - self._ended_before

    def all_ended(self) -> bool:
        return self.ended() == self.number

    def triggerers(self) -> set[int]:
        """Return the ids of the triggerers that have the waits which are still deferred."""
        return {task["triggerer_job"]["id"] for _, task in self._tasks() if task["state"] == "deferred"}

    def report(self, began: datetime, ended: datetime) -> str:
        """Say how the waits ended, and how many of what they wait for did while something was amiss."""
        meanwhile = sum(began < self._ends[wait.thing_id].at < ended for wait in self._waits)
        repeated = sum(task["try_number"] > 1 for _, task in self._tasks())
        return (
            f"{self.number} waits, {len(self.wrong())} wrong, {repeated} at a further try;"
            f" {meanwhile} queries and jobs ended meanwhile ({(ended - began).total_seconds():.1f} s);"
            f" worst delay {self.worst_delay():.1f} s"
        )

    def worst_delay(self) -> float:
        """Seconds from the end of a query or job to the end of its task, at most."""
        return max(
            (datetime.fromisoformat(task["end_date"]) - self._ends[wait.thing_id].at).total_seconds()
            for wait, task in self._tasks()
        )

    def wrong(self, tries: int = 4) -> list[tuple[str, int, str, int, int]]:
        """
        Return task, index, state, try and ends of each wait that did not end right, in so many tries.

        Each try may have told an end, where the API server did not hear of it.
        """
        ends = Counter((self._airflow.home / "ends.txt").read_text().splitlines())
        found = [
            (wait, task["state"], task["try_number"], ends[f"{self.run_id} {wait.task_id} {wait.map_index}"])
            for wait, task in self._tasks()
        ]
        return [
            (wait.task_id, wait.map_index, state, tried, times)
            for wait, state, tried, times in found
            if state != ENDS[self._ends[wait.thing_id].status] or tried > tries or not 1 <= times <= tried
        ]

    def _tasks(self) -> list[tuple[Wait, dict[str, Any]]]:
        tasks = {
            (task["task_id"], task["map_index"]): task
            for task in self._airflow.task_instances("under_fire", self.run_id)
        }
        return [(wait, tasks[wait.task_id, wait.map_index]) for wait in self._waits]


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
    its_connections = {request.connection for request in roe.requests}
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
