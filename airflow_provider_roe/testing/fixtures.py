"""
Fixtures for tests of DAGs.

A conftest.py loads them with ``pytest_plugins = ["airflow_provider_roe.testing.fixtures"]``.
"""

from collections.abc import Iterator

import pytest

from airflow_provider_roe.testing.simulator import RoeSimulator


@pytest.fixture
def roe_simulator() -> Iterator[RoeSimulator]:
    """Return a running simulator, new for every test."""
    with RoeSimulator() as roe:
        yield roe


@pytest.fixture
def roe_connection(roe_simulator: RoeSimulator, monkeypatch: pytest.MonkeyPatch) -> RoeSimulator:
    """Return the simulator that the Airflow connection ``roe_default`` leads to during the test."""
    monkeypatch.setenv("AIRFLOW_CONN_ROE_DEFAULT", roe_simulator.connection_uri)
    return roe_simulator
