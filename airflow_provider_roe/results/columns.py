"""Whole columns of a statement's rows, converted as their types say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_roe import api
from airflow_provider_roe.exceptions import RoeResultError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow

    from airflow_provider_roe.results.spool import Batch, Column, Statement


def dicts(
    statement: Statement, batches: Iterator[Batch], form: Literal["plain", "value"] = "plain"
) -> Iterator[list[dict[str, Any]]]:
    """Yield rows as dicts from column to value, some at a time."""
    names = [column.name for column in statement.columns]
    for columns in values(statement, batches, form):
        yield [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def values(
    statement: Statement, batches: Iterator[Batch], form: Literal["text", "plain", "stored", "value"]
) -> Iterator[list[list[Any]]]:
    """Yield the values of each column, some rows at a time."""
    start = 1
    for batch in batches:
        yield [
            _column_values(statement, column, getattr(column.type, form), cells, start)
            for column, cells in zip(statement.columns, zip(*batch, strict=True), strict=True)
        ]
        start += len(batch)


def _column_values(
    statement: Statement,
    column: Column,
    read_cell: Callable[[str | None], Any],
    cells: tuple[str | None, ...],
    start: int,
) -> list[Any]:
    found = []
    for number, cell in enumerate(cells, start):
        try:
            found.append(read_cell(cell))
        except ValueError:
            type_name, text = api.clip(column.type_name, 100), api.clip(repr(cell), 100)
            raise RoeResultError(
                f"Statement {statement.number}, row {number}, column {api.clip(column.name, 100)}: this"
                f" cannot be read as {type_name} without a guess: {text}. To take it as it is, let the SQL"
                " return toString() of the column."
            ) from None
    return found


def schema(statement: Statement) -> pyarrow.Schema:
    """Return the Arrow schema of a statement's columns."""
    import pyarrow

    return pyarrow.schema([(column.name, column.type.arrow()) for column in statement.columns])


def record_batches(
    statement: Statement, batches: Iterator[Batch], schema: pyarrow.Schema
) -> Iterator[pyarrow.RecordBatch]:
    """Yield rows as Arrow record batches of a schema, some at a time."""
    import pyarrow

    for columns in values(statement, batches, "stored"):
        yield pyarrow.record_batch(list(map(pyarrow.array, columns, schema.types)), schema=schema)
