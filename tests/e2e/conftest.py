"""One real Airflow and one simulator of Roe for all tests in this folder: starting them takes long."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_roe.testing import RoeSimulator
from dev.local_airflow import LocalAirflow

if TYPE_CHECKING:
    from collections.abc import Iterator

DAGS = Path(__file__).parent / "dags"
EXAMPLE_DAGS = Path(__file__).parents[2] / "example_dags"


def connection(roe: RoeSimulator, **changes: Any) -> str:
    """Return an Airflow connection to the simulator in JSON; ``changes`` go over its fields."""
    fields = {"conn_type": "roe", "host": roe.url, "login": roe.organization_id, "password": roe.api_key}
    return json.dumps(fields | changes)


@pytest.fixture(scope="session")
def roe() -> Iterator[RoeSimulator]:
    with RoeSimulator() as roe:
        yield roe


@pytest.fixture(scope="session")
def database_env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment of an Airflow that has a database and runs nothing, for commands and ``dag.test()``."""
    env = os.environ | {
        "AIRFLOW_HOME": str(tmp_path_factory.mktemp("airflow-home")),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
    }
    migration = [sys.executable, "-m", "airflow", "db", "migrate"]
    subprocess.run(migration, env=env, check=True, capture_output=True, timeout=120)
    return env


@pytest.fixture(scope="session")
def example_dags() -> Path:
    return EXAMPLE_DAGS


@pytest.fixture(scope="session")
def dags(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the DAGs of these tests and the examples."""
    dags = tmp_path_factory.mktemp("dags")
    for source in (DAGS, EXAMPLE_DAGS):
        (dags / source.name).symlink_to(source)
    return dags


@pytest.fixture(scope="session")
def airflow(
    roe: RoeSimulator, dags: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalAirflow]:
    env = {
        "AIRFLOW_CONN_ROE_DEFAULT": connection(roe),
        "AIRFLOW_CONN_ROE_IMPATIENT": connection(roe, extra={"retry_window": 2}),
        "AIRFLOW_CONN_ROE_WRONG_KEY": connection(roe, password="not-the-key"),
    }
    with LocalAirflow(tmp_path_factory.mktemp("airflow"), dags, env=env) as airflow:
        yield airflow
