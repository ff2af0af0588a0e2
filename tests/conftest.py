"""Every test runs with an Airflow home of its own; none is skipped where all that it needs is there."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import threading
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from airflow_provider_roe.testing import JobPlan, QueryPlan, RoeSimulator, faults
from airflow_provider_roe.testing.simulator import DEFAULT_ORGANIZATION_ID
from dev.patience import patient

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

pytest_plugins = ["airflow_provider_roe.testing.fixtures", "tests.known_failures"]

# Ended by make, a run leaves no more behind than after Ctrl-C.
signal.signal(signal.SIGTERM, signal.default_int_handler)

# Airflow reads these when it is first imported, which is when tests are collected.
_home = tempfile.TemporaryDirectory(prefix="airflow-home-")
os.environ["AIRFLOW_HOME"] = _home.name
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "false"
os.environ["AIRFLOW__CORE__UNIT_TEST_MODE"] = "false"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.CallInfo[None], None]:
    """Turn skips into failures where ``ROE_TESTS_NO_SKIP`` promises that nothing is missing, as CI does."""
    outcome = yield
    report = outcome.get_result()
    if report.skipped and os.environ.get("ROE_TESTS_NO_SKIP"):
        report.outcome = "failed"
        report.longrepr = f"skipped, though ROE_TESTS_NO_SKIP is set: {report.longrepr[2]}"


@pytest.fixture(scope="session")
def _simulator() -> Iterator[RoeSimulator]:
    with RoeSimulator() as roe:
        yield roe


@pytest.fixture
def roe(_simulator: RoeSimulator) -> RoeSimulator:
    """Return a simulator as good as new."""
    roe = _simulator
    roe.plan, roe.job_plan, roe.credits = QueryPlan(), JobPlan(), None
    roe.organization_id = DEFAULT_ORGANIZATION_ID
    roe.rotate_key("roe-Test/Key+9fWm2Qz7Lx4Tn8Vb")
    roe.clear_faults()
    roe.requests.clear()
    roe.queries.clear()
    for kept in (roe.jobs, roe.foreign_jobs, roe.idempotent_runs):
        kept.clear()
    roe.connections = 0
    return roe


@pytest.fixture(scope="session")
def database_env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment of an Airflow that has a database and runs nothing, for commands and ``dag.test()``."""
    env = os.environ | {
        "AIRFLOW_HOME": str(tmp_path_factory.mktemp("airflow-home")),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
    }
    migration = [sys.executable, "-m", "airflow", "db", "migrate"]
    subprocess.run(migration, env=env, check=True, capture_output=True, timeout=patient(120))
    return env


@pytest.fixture(scope="session")
def example_dags() -> Path:
    return Path(__file__).parents[1] / "example_dags"


@pytest.fixture
def let_go(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Return what lets answers come that a fault delays: until then the simulator holds them back."""
    gone = threading.Event()

    async def held(seconds: float) -> None:
        while seconds and not gone.is_set():  # noqa: ASYNC110 - it is set in another thread
            await asyncio.sleep(0.01)

    monkeypatch.setattr(faults, "asyncio", SimpleNamespace(**vars(asyncio) | {"sleep": held}))
    yield gone.set
    gone.set()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every attempt follow soon on the one before, unless Retry-After holds it back."""
    from airflow_provider_roe.client import retry

    monkeypatch.setattr(retry, "_backoff", lambda _: 0.02)
    monkeypatch.setattr(retry.random, "random", lambda: 0.0)


@pytest.fixture
def record_figure(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Return a function that takes note of "what: measured", which `make figures` puts into the docs."""
    return partial(record_property, "figure")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    figures = [
        value
        for reports in terminalreporter.stats.values()
        for report in reports
        for name, value in getattr(report, "user_properties", ())
        if name == "figure"
    ]
    if figures:
        terminalreporter.section("Figures")
        for figure in dict.fromkeys(figures):
            terminalreporter.line(figure)
