from __future__ import annotations

import logging
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from airflow_provider_roe.metrics import METRICS, Metrics
from airflow_provider_roe.testing import Fault, QueryPlan
from tests.statsd import Statsd

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"

# What Airflow does at the start of a task's process, and of a triggerer.
SET_UP = """
import asyncio, sys, time
from types import SimpleNamespace
from airflow_provider_roe.sensors.roe import RoeQueryStatusSensor
from airflow_provider_roe.triggers.roe import RoeQueryStatusTrigger

def set_up(room, utils):
    try:
        from importlib import import_module
        stats, stats_utils = import_module(room), import_module(utils)
    except ImportError:
        return  # Airflow's Stats sets itself up
    options = {"export_legacy_names": False} if hasattr(stats, "_export_legacy_names") else {}
    stats.initialize(factory=stats_utils.get_stats_factory(), **options)
"""
TASK = f"""{SET_UP}
set_up("airflow.sdk._shared.observability.metrics.stats", "airflow.sdk.observability.metrics.stats_utils")
ti = SimpleNamespace(map_index=-1, xcom_push=print)
RoeQueryStatusSensor(task_id="wait", query_id=sys.argv[1], poke_interval=0.1).execute({{"ti": ti}})
"""
TRIGGERER = f"""{SET_UP}
set_up("airflow._shared.observability.metrics.stats", "airflow.observability.metrics.stats_utils")
now = time.time()
trigger = RoeQueryStatusTrigger(
    query_id=sys.argv[1], deferred_at=now, hand_over=0.0, started_at=now - 5, poke_interval=0.1
)

async def run():
    print([event async for event in trigger.run()])

asyncio.run(run())
"""


@pytest.fixture
def statsd(monkeypatch: pytest.MonkeyPatch) -> Iterator[Statsd]:
    with Statsd() as statsd:
        for name, value in statsd.env.items():
            monkeypatch.setenv(name, value)
        yield statsd


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (
            TASK,
            {
                "roe.requests": r"1\|c",
                "roe.failures": r"1\|c",
                "roe.held_back": r"[\d.]+\|ms",
                "roe.wait.duration": r"[\d.]+\|ms",
                "roe.wait.lateness": r"[\d.]+\|ms",
            },
        ),
        (
            TRIGGERER,
            {
                "roe.waits": r"0\|g",
                "roe.requests": r"1\|c",
                "roe.failures": r"1\|c",
                "roe.held_back": r"[\d.]+\|ms",
                "roe.wait.duration": r"[\d.]+\|ms",
            },
        ),
    ],
    ids=["task", "triggerer"],
)
def test_a_statsd_server_hears_of_a_wait(roe, connect, statsd, program, expected):
    connect(roe, retry_window=30)
    roe.add_fault(Fault(status_code=429, retry_after=1, times=1))
    query_id = roe.submit("SELECT 1", QueryPlan([("STARTED", 0.3)], ends_as="SUCCESS"))
    subprocess.run([sys.executable, "-c", program, query_id], check=True, timeout=120)
    received = statsd.received()
    assert received.keys() == expected.keys()
    for name, value in expected.items():
        assert re.fullmatch(value, received[name]), name


class Stats:
    """Stands for Airflow's, and takes note of what comes; or refuses it."""

    sent: list[tuple[object, ...]]

    def __init__(self) -> None:
        self.sent = []

    def incr(self, *value: object, tags: dict[str, str]) -> None:
        self.sent.append((*value, tags))

    def timing(self, *value: object, tags: dict[str, str]) -> None:
        raise OSError("no route to host")


class TestSending:
    @pytest.fixture
    def metrics(self) -> Metrics:
        metrics = Metrics("nowhere")
        metrics._stats = Stats()
        return metrics

    def test_tags_go_along(self, metrics):
        metrics.count("roe.requests", conn_id="roe_default", call="status")
        assert metrics._stats.sent == [("roe.requests", {"conn_id": "roe_default", "call": "status"})]

    def test_what_airflow_raises_is_nobody_s_trouble(self, metrics, caplog):
        caplog.set_level(logging.DEBUG)
        metrics.time("roe.held_back", 1.0, conn_id="roe_default")
        assert "Metric roe.held_back could not be sent" in caplog.text

    def test_nor_is_an_airflow_without_stats(self):
        Metrics("nowhere").count("roe.requests", conn_id="roe_default", call="status")


def test_the_documentation_has_each_with_its_tags():
    rows = re.findall(r"^\| `(roe[\w.]+)` \|[^|]*\|([^|]*)\|", PAGE.read_text(), re.MULTILINE)
    assert {name: tuple(re.findall(r"`(\w+)`", tags)) for name, tags in rows} == METRICS
