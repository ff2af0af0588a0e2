from __future__ import annotations

import gc
import math
import warnings
from datetime import date, timedelta
from decimal import Decimal

import pytest

from airflow_provider_roe.exceptions import (
    RoeAuthenticationError,
    RoeError,
    RoeInputError,
    RoeQueryFailedError,
    RoeResultError,
    RoeTimeoutError,
    RoeUnavailableError,
)
from airflow_provider_roe.sql import dbapi
from airflow_provider_roe.testing import Fault, QueryPlan, RoeSimulator
from airflow_provider_roe.testing.query import Query

INSERT = "INSERT INTO reviews (id, text) VALUES (%s, %s)"


@pytest.fixture
def roe(roe):
    """Let the SQL decide how a query ends."""
    roe.plan = QueryPlan(statuses=())
    return roe


@pytest.fixture(autouse=True)
def _connected(roe, connect):
    connect(roe)


@pytest.fixture
def cursor():
    with dbapi.connect() as connection, connection.cursor() as cursor:
        yield cursor


def submitted(roe: RoeSimulator) -> list[str]:
    return [query.sql for query in roe.queries.values()]


class TestExecuting:
    def test_rows_are_tuples_of_python_values(self, cursor):
        cursor.execute("SELECT 1 AS n, 'one' AS word UNION ALL SELECT 2, NULL")
        assert cursor.fetchall() == [(1, "one"), (2, None)]

    def test_parameters_are_bound(self, cursor, roe):
        cursor.execute("SELECT %(n)s AS n", {"n": 7})
        assert cursor.fetchall() == [(7,)]
        assert submitted(roe) == ["SELECT 7 AS n"]

    def test_without_parameters_a_percent_sign_is_one(self, cursor):
        assert cursor.execute("SELECT '%s %% %'").fetchall() == [("%s %% %",)]

    def test_it_tells_the_query_s_id(self, cursor, roe):
        cursor.execute("SELECT 1")
        assert [cursor.query_id] == list(roe.queries)

    def test_nothing_is_downloaded_before_something_is_asked_of_the_result(self, cursor, roe):
        cursor.execute("SELECT 1")
        assert roe.requests_of("result") == []
        assert cursor.rowcount == 1
        assert cursor.description[0][0] == "1"
        cursor.fetchall()
        assert len(roe.requests_of("result")) == 1

    def test_a_query_is_polled_from_a_tenth_of_a_second_on(self, cursor, roe):
        roe.plan = QueryPlan(statuses=[("STARTED", 0.5)])
        cursor.execute("SELECT 1")
        assert len(roe.requests_of("status")) > 2  # a task's wait asks after 0 and 1 s

    @pytest.mark.parametrize("operation", ["", " ", None, 5, b"SELECT 1"], ids=repr)
    def test_what_is_no_sql_is_refused_before_it_is_sent(self, cursor, roe, operation):
        with pytest.raises(dbapi.ProgrammingError, match="sql"):
            cursor.execute(operation)
        assert roe.requests == []


class TestResultSets:
    def test_each_statement_that_returns_columns_is_one(self, cursor):
        cursor.execute("SELECT 1 AS n; DELETE FROM reviews; SELECT 2 AS m UNION ALL SELECT 3")
        assert (cursor.description[0][0], cursor.rowcount) == ("n", 1)
        assert cursor.nextset() is True
        assert (cursor.description[0][0], cursor.rowcount) == ("m", 2)
        assert cursor.fetchall() == [(2,), (3,)]
        assert cursor.nextset() is None

    def test_rows_that_were_not_taken_are_passed_over(self, cursor):
        cursor.execute("SELECT 1 UNION ALL SELECT 2; SELECT 3")
        assert cursor.fetchone() == (1,)
        cursor.nextset()
        assert cursor.fetchall() == [(3,)]

    def test_of_a_query_without_columns_there_is_none(self, cursor):
        cursor.execute("DELETE FROM reviews WHERE id < 3")
        assert (cursor.description, cursor.rowcount) == (None, 2)
        with pytest.raises(dbapi.ProgrammingError, match="returned no columns"):
            cursor.fetchall()

    def test_before_anything_is_executed_there_is_none(self, cursor):
        assert (cursor.description, cursor.rowcount) == (None, -1)
        for ask in (cursor.fetchone, cursor.fetchmany, cursor.fetchall, cursor.nextset):
            with pytest.raises(dbapi.ProgrammingError, match="Nothing was executed"):
                ask()

    def test_after_one_that_failed_there_is_none(self, cursor, roe):
        cursor.execute("SELECT 1")
        with pytest.raises(dbapi.Error):
            cursor.execute("SELECT * FROM nowhere")
        assert (cursor.description, cursor.query_id) == (None, list(roe.queries)[-1])

    @pytest.mark.parametrize("size", [1, 2, 5])
    def test_rows_come_as_many_at_a_time_as_one_asks_for(self, cursor, size):
        cursor.execute("SELECT id FROM reviews WHERE id <= 5 ORDER BY id")
        taken = []
        while rows := cursor.fetchmany(size):
            assert len(rows) <= size
            taken += rows
        assert taken == [(1,), (2,), (3,), (4,), (5,)]

    def test_a_cursor_is_iterated_over(self, cursor):
        assert list(cursor.execute("SELECT 1 UNION ALL SELECT 2")) == [(1,), (2,)]


class TestTypes:
    @pytest.mark.parametrize(
        ("type_code", "types"),
        [
            ("String", dbapi.STRING),
            ("LowCardinality(Nullable(String))", dbapi.STRING),
            ("FixedString(8)", dbapi.STRING),
            ("Nullable(Decimal(18, 2))", dbapi.NUMBER),
            ("UInt256", dbapi.NUMBER),
            ("DateTime64(3, 'Europe/Zurich')", dbapi.DATETIME),
            ("Nullable(Date)", dbapi.DATETIME),
        ],
    )
    def test_a_column_s_type_equals_one(self, type_code, types):
        every = (dbapi.STRING, dbapi.BINARY, dbapi.NUMBER, dbapi.DATETIME, dbapi.ROWID)
        assert [each for each in every if type_code == each] == [types]

    @pytest.mark.parametrize("type_code", ["Array(String)", "Map(String, Date)", "Nothing"])
    def test_or_none(self, type_code):
        assert type_code not in (dbapi.STRING, dbapi.BINARY, dbapi.NUMBER, dbapi.DATETIME, dbapi.ROWID)

    def test_a_column_says_whether_it_may_hold_null(self, cursor):
        cursor.execute("SELECT 1 AS n, NULL AS word UNION ALL SELECT 2, 'a'")
        assert [(column[0], column[-1]) for column in cursor.description] == [("n", False), ("word", True)]


class TestExecutingMany:
    @pytest.fixture(autouse=True)
    def _tables_are_there(self, roe):
        roe.plan = QueryPlan(statuses=(), ends_as="SUCCESS")

    def test_rows_go_in_one_insert(self, cursor, roe):
        cursor.executemany("INSERT INTO documents (id) VALUES (%s);", [(1,), (2,), (3,)])
        assert submitted(roe) == ["INSERT INTO documents (id) VALUES (1), (2), (3)"]
        assert cursor.rowcount == 3

    @pytest.mark.parametrize(
        ("bound", "value", "queries"),
        [("MOST_ROWS", 2, 3), ("MOST_BYTES", 10, 3), ("MOST_BYTES", 1, 5)],
    )
    def test_or_in_a_few(self, cursor, roe, monkeypatch, bound, value, queries):
        monkeypatch.setattr(dbapi, bound, value)
        cursor.executemany("INSERT INTO t VALUES (%s)", [(n,) for n in range(5)])
        assert len(roe.queries) == queries
        assert ", ".join(sql.partition("VALUES ")[2] for sql in submitted(roe)) == "(0), (1), (2), (3), (4)"
        assert cursor.rowcount == 5

    def test_of_mappings_too(self, cursor, roe):
        cursor.executemany("insert into `a b`.t (n) values (%(n)s)", [{"n": 1}, {"n": 2}])
        assert submitted(roe) == ["insert into `a b`.t (n) values (1), (2)"]

    @pytest.mark.parametrize(
        "operation",
        [
            "SELECT %s",
            "INSERT INTO t SELECT %s",
            "INSERT INTO t SELECT * FROM values('a Int64', (%s))",
            "INSERT INTO t VALUES (%s); SELECT (1)",
            "INSERT INTO t /* VALUES (1) */ VALUES (%s)",
            "ALTER TABLE t UPDATE n = %s WHERE 1",
        ],
    )
    def test_anything_else_becomes_a_query_each(self, cursor, roe, operation):
        cursor.executemany(operation, [(1,), (2,)])
        assert submitted(roe) == [operation % 1, operation % 2]

    def test_of_none_nothing_is_run(self, cursor, roe):
        cursor.executemany(INSERT, [])
        assert (roe.requests, cursor.rowcount) == ([], 0)

    def test_one_that_fails_is_the_last_and_says_what_was_done_before(self, cursor, roe):
        roe.plan = QueryPlan(statuses=())
        sets = [("invoices",), ("reviews",), ("nowhere",), ("documents",)]
        fails = "SELECT CASE WHEN %s = 'nowhere' THEN json('?') END"
        with pytest.raises(
            dbapi.ProgrammingError, match=r"^malformed JSON.* 2 sets of parameters were executed before"
        ):
            cursor.executemany(fails, sets)
        assert len(roe.queries) == 3

    def test_what_may_be_in_effect_is_not_repeated(self, cursor, roe, connect):
        connect(roe, retry_window=30)
        roe.add_fault(Fault(call="submit", status_code=502, executed=True))
        with pytest.raises(dbapi.OperationalError):
            cursor.executemany(INSERT, [(1, "a"), (2, "b")])
        assert len(roe.requests_of("submit")) == 1


class TestErrors:
    @pytest.mark.parametrize(
        ("plan", "error", "text"),
        [
            (
                QueryPlan((), "FAILURE", "Unknown table"),
                dbapi.ProgrammingError,
                "Unknown table. Query .* ended as FAILURE",
            ),
            (
                QueryPlan((), "REVOKED", "worker lost"),
                dbapi.OperationalError,
                "worker lost. Query .* ended as REVOKED",
            ),
            (
                QueryPlan((), "FAILURE"),
                dbapi.ProgrammingError,
                "Query .* ended as FAILURE.*: Roe gave no reason",
            ),
        ],
    )
    def test_a_query_that_failed_begins_with_roe_s_reason(self, cursor, roe, plan, error, text):
        roe.plan = plan
        with pytest.raises(error, match=f"^{text}") as e:
            cursor.execute("SELECT 1")
        assert type(e.value) is error
        assert isinstance(e.value.__cause__, RoeQueryFailedError)

    def test_one_that_does_not_end(self, roe):
        roe.plan = QueryPlan(statuses=[("STARTED", math.inf)])
        with pytest.raises(dbapi.OperationalError, match="is still STARTED") as e:
            dbapi.connect(timeout=timedelta(seconds=1)).cursor().execute("SELECT 1")
        assert isinstance(e.value.__cause__, RoeTimeoutError)

    @pytest.mark.parametrize(
        ("code", "error", "cause"),
        [
            (400, dbapi.ProgrammingError, RoeError),
            (401, dbapi.OperationalError, RoeAuthenticationError),
            (403, dbapi.OperationalError, RoeError),
            (503, dbapi.OperationalError, RoeUnavailableError),
        ],
    )
    def test_roe_refuses(self, cursor, roe, code, error, cause):
        roe.add_fault(Fault(status_code=code))
        with pytest.raises(error) as e:
            cursor.execute("SELECT 1")
        assert type(e.value) is error
        assert isinstance(e.value.__cause__, cause)

    def test_a_parameter_that_cannot_be_bound(self, cursor, roe):
        with pytest.raises(dbapi.ProgrammingError) as e:
            cursor.execute("SELECT %s", [object()])
        assert isinstance(e.value.__cause__, RoeInputError)
        assert roe.requests == []

    def test_a_connection_that_is_not_there(self, monkeypatch):
        monkeypatch.delenv("AIRFLOW_CONN_ROE_DEFAULT")
        with pytest.raises(dbapi.OperationalError, match="Airflow has no connection 'roe_default'"):
            dbapi.connect().cursor().execute("SELECT 1")

    @pytest.mark.parametrize("argument", ["timeout", "poll_interval"])
    def test_an_argument_that_is_no_span_of_time(self, argument):
        with pytest.raises(dbapi.ProgrammingError, match=f"{argument} must be a number of seconds"):
            dbapi.connect(**{argument: "5"})

    def test_a_cell_that_is_not_what_its_column_says(self, cursor, roe, monkeypatch):
        broken = {
            "query": "",
            "row_count": 1,
            "column_names": ["d"],
            "column_types": ["Date"],
            "result_rows": [["?"]],
        }
        as_result = Query.as_result
        monkeypatch.setattr(Query, "as_result", lambda query: as_result(query) | {"results": [broken]})
        cursor.execute("SELECT 1")
        with pytest.raises(dbapi.DataError, match="row 1, column d") as e:
            cursor.fetchall()
        assert isinstance(e.value.__cause__, RoeResultError)

    def test_a_result_that_is_none(self, cursor, monkeypatch):
        monkeypatch.setattr(Query, "as_result", lambda query: query.as_status() | {"results": None})
        cursor.execute("SELECT 1")
        with pytest.raises(dbapi.InternalError, match="results must be a list"):
            cursor.fetchall()

    @pytest.mark.parametrize("closed", ["connection", "cursor"])
    def test_what_is_closed_is_not_used(self, closed):
        connection = dbapi.connect()
        cursor = connection.cursor()
        {"connection": connection, "cursor": cursor}[closed].close()
        with pytest.raises(dbapi.InterfaceError, match=f"{closed} is closed"):
            cursor.execute("SELECT 1")


class TestFiles:
    def test_a_cursor_that_is_dropped_leaves_none_open(self):
        with warnings.catch_warnings():
            warnings.simplefilter("error", ResourceWarning)
            cursor = dbapi.connect().cursor()
            assert cursor.execute("SELECT 1").fetchone() == (1,)
            file = cursor._result.close.peek()[1].__self__
            assert file is not None
            del cursor
            gc.collect()

    def test_nor_one_that_is_closed(self):
        with dbapi.connect().cursor() as cursor:
            cursor.execute("SELECT 1").fetchone()
            result = cursor._result
        assert not result.close.alive


def test_values_are_the_result_s_own(cursor, monkeypatch):
    told = {
        "query": "",
        "row_count": 1,
        "column_names": ["amount", "day", "words"],
        "column_types": ["Decimal(9, 2)", "Date", "Array(String)"],
        "result_rows": [["1.50", "2026-03-01", "['a', 'b']"]],
    }
    as_result = Query.as_result
    monkeypatch.setattr(Query, "as_result", lambda query: as_result(query) | {"results": [told]})
    cursor.execute("SELECT 1")
    assert cursor.fetchall() == [(Decimal("1.50"), date(2026, 3, 1), ["a", "b"])]
