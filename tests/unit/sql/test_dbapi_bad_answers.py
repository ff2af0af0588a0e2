"""Answers and batches that must neither look like less than they are, nor like a failure after a success."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_roe.sql import dbapi
from airflow_provider_roe.testing import Fault, QueryPlan
from airflow_provider_roe.testing.query import Query


@pytest.fixture
def cursor(roe, connect):
    connect(roe)
    with dbapi.connect() as connection, connection.cursor() as cursor:
        yield cursor


@pytest.fixture
def answered(monkeypatch):
    """Return what lets each result hold some statements."""

    def answered(*statements: dict[str, Any]) -> None:
        as_result = Query.as_result
        monkeypatch.setattr(Query, "as_result", lambda query: as_result(query) | {"results": statements})

    return answered


def statement(*cells: str, **fields: Any) -> dict[str, Any]:
    return {
        "query": "SELECT n",
        "row_count": len(cells),
        "column_names": ["n"],
        "column_types": ["UInt8"],
        "result_rows": [[cell] for cell in cells],
    } | fields


class TestACellThatCannotBeRead:
    def test_is_an_error_as_often_as_it_is_come_to_and_never_the_end(self, cursor, answered):
        answered(statement("1", "x"))
        cursor.execute("SELECT n")
        for fetch in (cursor.fetchone, cursor.fetchmany, cursor.fetchall):
            with pytest.raises(dbapi.DataError, match="row 2, column n: this cannot be read as UInt8"):
                fetch()

    def test_is_passed_over_with_its_statement(self, cursor, answered):
        answered(statement("x"), statement("2"))
        cursor.execute("SELECT n; SELECT n")
        assert cursor.nextset()
        assert cursor.fetchall() == [(2,)]

    def test_is_forgotten_with_its_statement(self, cursor, answered):
        answered(statement("x"), statement("2"))
        cursor.execute("SELECT n; SELECT n")
        with pytest.raises(dbapi.DataError):
            cursor.fetchall()
        assert cursor.nextset()
        assert cursor.fetchall() == [(2,)]


@pytest.mark.parametrize(("written", "rowcount"), [(3, 3), ("many", -1), (True, -1), (None, -1)])
def test_written_rows_that_are_no_number_are_not_known(cursor, answered, written, rowcount):
    nothing = {"column_names": [], "column_types": [], "summary": {"written_rows": written}}
    answered(statement(**nothing))
    assert cursor.execute("INSERT INTO t SELECT 1").rowcount == rowcount


class TestBatchesOfAnInsert:
    @pytest.mark.parametrize("text", ["plain ", "it's\n", "\N{GRINNING FACE}"], ids=ascii)
    def test_are_bounded_by_what_is_sent(self, cursor, roe, text):
        cursor.executemany("INSERT INTO t VALUES (%s)", [(text * 200,)] * 3000)
        assert cursor.rowcount == 3000
        sizes = [len(request.body) for request in roe.requests_of("submit")]
        assert len(sizes) > 1
        assert max(sizes) < 1.1 * 2**20

    def test_a_row_beyond_the_bound_goes_alone(self, cursor, roe):
        cursor.executemany("INSERT INTO t VALUES (%s)", [("é" * 2_000_000,), ("x",)])
        assert cursor.rowcount == 2
        assert len(roe.requests_of("submit")) == 2

    @pytest.mark.parametrize(
        "sql",
        [
            "insert into t(a) values(%s);",
            "-- rows (a;b)\nINSERT INTO t VALUES (%s)",
            "/* who */ INSERT INTO `a`.`b` (`x`) VALUES (toDate(%s))",
            "INSERT INTO t (a) SETTINGS async_insert=1, x = 0.5 VALUES (%s)",
            "INSERT INTO t FORMAT Values (%s, '(;')",
        ],
    )
    def test_are_made_of_any_insert_of_one_row(self, cursor, roe, sql):
        cursor.executemany(sql, [("1",), ("2",)])
        assert len(roe.requests_of("submit")) == 1

    @pytest.mark.parametrize(
        "sql",
        [
            "INSERT INTO t VALUES (%s) SETTINGS x = (1)",
            "INSERT INTO t VALUES (%s) -- (a)",
            "INSERT INTO t VALUES (%s), (3)",
            "INSERT INTO t SELECT %s",
            "SELECT 1; INSERT INTO t VALUES (%s)",
        ],
    )
    def test_are_not_made_of_anything_else(self, cursor, roe, sql):
        cursor.executemany(sql, [("1",), ("2",)])
        assert len(roe.requests_of("submit")) == 2

    @pytest.mark.parametrize("good", [0, 2, 3])
    def test_that_cannot_be_bound_say_which_row_and_what_was_inserted(self, cursor, monkeypatch, roe, good):
        monkeypatch.setattr(dbapi, "MOST_ROWS", 2)
        rows = [("1",)] * good + [(object(),)]
        with pytest.raises(
            dbapi.ProgrammingError, match=rf"^Row {good + 1}: .* {max(good - 1, 0) // 2 * 2} sets of"
        ):
            cursor.executemany("INSERT INTO t VALUES (%s)", rows)
        assert len(roe.requests_of("submit")) == max(good - 1, 0) // 2

    def test_whose_answer_was_lost_are_not_sent_again(self, cursor, connect, roe):
        connect(roe, retry_window=30)
        roe.add_fault(Fault(call="submit", reset="body", executed=True))
        with pytest.raises(
            dbapi.OperationalError, match=r"0 sets of parameters were executed before.* may be in effect"
        ):
            cursor.executemany("INSERT INTO t VALUES (%s)", [("1",)])
        assert len(roe.requests_of("submit")) == 1

    def test_that_were_not_seen_to_end_say_that_they_may_be_in_effect(self, cursor, roe):
        roe.add_fault(Fault(call="status", status_code=401))
        with pytest.raises(dbapi.OperationalError, match="may be in effect"):
            cursor.executemany("INSERT INTO t VALUES (%s)", [("1",)])

    @pytest.mark.parametrize("code", [400, 401, 403, 429])
    def test_that_were_refused_do_not(self, cursor, roe, code):
        roe.add_fault(Fault(call="submit", status_code=code))
        with pytest.raises(dbapi.Error, match=r"those that follow were not sent\.$"):
            cursor.executemany("INSERT INTO t VALUES (%s)", [("1",)])

    @pytest.mark.parametrize("operation", [None, b"INSERT INTO t VALUES (%s)"], ids=repr)
    def test_of_what_is_no_text_are_refused(self, cursor, roe, operation):
        with pytest.raises(dbapi.ProgrammingError, match="sql must be a text"):
            cursor.executemany(operation, [("1",)])
        assert roe.requests == []


@pytest.mark.parametrize(
    ("code", "error"),
    [(400, dbapi.ProgrammingError), (402, dbapi.OperationalError), (500, dbapi.OperationalError)],
)
def test_a_refusal_begins_with_roe_s_reason(cursor, roe, code, error):
    roe.add_fault(Fault(call="submit", status_code=code, body={"detail": "Not this one"}))
    with pytest.raises(error, match=r"^Not this one\. .*Request id"):
        cursor.execute("SELECT 1")


@pytest.mark.parametrize("last", [object(), "refused"], ids=["unbound", "refused"])
def test_sets_of_parameters_that_failed_leave_no_result_of_those_before(cursor, roe, last):
    roe.plan = QueryPlan(statuses=())

    def sets():
        yield ("1",)
        roe.add_fault(Fault(call="submit", status_code=403))
        yield (last,)

    with pytest.raises(dbapi.Error, match="1 sets of parameters were executed before"):
        cursor.executemany("SELECT %s", sets())
    assert (cursor.rowcount, cursor.description) == (-1, None)
