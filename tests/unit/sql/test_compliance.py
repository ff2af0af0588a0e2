"""The published suite of tests that PEP 249 is held to, on the real ClickHouse engine."""

from __future__ import annotations

import dbapi20
import pytest

from airflow_provider_roe.sql import dbapi
from airflow_provider_roe.testing import QueryPlan, RoeSimulator


@pytest.fixture(scope="module", autouse=True)
def _connection():
    with (
        RoeSimulator(engine="clickhouse", plan=QueryPlan(statuses=())) as roe,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("AIRFLOW_CONN_ROE_DEFAULT", roe.connection_uri)
        yield


class TestCompliance(dbapi20.DatabaseAPI20Test):
    driver = dbapi
    # ClickHouse's tables have an engine, and its columns hold NULL only where they say so.
    ddl1 = f"{dbapi20.DatabaseAPI20Test.ddl1} ENGINE = Memory"
    ddl2 = "create table dbapi20test_barflys (name varchar(20), drink Nullable(varchar(30))) ENGINE = Memory"

    def test_non_idempotent_close(self):
        """The suite wants an error, and says that one may differ: closing twice is closing, as for files."""
        connection = self._connect()
        connection.close()
        connection.close()

    def test_nextset(self):
        """The suite leaves it to the driver, for it calls a procedure, which Roe has not."""
        cursor = self._connect().cursor()
        cursor.execute(
            "SELECT 1 AS n; SET max_threads = 1; SELECT number + 2 AS m FROM numbers(2) ORDER BY m"
        )
        assert cursor.fetchall() == [(1,)]
        assert cursor.nextset()
        assert cursor.fetchall() == [(2,), (3,)]
        assert cursor.nextset() is None

    def test_setoutputsize(self):
        """The suite leaves it to the driver; cells of any size are read whole."""
        cursor = self._connect().cursor()
        cursor.setoutputsize(2)
        cursor.execute("SELECT 'longer'")
        assert cursor.fetchone() == ("longer",)
