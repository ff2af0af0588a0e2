"""
The rows of a query: read from a spooled answer as a stream, and written to files or given as plain values.

An answer of any size is read in bounded memory, and twice: once to see that it is whole and what its columns
are, once for its rows. So the order of its fields does not matter, and of a broken one nothing is written.
"""

from __future__ import annotations

import json
import math
import posixpath
import re
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

import ijson
from airflow.providers.common.compat.lineage.hook import get_hook_lineage_collector
from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_provider_roe import api
from airflow_provider_roe.clickhouse import ColumnType, column_type
from airflow_provider_roe.exceptions import RoeError, RoeInputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

    import pyarrow

    from airflow_provider_roe.api import QueryResult, Request, Response

    Batch = list[list[str | None]]

#: Bytes of the answer whose rows are converted at a time.
BATCH = 256 * 1024
#: Bytes in memory of a Parquet file's row group.
ROW_GROUP = 8 * 1024 * 1024
#: Bytes of a Parquet page. Arrow's own 1 MiB, for each column's values and its dictionary, takes 30 MB more.
PAGE = 64 * 1024

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


def read(request: Request, response: Response, file: BinaryIO) -> SpooledResult:
    """
    Read the answer to :func:`~airflow_provider_roe.api.result_request`, however long it is.

    :param response: The answer; its body need hold no more than the start.
    :param file: The whole body, if the answer is a success.
    :raises RoeRequestError: Roe refused the request.
    :raises RoeUnavailableError: Roe is busy or broken, or the answer is not what Roe documents.
    :raises RoeError: The answer holds fewer rows than it says that there are.
    """
    held: list[Counter[int]] = []
    if 200 <= response.status_code < 300:
        try:
            skeleton, held = _scan(file)
            response = replace(response, body=json.dumps(skeleton).encode(), overlong=False)
        except (ijson.JSONError, UnicodeDecodeError, RecursionError):
            api._refuse_shape(request, response, "JSON")
    result = api.read_result(request, response)
    if len(held) != len(result.results):
        api._refuse_shape(request, response, "the result of this query")
    statements = []
    for number, (statement, widths) in enumerate(zip(result.results, held, strict=True), 1):
        if statement.rows or widths.keys() - {len(statement.column_names)} or 0 in widths:
            api._refuse_shape(request, response, "the result of this query")
        if not statement.column_names:
            continue
        if widths.total() < statement.row_count:
            raise RoeError(
                f"Roe's answer holds {widths.total():,} of the {statement.row_count:,} rows of statement"
                f" {number} of query {result.query_id}."
            )
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


# Rows as values


def rows(
    result: SpooledResult, max_rows: float = math.inf, *, form: Literal["plain", "value"] = "plain"
) -> list[list[dict[str, Any]]]:
    """
    Return the rows of each statement that returns columns, as dicts from column to value.

    :param max_rows: How many rows there may be, over all statements.
    :param form: ``plain`` for values that JSON, and so XCom, carries without loss, as
        :meth:`~airflow_provider_roe.clickhouse.ColumnType.plain` says; ``value`` for those of
        :meth:`~airflow_provider_roe.clickhouse.ColumnType.value`: Decimal, datetime, ….
    :raises RoeInputError: There are more rows, or two columns of the same name.
    :raises RoeError: A cell is not what its column's type says.
    """
    _check_names(result)
    if (count := sum(statement.row_count for statement in result.statements)) > max_rows:
        raise RoeInputError(
            f"The query returns {count:,} rows, more than max_rows={max_rows:,}: let the SQL return fewer,"
            " raise max_rows, or set output_path to have them written to a file of any size."
        )
    return [
        [row for batch in _dicts(statement, batches, form) for row in batch]
        for statement, batches in result.batches()
    ]


def the_one(found: list[list[dict[str, Any]]]) -> list[Any]:
    """Return the rows of the only statement, or of several a list for each."""
    return found[0] if len(found) == 1 else found


def frame_maker(df_type: str) -> Callable[[pyarrow.Table], Any]:
    """
    Return what makes a data frame of an Arrow table.

    :param df_type: ``pandas`` or ``polars``.
    :raises RoeInputError: It is neither, or not installed.
    """
    try:
        import pyarrow  # noqa: F401

        match df_type:
            case "pandas":
                import pandas  # noqa: F401

                return lambda table: table.to_pandas()
            case "polars":
                import polars

                return lambda table: polars.from_arrow(table)
    except ImportError as e:
        raise RoeInputError(f"{e.name} is missing: install airflow-provider-roe[{df_type}].") from None
    raise RoeInputError(f"df_type must be 'pandas' or 'polars', not {api.clip(repr(df_type), 100)}.")


def tables(result: SpooledResult) -> list[pyarrow.Table]:
    """
    Return the rows of each statement that returns columns, as an Arrow table. Needs pyarrow.

    :raises RoeInputError: Two columns have the same name.
    :raises RoeError: A cell is not what its column's type says.
    """
    import pyarrow

    _check_names(result)
    found = []
    for statement, batches in result.batches():
        schema = _schema(statement)
        found.append(pyarrow.Table.from_batches(_record_batches(statement, batches, schema), schema))
    return found


def _dicts(
    statement: Statement, batches: Iterator[Batch], form: Literal["plain", "value"] = "plain"
) -> Iterator[list[dict[str, Any]]]:
    names = [column.name for column in statement.columns]
    for columns in _values(statement, batches, form):
        yield [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _values(
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
    values = []
    for number, cell in enumerate(cells, start):
        try:
            values.append(read_cell(cell))
        except ValueError:
            type_name, text = api.clip(column.type_name, 100), api.clip(repr(cell), 100)
            raise RoeError(
                f"Statement {statement.number}, row {number}, column {api.clip(column.name, 100)}: this"
                f" cannot be read as {type_name} without a guess: {text}. To take it as it is, let the SQL"
                " return toString() of the column."
            ) from None
    return values


def _check_names(result: SpooledResult) -> None:
    for statement in result.statements:
        name, count = Counter(column.name for column in statement.columns).most_common(1)[0]
        if count > 1:
            raise RoeInputError(
                f"Statement {statement.number} returns {count} columns called {api.clip(name, 100)}: tell"
                " them apart with AS."
            )


# Rows in files


@dataclass(frozen=True, slots=True)
class Output:
    """
    Where rows are written.

    :param url: The file for the only statement; among several, each has its number, from 1, put before the
        extension: ``report-1.csv``, ``report-2.csv``.
    :param format: ``csv``, ``jsonl`` or ``parquet``.
    """

    url: str
    format: str

    def urls(self, count: int) -> list[str]:
        """Return the files for so many statements."""
        root, extension = posixpath.splitext(self.url)
        return [self.url] if count == 1 else [f"{root}-{number}{extension}" for number in range(1, count + 1)]


def check_output(output_path: str, output_format: str | None = None) -> Output:
    """
    Check where rows shall be written, before a query is submitted.

    :param output_path: URL of the file, as Airflow's ``ObjectStoragePath`` takes it:
        ``s3://connection@bucket/key.parquet``, ``file:///data/rows.csv``, or an absolute local path.
    :param output_format: ``csv``, ``jsonl`` (JSON Lines) or ``parquet``. Default: what the extension
        says: ``.csv``, ``.jsonl``, ``.ndjson`` or ``.parquet``.
    :raises RoeInputError: The path or the format cannot be used, or what they need is not installed.
    """
    url = str(output_path)
    if re.search(r"[*?[]", url):
        raise RoeInputError(
            "output_path must not contain *, ? or [, which file systems take for patterns:"
            f" {api.clip(url, 100)}."
        )
    if output_format is None:
        output_format = _EXTENSIONS.get(posixpath.splitext(url)[1].lower())
    if output_format not in _WRITERS:
        raise RoeInputError(
            f"output_path must end in {', '.join(_EXTENSIONS)}, or output_format be one of"
            f" {', '.join(_WRITERS)}, not {api.clip(repr(output_format or url), 100)}."
        )
    if output_format == "parquet":
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError:
            raise RoeInputError(
                "Parquet needs pyarrow: install airflow-provider-roe[parquet], or choose csv or jsonl."
            ) from None
    try:
        path = ObjectStoragePath(url)
        path.fs  # noqa: B018 - looks up the file system and its connection
    except Exception as e:  # each file system has its own
        raise RoeInputError(
            f"output_path {api.clip(repr(url), 100)} cannot be used ({api.clip(str(e), 200)}): check that the"
            " provider for its scheme is installed, and the connection that it names."
        ) from None
    if url.endswith("/") or (
        _is_local(path) and (not re.match(r"(\w+://)?/", url) or Path(path.path).is_dir())
    ):
        raise RoeInputError(
            f"output_path must be a URL or the absolute path of a file, not {api.clip(repr(url), 100)}."
        )
    return Output(url, output_format)


def write(result: SpooledResult, output: Output) -> list[dict[str, Any]]:
    """
    Write the rows of each statement that returns columns to a file, over what is there.

    Each is written as ``.<name>.<random>.tmp`` beside its place, and all are moved there at the end. An
    error leaves none of those behind. Local directories are made.

    Parquet has ClickHouse's types (see :meth:`~airflow_provider_roe.clickhouse.ColumnType.arrow`), JSON Lines
    has the values of :func:`rows`. CSV has a header and cells as Roe sends them; NULL is an empty field, and
    an empty string is ``""``, as is NULL in the only column.

    :return: For each file its ``path``, its ``row_count``, and its ``columns``: dicts of ``name`` and
        ``type``, which is ClickHouse's.
    :raises RoeInputError: Two columns have the same name.
    :raises RoeError: A cell is not what its column's type says.
    """
    _check_names(result)
    lineage = get_hook_lineage_collector()  # type: ignore[no-untyped-call]
    targets = [ObjectStoragePath(url) for url in output.urls(len(result.statements))]
    temporaries = []
    with ExitStack() as on_error:
        for target, (statement, batches) in zip(targets, result.batches(), strict=True):
            directory, name = posixpath.split(target.path)
            temporaries.append(temporary := f"{directory}/.{name}.{uuid4().hex}.tmp")
            if _is_local(target):
                target.fs.makedirs(directory, exist_ok=True)
            on_error.callback(_remove, target, temporary)
            with target.fs.open(temporary, "wb") as file:
                _WRITERS[output.format](statement, batches, file)
        for target, temporary in zip(targets, temporaries, strict=True):
            target.fs.mv(temporary, target.path)
            lineage.add_output_asset(context=target, uri=str(target))
        on_error.pop_all()
    return [
        {
            "path": str(target),
            "row_count": statement.row_count,
            "columns": [{"name": column.name, "type": column.type_name} for column in statement.columns],
        }
        for target, statement in zip(targets, result.statements, strict=True)
    ]


def _is_local(path: ObjectStoragePath) -> bool:
    return path.protocol in ("", "file", "local")


def _remove(target: ObjectStoragePath, temporary: str) -> None:
    with suppress(Exception):  # the error that led here says more
        target.fs.rm(temporary)


def _write_csv(statement: Statement, batches: Iterator[Batch], file: BinaryIO) -> None:
    null = '""' if len(statement.columns) == 1 else ""  # readers skip an empty line

    def line(fields: tuple[str | None, ...]) -> str:
        return ",".join(null if field is None else _csv_field(field) for field in fields) + "\n"

    file.write(line(tuple(column.name for column in statement.columns)).encode())
    for columns in _values(statement, batches, "text"):
        file.write("".join(map(line, zip(*columns, strict=True))).encode())


_CSV_PLAIN = re.compile(r'[^",\r\n]+')


def _csv_field(text: str) -> str:
    # Not the csv module, which before Python 3.12 writes None and "" alike.
    return text if _CSV_PLAIN.fullmatch(text) else '"' + text.replace('"', '""') + '"'


def _write_jsonl(statement: Statement, batches: Iterator[Batch], file: BinaryIO) -> None:
    encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
    for batch in _dicts(statement, batches):
        file.write("".join(f"{encode(row)}\n" for row in batch).encode())


def _write_parquet(statement: Statement, batches: Iterator[Batch], file: BinaryIO) -> None:
    import pyarrow
    from pyarrow.parquet import ParquetWriter

    schema = _schema(statement)
    pending: list[Any] = []
    pages = {"data_page_size": PAGE, "dictionary_pagesize_limit": PAGE}
    with ParquetWriter(file, schema, **pages) as writer:
        for record_batch in _record_batches(statement, batches, schema):
            pending.append(record_batch)
            if sum(batch.nbytes for batch in pending) > ROW_GROUP:
                writer.write_table(pyarrow.Table.from_batches(pending))
                pending.clear()
        if pending:
            writer.write_table(pyarrow.Table.from_batches(pending))


def _schema(statement: Statement) -> pyarrow.Schema:
    import pyarrow

    return pyarrow.schema([(column.name, column.type.arrow()) for column in statement.columns])


def _record_batches(
    statement: Statement, batches: Iterator[Batch], schema: pyarrow.Schema
) -> Iterator[pyarrow.RecordBatch]:
    import pyarrow

    for columns in _values(statement, batches, "stored"):
        yield pyarrow.record_batch(list(map(pyarrow.array, columns, schema.types)), schema=schema)


_WRITERS = {"csv": _write_csv, "jsonl": _write_jsonl, "parquet": _write_parquet}
_EXTENSIONS = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
