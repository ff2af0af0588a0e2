"""One real Airflow and one simulator of Roe for all tests in this folder: starting them takes long."""

from __future__ import annotations

import json
import re
import threading
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import pytest
from airflow import __version__ as AIRFLOW_VERSION
from cryptography.fernet import Fernet

from airflow_provider_roe.testing import QueryPlan, RoeSimulator
from dev.local_airflow import LocalAirflow
from dev.local_airflow_2 import LocalAirflow2
from dev.local_postgres import AVAILABLE, LocalPostgres
from tests.e2e.browser import open_page
from tests.e2e.running import Waits, are_waited_for, until
from tests.statsd import Statsd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Page

HERE = Path(__file__).parent
DAGS = HERE / "dags"
EXAMPLE_DAGS = HERE.parents[1] / "example_dags"

AIRFLOW_2 = AIRFLOW_VERSION.startswith("2.")
ON_AIRFLOW_2 = {"test_examples.py", "test_sql.py", "test_ui_airflow_2.py"}
ON_AIRFLOW_3 = {path.name for path in HERE.glob("test_*.py")} - {"test_ui_airflow_2.py"}
collect_ignore = sorted(ON_AIRFLOW_3 - ON_AIRFLOW_2 if AIRFLOW_2 else ON_AIRFLOW_2 - ON_AIRFLOW_3)


@pytest.fixture(scope="session")
def roe() -> Iterator[RoeSimulator]:
    with RoeSimulator() as roe:
        yield roe


@pytest.fixture(scope="session")
def dags(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the examples and, which need Airflow 3, the DAGs of these tests."""
    dags = tmp_path_factory.mktemp("dags")
    # It may take longer to start a task than the simulated queries take, which have to be waited for.
    for example in EXAMPLE_DAGS.glob("*.py"):
        code = re.sub(r'\["STARTED", 1\d\]', '["STARTED", 40]', example.read_text())
        (dags / example.name).write_text(code)
    if AIRFLOW_2:
        (dags / "sql_deferrable.py").symlink_to(DAGS / "sql_deferrable.py")
    else:
        (dags / DAGS.name).symlink_to(DAGS)
    return dags


@pytest.fixture(scope="session")
def postgres() -> Iterator[LocalPostgres | None]:
    """The database server of Airflow; without one, Airflow has to do with SQLite."""
    with LocalPostgres() if AVAILABLE else nullcontext() as postgres:
        yield postgres


class HostNames:
    """Names of hosts that come into being for Airflow's processes."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._file.touch()
        self.env = {"HOSTS_OF_TESTS": str(file), "PYTHONPATH": str(HERE / "processes")}

    def add(self, name: str) -> None:
        """Let a name below .test lead to this machine."""
        self._file.write_text(f"{self._file.read_text()}{name}\n")


@pytest.fixture(scope="session")
def names(tmp_path_factory: pytest.TempPathFactory) -> HostNames:
    return HostNames(tmp_path_factory.mktemp("names") / "hosts")


@pytest.fixture(scope="session")
def fernet_key() -> str:
    """What Airflow encrypts its connections and the arguments of triggers with."""
    return Fernet.generate_key().decode()


@pytest.fixture(scope="session")
def statsd() -> Iterator[Statsd]:
    """The server to which Airflow sends the metrics of this package."""
    with Statsd() as statsd:
        yield statsd


@pytest.fixture(scope="session")
def airflow(
    roe: RoeSimulator,
    postgres: LocalPostgres | None,
    names: HostNames,
    fernet_key: str,
    statsd: Statsd,
    dags: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[LocalAirflow]:
    """Airflow with two triggerers, which has the connections of these tests in its database."""
    home = tmp_path_factory.mktemp("airflow")
    database = postgres and postgres.sql_alchemy_conn
    env = (
        names.env | statsd.env | {"AIRFLOW__CORE__FERNET_KEY": fernet_key, "AIRFLOW__CORE__PARALLELISM": "12"}
    )
    if not AIRFLOW_2:
        env |= {"AIRFLOW__CORE__XCOM_BACKEND": "failing_xcom.FailingXCom"}
    new_airflow = LocalAirflow2 if AIRFLOW_2 else LocalAirflow
    with new_airflow(home, dags, sql_alchemy_conn=database, triggerers=2, env=env) as airflow:
        add_connection(airflow, "roe_default", roe)
        add_connection(airflow, "roe_impatient", roe, extra={"retry_window": 2})
        add_connection(airflow, "roe_wrong_key", roe, password="not-the-key")
        yield airflow


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with open_page() as page:
        yield page


@pytest.fixture(scope="session")
def connect(airflow: LocalAirflow) -> Callable[..., None]:
    """Return a function that stores an Airflow connection to a simulator."""
    return partial(add_connection, airflow)


def add_connection(
    airflow: LocalAirflow,
    conn_id: str,
    roe: RoeSimulator,
    extra: dict[str, Any] | None = None,
    **changes: Any,
) -> None:
    """Store an Airflow connection to the simulator; ``changes`` go over its fields."""
    url = urlsplit(roe.url)
    fields = {
        "connection_id": conn_id,
        "conn_type": "roe",
        "host": f"{url.scheme}://{url.hostname}",
        "port": url.port,
        "login": roe.organization_id,
        "password": roe.api_key,
        "extra": json.dumps(extra) if extra else None,
    }
    airflow.api("POST", "connections", json=fields | changes)


class Outage(NamedTuple):
    """Two waits in each mode whose service is out for four minutes; the second has a retry window of 60 s."""

    waits: Waits
    ends_at: datetime


@pytest.fixture(scope="session")
def outage(airflow: LocalAirflow, connect: Callable[..., None]) -> Iterator[Outage]:
    """An outage that has begun, and ends while other tests run. Their queries end in it."""
    with RoeSimulator(plan=QueryPlan([("STARTED", 120)], ends_as="SUCCESS")) as service:
        connect("roe_out", service)
        connect("roe_out_impatient", service, {"retry_window": 60})
        arguments = [{"roe_conn_id": conn_id} for conn_id in ("roe_out", "roe_out_impatient")]
        waits = Waits(airflow, lambda _: [{"query_id": service.submit("SELECT 1"), **a} for a in arguments])
        until(lambda: are_waited_for(service))
        service.stop()
        mended = threading.Timer(240, service.start)
        mended.start()
        yield Outage(waits, datetime.now(UTC) + timedelta(seconds=240))
        mended.cancel()
