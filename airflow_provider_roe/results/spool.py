"""
A query's answer of any size, read in bounded memory.

It is gone through once, when it is seen to be whole. Its cells go to another file, column by column and some
rows at a time, for only then is it known what they are: the order of the answer's fields does not matter.
"""

from __future__ import annotations

import json
import marshal
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_roe.api import base, queries
from airflow_provider_roe.exceptions import RoeResultError
from airflow_provider_roe.results.clickhouse import ColumnType, column_type
from airflow_provider_roe.results.garbage import no_search_for_cycles
from airflow_provider_roe.results.json_stream import JsonStream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from airflow_provider_roe.api.base import Request, Response
    from airflow_provider_roe.api.queries import QueryResult
    from airflow_provider_roe.client.calls import Calls

    #: For each column the cells of some rows
    Batch = list[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Column:
    """
    A column of a statement's result.

    :param type_name: ClickHouse's name of its type.
    """

    name: str
    type_name: str
    _type: ColumnType = field(repr=False)  # reads its cells, for the modules beside this one


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
    :param file: The rows, for :meth:`batches` to read. It stays open for as long as they are read.
    """

    result: QueryResult
    statements: tuple[Statement, ...]
    file: BinaryIO

    def batches(self) -> Iterator[tuple[Statement, Iterator[Batch]]]:
        """
        Yield the statements with their rows, some at a time: for each column its cells.

        What is not taken of one statement's rows before the next is passed over.
        """
        self.file.seek(0)
        for statement in self.statements:
            batches = self._batches(statement.row_count)
            yield statement, batches
            for _ in batches:
                pass

    def _batches(self, row_count: int) -> Iterator[Batch]:
        while row_count > 0:
            size = int.from_bytes(self.file.read(8))
            batch: Batch = marshal.loads(self.file.read(size))  # noqa: S302 - the file is ours alone
            yield batch
            row_count -= len(batch[0])

    def check_names(self) -> None:
        """
        Make sure that each column can be found by its name.

        :raises RoeResultError: Two columns of a statement have the same name, or one's name is no text.
        """
        for statement in self.statements:
            for column in statement.columns:
                try:
                    column.name.encode()
                except UnicodeEncodeError:
                    raise RoeResultError(
                        f"Statement {statement.number}, column {column.name!a}: half a surrogate pair is"
                        " no text. Give the column another name with AS."
                    ) from None
            name, count = Counter(column.name for column in statement.columns).most_common(1)[0]
            if count > 1:
                raise RoeResultError(
                    f"Statement {statement.number} returns {count} columns called {base.clip(name, 100)}:"
                    " tell them apart with AS."
                )


# Reading


def fetch(calls: Calls, query_id: str, body: BinaryIO, rows: BinaryIO) -> SpooledResult:
    """
    Download a query's result and read it; raises as :func:`read` does.

    :param calls: How to ask for it.
    :param query_id: The query.
    :param body: A file for the answer.
    :param rows: A file for the rows.
    """
    request, response = calls.download(query_id, body)
    return read(request, response, body, rows, **calls.connection.statuses)


def read(
    request: Request, response: Response, body: BinaryIO, rows: BinaryIO, **statuses: frozenset[str]
) -> SpooledResult:
    """
    Read the answer to :func:`~airflow_provider_roe.api.result_request`, however long it is.

    :param response: The answer; its body need hold no more than the start.
    :param body: The whole body, if the answer is a success. It is emptied once it is read.
    :param rows: Takes the rows.
    :param statuses: Those that the connection names, as :func:`~airflow_provider_roe.api.read_result` takes
        them. Raises as that does, too.
    """
    base.check_code(request, response)
    spooled: list[_Rows] = []
    rows.seek(0)
    rows.truncate()
    stream = JsonStream(body)
    try:
        with no_search_for_cycles():
            answer = json.loads(json.dumps(_read_answer(stream, spooled, rows), default=_number))
    except (ValueError, RecursionError) as e:
        base.refuse_text(request, response, e)
    finally:
        stream.close()
    body.truncate(0)
    result = queries.read_parsed_result(request, response, answer, **statuses)
    if len(spooled) != len(result.results):
        base.refuse_shape(request, response, "the result of this query")
    statements = []
    in_words = not any(held.has_null for held in spooled)
    for number, (statement, held) in enumerate(zip(result.results, spooled, strict=True), 1):
        queries.check_rows(request, response, number, statement, held.widths)
        if not statement.column_names:
            continue
        columns = tuple(
            Column(name, type_name, column_type(type_name, nulls_in_words=in_words))
            for name, type_name in zip(statement.column_names, statement.column_types, strict=True)
        )
        statements.append(Statement(number, columns, held.widths.total()))
    return SpooledResult(result, tuple(statements), rows)


@dataclass(slots=True)
class _Rows:
    """
    What is known of a statement's rows, which are in a file.

    :param widths: How many there are of which width.
    :param has_null: Whether a cell is JSON's null.
    :param others: What is in their list and is no row.
    """

    widths: Counter[int] = field(default_factory=Counter)
    has_null: bool = False
    others: list[Any] = field(default_factory=list)


def _number(text: bytes) -> float:
    """Return a number of JSON, which the stream gives as its text."""
    number: float = json.loads(text)
    return number


def _read_answer(stream: JsonStream, spooled: list[_Rows], file: BinaryIO) -> Any:
    """Return the answer without its rows, which go to a file."""
    if stream.peek() != "{":
        answer = stream.value()
    else:
        answer = {}
        for key in stream.members():
            if key == "results" and stream.peek() == "[":
                spooled.clear()  # of a key that comes twice, the latter counts
                file.seek(0)
                file.truncate()
                answer[key] = [_read_statement(stream, spooled, file) for _ in stream.elements()]
            else:
                answer[key] = stream.value()
    stream.end()
    return answer


def _read_statement(stream: JsonStream, spooled: list[_Rows], file: BinaryIO) -> Any:
    if stream.peek() != "{":
        return stream.value()
    statement: dict[str, Any] = {}
    for key in stream.members():
        if key == "result_rows" and stream.peek() == "[":
            spooled.append(_spool(stream, file))
            statement[key] = spooled[-1].others
        else:
            statement[key] = stream.value()
    return statement


def _spool(stream: JsonStream, file: BinaryIO) -> _Rows:
    held = _Rows()
    for rows in stream.pieces():
        if set(map(type, rows)) != {list}:
            held.others += [row for row in rows if not isinstance(row, list)][:1]
            continue
        try:
            columns: Batch = list(zip(*rows, strict=True))
        except ValueError:
            held.widths += Counter(map(len, rows))
            continue
        held.widths[len(columns)] += len(rows)
        held.has_null = held.has_null or any(None in column for column in columns)
        data = marshal.dumps(columns, 2)  # the oldest version that knows all of JSON is the fastest
        file.write(len(data).to_bytes(8) + data)
    return held
