"""
Whole columns of a statement's rows, converted as their types say.

With pyarrow, a column is cast at once (:mod:`~airflow_provider_roe.results.casts`) where that gives the same
as reading it cell by cell, as any other is.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_roe.api import base
from airflow_provider_roe.exceptions import RoeResultError
from airflow_provider_roe.results import clickhouse as ch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import ModuleType

    import pyarrow

    from airflow_provider_roe.results.spool import Batch, Column, Statement

#: Characters of names in the lines that are made at a time: each line has them all.
LINES = 16 * 1024 * 1024
_CSV_PLAIN = re.compile(r'[^",\r\n]+')


def dicts(
    statement: Statement, batches: Iterator[Batch], form: Literal["plain", "value"] = "plain"
) -> Iterator[list[dict[str, Any]]]:
    """Yield rows as dicts from column to value, some at a time."""
    names = [column.name for column in statement.columns]
    for columns in values(statement, batches, form):
        yield [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _numbered(batches: Iterator[Batch]) -> Iterator[tuple[int, Batch]]:
    """Yield batches with the number of their first row, from 1."""
    start = 1
    for batch in batches:
        yield start, batch
        start += len(batch[0])


def values(
    statement: Statement, batches: Iterator[Batch], form: Literal["plain", "value"]
) -> Iterator[list[list[Any]]]:
    """Yield the values of each column, some rows at a time."""
    for start, batch in _numbered(batches):
        yield [
            _each_cell(statement, column, getattr(column._type, form), cells, start)
            for column, cells in zip(statement.columns, batch, strict=True)
        ]


def csv_lines(statement: Statement, batches: Iterator[Batch], null: str) -> Iterator[bytes]:
    """
    Yield rows as lines of CSV, some at a time: cells as Roe sends them.

    :param null: What stands for NULL.
    """
    for start, batch in _numbered(batches):
        fields = [
            _csv_fields(column, cells, null) for column, cells in zip(statement.columns, batch, strict=True)
        ]
        try:
            yield ("\n".join(map(",".join, zip(*fields, strict=True))) + "\n").encode()
        except UnicodeEncodeError:
            for column, cells in zip(statement.columns, batch, strict=True):
                _each_cell(statement, column, _encoded, cells, start)


def _csv_fields(column: Column, cells: Sequence[Any], null: str) -> Sequence[str]:
    texts: Sequence[str | None] = cells
    if set(map(type, cells)) != {str} or (
        column._type.nullable and not column._type.null_words().isdisjoint(cells)
    ):
        texts = list(map(column._type.text, cells))
    # Not the csv module, which before Python 3.12 writes None and "" alike.
    if any(map("".join(filter(None, texts)).__contains__, '",\r\n')):
        return [null if text is None else csv_field(text) for text in texts]
    return [null if text is None else text or '""' for text in texts]


def csv_field(text: str) -> str:
    """Return a field of CSV, in quotes where it needs them."""
    return text if _CSV_PLAIN.fullmatch(text) else '"' + text.replace('"', '""') + '"'


def _encoded(cell: Any) -> bytes:
    return cell.encode() if isinstance(cell, str) else b""


def schema(statement: Statement) -> pyarrow.Schema:
    """Return the Arrow schema of a statement's columns."""
    import pyarrow

    return pyarrow.schema([(column.name, column._type.arrow()) for column in statement.columns])


def record_batches(
    statement: Statement, batches: Iterator[Batch], schema: pyarrow.Schema
) -> Iterator[pyarrow.RecordBatch]:
    """Yield rows as Arrow record batches of a schema, some at a time."""
    import pyarrow

    for start, batch in _numbered(batches):
        arrays = [
            _array(statement, column, cells, start)
            for column, cells in zip(statement.columns, batch, strict=True)
        ]
        yield pyarrow.record_batch(arrays, schema=schema)


def json_lines(statement: Statement, batches: Iterator[Batch]) -> Iterator[bytes | memoryview]:
    """Yield rows as lines of JSON, whose values are those of ``plain``, some at a time."""
    try:
        from airflow_provider_roe.results import casts
    except ImportError:  # pyarrow is an extra
        casts = None  # type: ignore[assignment]
    keys = [f", {ch.encode(column.name)}: " for column in statement.columns]
    keys[0] = "{" + keys[0].removeprefix(", ")
    line = "".join(f"{key.replace('%', '%%')}%s" for key in keys) + "}\n"
    at_once = max(LINES // len(line), 1)
    for start, batch in _numbered(batches):
        texts = [
            _json_texts(statement, column, cells, start, casts)
            for column, cells in zip(statement.columns, batch, strict=True)
        ]
        for at in range(0, len(batch[0]), at_once):
            part = [text[at : at + at_once] for text in texts]
            if casts:
                yield casts.joined(
                    [piece for pair in zip(keys, part, strict=True) for piece in pair] + ["}\n"]
                )
            else:
                yield "".join(line % row for row in zip(*part, strict=True)).encode()


def _each_cell(
    statement: Statement, column: Column, read: Callable[[Any], Any], cells: Sequence[Any], start: int
) -> list[Any]:
    found = []
    for number, cell in enumerate(cells, start):
        try:
            found.append(read(cell))
        except Exception as e:  # each type's library has its own
            advice = e.advice if isinstance(e, ch.UnreadableCellError) else ch.DEFAULT_ADVICE
            raise RoeResultError(
                f"Statement {statement.number}, row {number}, column {base.clip(column.name, 100)}: this"
                f" cannot be read as {base.clip(column.type_name, 100)} without a guess:"
                f" {base.clip(repr(cell), 100)}. {advice}"
            ) from None
    return found


def _array(statement: Statement, column: Column, cells: Sequence[Any], start: int) -> pyarrow.Array:
    import pyarrow

    from airflow_provider_roe.results import casts

    texts = casts.strings(column._type, cells)
    array = None if texts is None else casts.arrow(column._type, texts)
    if array is not None:
        return array
    stored, type_ = _each_cell(statement, column, column._type.stored, cells, start), column._type.arrow()
    try:
        return pyarrow.array(stored, type_)
    except (pyarrow.ArrowException, ArithmeticError, ValueError, TypeError):

        def store(cell: Any) -> Any:
            return pyarrow.array([column._type.stored(cell)], type_)

        _each_cell(statement, column, store, cells, start)
        raise


def _json_texts(
    statement: Statement, column: Column, cells: Sequence[Any], start: int, casts: ModuleType | None
) -> Any:
    """Return the JSON of each cell: an array if there is pyarrow, else a list."""
    if casts:
        texts = casts.strings(column._type, cells)
        array = None if texts is None else casts.json_texts(column._type, texts)
        if array is not None:
            return array

    def read(cell: Any) -> str:
        text = ch.encode(column._type.plain(cell))
        text.encode()  # a lone surrogate is no text
        return text

    found = _each_cell(statement, column, read, cells, start)
    return casts.pa.array(found, casts.pa.string()) if casts else found
