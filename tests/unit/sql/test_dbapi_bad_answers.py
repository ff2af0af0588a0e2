"""Answers and batches that must neither look like less than they are, nor like a failure after a success."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_roe.sql import dbapi
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
