"""
A query's answer, spooled to a file and read as a stream.

An answer of any size is read in bounded memory, and twice: once to see that it is whole and what its columns
are, once for its rows. So the order of its fields does not matter.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import ijson

from airflow_provider_roe import api
from airflow_provider_roe.exceptions import RoeInputError
from airflow_provider_roe.results.clickhouse import ColumnType, column_type

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from airflow_provider_roe.api import QueryResult, Request, Response

    Batch = list[list[str | None]]

#: Bytes of the answer whose rows are converted at a time.
BATCH = 256 * 1024

# Where a cell is in the answer: in each of the objects and lists around it, the key or "item".
_CELL = ["results", "item", "result_rows", "item", "item"]
_ROW, _ROWS = _CELL[:-1], _CELL[:-2]
_DEEPEST = 100


@dataclass(frozen=True, slots=True)
class Column:
    """
    A column of a statement's result.

    :param type_name: ClickHouse's name of its type.
    :param type: What reads its cells.
    """

    name: str
    type_name: str
    type: ColumnType


@dataclass(frozen=True, slots=True)
class Statement:
    """
    A statement that returns columns, without its rows.

    :param number: Which of the query's statements it is, from 1.
    :param row_count: How many rows it returns.
    """

    number: int
    columns: tuple[Column, ...]
    row_count: int


@dataclass(frozen=True, slots=True)
class SpooledResult:
    """
    The result of a query, whose rows are in a file.

    :param result: All but the rows.
    :param statements: The statements that return columns: not ``INSERT``, ``SET`` and the like.
    :param file: The answer as Roe sent it. It stays open for as long as rows are read.
    """

    result: QueryResult
    statements: tuple[Statement, ...]
    file: BinaryIO

    def batches(self) -> Iterator[tuple[Statement, Iterator[Batch]]]:
        """Yield the statements with their rows, some at a time; all of one before the next."""
        self.file.seek(0)
        rows = ijson.items(self.file, ".".join(_ROW), use_float=True)
        for statement in self.statements:
            yield statement, self._batches(islice(rows, statement.row_count))

    def check_names(self) -> None:
        """
        Make sure that each column can be found by its name.

        :raises RoeInputError: Two columns of a statement have the same name.
        """
        for statement in self.statements:
            name, count = Counter(column.name for column in statement.columns).most_common(1)[0]
            if count > 1:
                raise RoeInputError(
                    f"Statement {statement.number} returns {count} columns called {api.clip(name, 100)}: tell"
                    " them apart with AS."
                )

    def _batches(self, rows: Iterator[list[str | None]]) -> Iterator[Batch]:
        batch: Batch = []
        until = self.file.tell() + BATCH
        for row in rows:
            batch.append(row)
            if self.file.tell() > until:
                yield batch
                batch, until = [], self.file.tell() + BATCH
        if batch:
            yield batch


# Reading


def read(request: Request, response: Response, file: BinaryIO, **statuses: frozenset[str]) -> SpooledResult:
    """
    Read the answer to :func:`~airflow_provider_roe.api.result_request`, however long it is.

    :param response: The answer; its body need hold no more than the start.
    :param file: The whole body, if the answer is a success.
    :param statuses: Those that the connection names, as :func:`~airflow_provider_roe.api.read_result` takes
        them. Raises as that does, too.
    """
    api.check_code(request, response)
    try:
        skeleton, held = _scan(file)
    except (ijson.JSONError, UnicodeDecodeError, RecursionError):
        api._refuse_shape(request, response, "JSON")
    result = api.read_parsed_result(request, response, skeleton, **statuses)
    if len(held) != len(result.results):
        api._refuse_shape(request, response, "the result of this query")
    statements = []
    for number, (statement, widths) in enumerate(zip(result.results, held, strict=True), 1):
        if statement.rows:  # what is in a row and is no text
            api._refuse_shape(request, response, "the result of this query")
        api.check_rows(request, response, number, statement, widths)
        if not statement.column_names:
            continue
        columns = tuple(
            Column(name, type_name, column_type(type_name))
            for name, type_name in zip(statement.column_names, statement.column_types, strict=True)
        )
        statements.append(Statement(number, columns, widths.total()))
    return SpooledResult(result, tuple(statements), file)


def _scan(file: BinaryIO) -> tuple[Any, list[Counter[int]]]:
    """Return an answer without its rows; and for each list of rows, how many it has of which width."""
    answer, width = ijson.ObjectBuilder(), 0
    held: list[Counter[int]] = []
    path: list[str] = []
    file.seek(0)
    # Not ijson.parse, whose paths take memory in the square of the depth: 100 KB of "[" would take it all.
    for event, value in ijson.basic_parse(file, use_float=True):
        if (event == "string" or event == "null") and path == _CELL:
            width += 1
        elif event == "start_array" and path == _ROW:
            width = 0
            path.append("item")
        elif event == "end_array" and path == _CELL:
            path.pop()
            if held:
                held[-1][width] += 1
        else:  # what is in a list of rows and is no row stays in the answer, and will be seen there
            answer.event(event, value)
            match event:
                case "start_map" | "start_array":
                    if path == _ROWS and event == "start_array":
                        held.append(Counter())
                    path.append("item")
                    if len(path) > _DEEPEST:
                        raise RecursionError
                case "map_key":
                    path[-1] = value
                case "end_map" | "end_array":
                    path.pop()
    return answer.value, held
