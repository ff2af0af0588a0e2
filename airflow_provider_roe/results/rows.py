"""Rows as plain or Python values, for XCom and for Python tasks."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_roe.api.base import clip
from airflow_provider_roe.exceptions import RoeResultError
from airflow_provider_roe.results.columns import dicts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_roe.results.spool import SpooledResult, Statement

#: What PostgreSQL refuses in JSON, wherever it stands. Other databases take it; no DAG shall depend on that.
_NOT_STORED = re.compile(r"[\x00\ud800-\udfff]")
#: Keys by which Airflow marks what was an object: other values that have them are refused, or read wrongly.
_RESERVED = frozenset(
    {"__classname__", "__version__", "__data__", "__id__", "__cache__", "__type", "__source", "__var"}
)


def rows(
    result: SpooledResult, max_rows: float = math.inf, *, form: Literal["plain", "value"] = "plain"
) -> list[list[dict[str, Any]]]:
    """
    Return the rows of each statement that returns columns, as dicts from column to value.

    :param max_rows: How many rows there may be, over all statements.
    :param form: ``plain`` for values that JSON, and so XCom, carries without loss, as
        :meth:`~airflow_provider_roe.results.clickhouse.ColumnType.plain` says; ``value`` for those of
        :meth:`~airflow_provider_roe.results.clickhouse.ColumnType.value`: Decimal, datetime, ….
    :raises RoeResultError: There are more rows, two columns of the same name, a cell that is not what its
        column's type says, or a plain value that an XCom cannot hold.
    """
    result.check_names()
    if form == "plain":
        check_names_for_xcom(result, keys=True)
    count = sum(statement.row_count for statement in result.statements)
    if count > max_rows:
        raise RoeResultError(
            f"The query returns {count:,} rows, more than max_rows={max_rows:,}: let the SQL return fewer,"
            " raise max_rows, or set output_path to have them written to a file of any size."
        )
    found = []
    for statement, batches in result.batches():
        found.append([row for batch in dicts(statement, batches, form) for row in batch])
        if form == "plain":
            _check_cells_for_xcom(statement, found[-1])
    return found


def check_names_for_xcom(result: SpooledResult, *, keys: bool = False) -> None:
    """
    Make sure that an XCom can hold the columns' names.

    :param keys: Whether they shall be keys in there. Default: values.
    :raises RoeResultError: It cannot.
    """
    for statement in result.statements:
        for column in statement.columns:
            unfit = _unfit(column.name, is_key=keys)
            if unfit:
                raise RoeResultError(
                    f"Statement {statement.number}, column {clip(repr(column.name), 100)}: {unfit}. Give the"
                    " column another name with AS."
                )


def _check_cells_for_xcom(statement: Statement, rows: list[dict[str, Any]]) -> None:
    for number, row in enumerate(rows, 1):
        for name, value in row.items():
            for text, is_key in _texts(value):
                unfit = _unfit(text, is_key=is_key)
                if unfit:
                    raise RoeResultError(
                        f"Statement {statement.number}, row {number}, column {clip(name, 100)}: {unfit}."
                        " Let the SQL replace it, for example with replaceAll(), or set output_path to have"
                        " the rows written to a file."
                    )


def _unfit(text: str, *, is_key: bool) -> str:
    """Say why an XCom cannot hold a text; nothing if it can."""
    found = _NOT_STORED.search(text)
    if found:
        return f"Airflow's database refuses the character U+{ord(found[0]):04X} in an XCom"
    if is_key and text in _RESERVED:
        return f"Airflow keeps the key {text} in an XCom to itself"
    return ""


def _texts(value: Any) -> Iterator[tuple[str, bool]]:
    """Yield all strings in a plain value, and whether each is a key."""
    match value:
        case str():
            yield value, False
        case list():
            for item in value:
                yield from _texts(item)
        case dict():
            for key, item in value.items():
                yield key, True
                yield from _texts(item)


def the_one(found: list[list[dict[str, Any]]]) -> list[Any]:
    """Return the rows of the only statement, or of several a list for each."""
    return found[0] if len(found) == 1 else found
