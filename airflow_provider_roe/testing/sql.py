"""
Runs SQL for real, on a private SQLite copy of a small data set.

The dialect is SQLite's, not ClickHouse's; the results are described with ClickHouse's type names. A column's
type is read off its values, because SQLite has no other for an expression: without rows it is ``String``.
"""

import re
import sqlite3
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import Any, Final

from airflow_provider_roe.testing.outcome import NULL_TEXT, RESULT_BYTES, Cells, Outcome, statement_result

#: SQL of the small data set, which every engine understands
DATASET: Final = Path(__file__).with_name("dataset.sql")

_SECONDS = 5.0
_DATABASE_PAGES = 16_384  # 64 MiB
_CELL_BYTES = 1_000_000
_ROW_BYTES = 64  # what a row weighs without its cells, so that empty ones add up too
_BLANK = re.compile(r"(?>\s|--[^\n]*|/\*(?s:.*?)\*/)*")
_FORBIDDEN = (sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH, sqlite3.SQLITE_PRAGMA)


def run(sql: str, seconds: float = _SECONDS, cells: Cells = "client") -> Outcome:
    """
    Run the statements of a query one after the other.

    :param sql: statements, separated by ``;``.
    :param seconds: the query fails when it takes longer. Default: 5.
    :param cells: how cells are written. Default: ``"client"``.
    """
    results: list[dict[str, Any]] = []
    error = None
    database = _private_copy(time.monotonic() + seconds)
    try:
        results.extend(_run_statement(database, statement, cells) for statement in split(sql))
        if not results:
            error = "Empty query"
    except (sqlite3.Error, sqlite3.Warning, ValueError) as e:  # a NUL or a lone surrogate is a ValueError
        interrupted = getattr(e, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT
        error = f"Timeout exceeded: maximum {seconds:g} seconds" if interrupted else str(e)
    finally:
        database.close()
    return Outcome(results, error, time.monotonic())


def split(sql: str) -> Iterator[str]:
    """Yield the statements of a query, without those that are only blanks and comments."""
    statement = ""
    for piece in sql.split(";"):
        statement += piece
        # A semicolon inside a string or a comment does not complete a statement.
        if sqlite3.complete_statement(f"{statement};"):
            if not _BLANK.fullmatch(statement):
                yield statement.strip()
            statement = ""
        else:
            statement += ";"
    if not _BLANK.fullmatch(statement := statement.removesuffix(";")):
        yield statement.strip()


def _private_copy(deadline: float) -> sqlite3.Connection:
    database = sqlite3.connect(":memory:", isolation_level=None)
    database.text_factory = lambda text: text.decode(errors="replace")
    database.executescript(DATASET.read_text(encoding="utf-8"))
    # Whoever can submit a query must reach neither files nor all of the memory nor the processor for long.
    database.execute(f"PRAGMA max_page_count = {_DATABASE_PAGES}")
    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _CELL_BYTES)
    database.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    database.set_authorizer(
        lambda action, *_: sqlite3.SQLITE_DENY if action in _FORBIDDEN else sqlite3.SQLITE_OK
    )
    database.set_progress_handler(lambda: time.monotonic() > deadline, 10_000)
    return database


def _run_statement(database: sqlite3.Connection, statement: str, form: Cells) -> dict[str, Any]:
    start, changes = time.time(), database.total_changes
    cursor = database.execute(statement)
    names = [column[0] for column in cursor.description or ()]
    kinds: list[set[type]] = [set() for _ in names]
    rows: list[list[str | None]] = []
    write = _client_cell if form == "client" else _text_cell
    size = 0
    for row in cursor:
        cells = [write(value) for value in row]
        for kind, value in zip(kinds, row, strict=True):
            kind.add(type(value))
        rows.append(cells)
        size += _ROW_BYTES + sum(len(cell) for cell in cells if cell)
        if size > RESULT_BYTES:
            raise sqlite3.DataError(f"Limit for result exceeded: maximum {RESULT_BYTES} bytes")
    return statement_result(
        statement,
        str(uuid.uuid4()),
        list(zip(names, map(_type_name, kinds), strict=True)),
        rows,
        (start, time.time()),
        written_rows=database.total_changes - changes,
    )


def _client_cell(value: object) -> str | None:
    match value:
        case None:
            return None
        case bytes():
            return value.decode(errors="replace")
        case _:
            return str(value)


def _text_cell(value: object) -> str:
    match value:
        case None:
            return NULL_TEXT
        case float():
            # ClickHouse writes 2 and 1e-7 where Python writes 2.0 and 1e-07.
            return re.sub(r"e([-+])0", r"e\1", repr(value).removesuffix(".0")).replace("e+", "e")
        case _:
            return str(_client_cell(value))


def _type_name(kinds: set[type]) -> str:
    match kinds - {NoneType}:
        case empty if not empty:
            name = "Nothing" if kinds else "String"
        case numbers if numbers == {int}:
            name = "Int64"
        case numbers if numbers <= {int, float}:
            name = "Float64"
        case _:
            name = "String"
    return f"Nullable({name})" if NoneType in kinds else name
