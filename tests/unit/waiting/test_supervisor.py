from __future__ import annotations

import logging
import math
import os
import subprocess
import sys
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_roe.testing import QueryPlan
from airflow_provider_roe.waiting.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Callable

LOG = logging.getLogger("roe.tests")
RUNNER = "airflow.sdk.execution_time.task_runner"


LEFT_BEHIND = """
import os, sys, time
from types import SimpleNamespace
from airflow_provider_roe.sensors.roe import RoeQueryStatusSensor
from airflow_provider_roe.waiting import supervisor
from airflow_provider_roe.waiting.wait import Wait

if os.fork():
    time.sleep(600)
supervisor._has_one = lambda ti: True
Wait.next_interval = lambda self: 3.0
ti = SimpleNamespace(map_index=-1, xcom_push=print)
sensor = RoeQueryStatusSensor(task_id="wait", query_id=sys.argv[1], timeout=600)
try:
    print("It returned", sensor.execute({"ti": ti}))
except BaseException as e:
    print("It raised", e)
"""


class CommsDecoder:
    """Stands for what a task on a worker has of that name: its socket to the supervisor."""


class InProcessSupervisorComms:
    """Stands for what ``dag.test()`` has in its place."""


class BrokenLog:
    """A log whose other end is gone."""

    def error(self, text: str) -> None:
        raise BrokenPipeError


@pytest.fixture
def run_by(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Return a function that lets a task be run by a worker or not; it returns the task's instance."""

    def run_by(worker: bool) -> SimpleNamespace:
        if RUNNER in sys.modules:
            comms = CommsDecoder() if worker else InProcessSupervisorComms()
            monkeypatch.setattr(f"{RUNNER}.SUPERVISOR_COMMS", comms, raising=False)
        return SimpleNamespace(job_id=7 if worker else None, map_index=-1, xcom_push=print)

    return run_by


@pytest.mark.parametrize(("worker", "ends"), [(True, True), (False, False)], ids=["worker", "dag.test"])
def test_only_a_task_on_a_worker_has_one(run_by, monkeypatch, caplog, worker, ends):
    exits: list[int] = []
    monkeypatch.setattr(os, "_exit", exits.append)
    supervisor = Supervisor(run_by(worker))
    supervisor.end_if_gone(LOG)
    assert exits == []
    monkeypatch.setattr(os, "getppid", lambda: 1)
    supervisor.end_if_gone(LOG)
    assert exits == [1] * ends
    assert ("The process that supervised this one is gone" in caplog.text) == ends


def test_it_ends_though_the_log_went_to_the_supervisor(run_by, monkeypatch):
    exits: list[int] = []
    monkeypatch.setattr(os, "_exit", exits.append)
    supervisor = Supervisor(run_by(worker=True))
    monkeypatch.setattr(os, "getppid", lambda: 1)
    supervisor.end_if_gone(BrokenLog())
    assert exits == [1]


def test_a_poking_task_that_a_killed_supervisor_leaves_behind_polls_no_more(roe, connect):
    connect(roe)
    query_id = roe.submit("SELECT 1", QueryPlan([("STARTED", math.inf)]))
    with subprocess.Popen(
        [sys.executable, "-c", LEFT_BEHIND, query_id], stdout=subprocess.PIPE
    ) as supervisor:
        until(lambda: len(roe.requests_of("status")) == 2)
        supervisor.kill()  # in the pause of 3 s
        said, _ = supervisor.communicate(timeout=60)  # until the process that is left behind ends, too
    assert b"The process that supervised this one is gone" in said
    assert b"It returned" not in said
    assert b"It raised" not in said
    assert len(roe.requests_of("status")) == 2


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
