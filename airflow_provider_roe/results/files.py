"""Rows in files: which formats there are, where a file may lie, and how it gets there."""

from __future__ import annotations

import json
import posixpath
import re
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from airflow.providers.common.compat.lineage.hook import get_hook_lineage_collector
from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_provider_roe import api
from airflow_provider_roe.exceptions import RoeInputError
from airflow_provider_roe.results.columns import dicts, record_batches, schema, values

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from airflow_provider_roe.results.spool import Batch, SpooledResult, Statement

#: Bytes in memory of a Parquet file's row group.
ROW_GROUP = 8 * 1024 * 1024
#: Bytes of a Parquet page. Arrow's own 1 MiB, for each column's values and its dictionary, takes 30 MB more.
PAGE = 64 * 1024


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

    Parquet has ClickHouse's types (see
    :meth:`~airflow_provider_roe.results.clickhouse.ColumnType.arrow`), JSON Lines has the values of
    :func:`~airflow_provider_roe.results.rows.rows`. CSV has a header and cells as Roe sends them; NULL is an
    empty field, and an empty string is ``""``, as is NULL in the only column.

    :return: For each file its ``path``, its ``row_count``, and its ``columns``: dicts of ``name`` and
        ``type``, which is ClickHouse's.
    :raises RoeInputError: Two columns have the same name.
    :raises RoeError: A cell is not what its column's type says.
    """
    result.check_names()
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
    for columns in values(statement, batches, "text"):
        file.write("".join(map(line, zip(*columns, strict=True))).encode())


_CSV_PLAIN = re.compile(r'[^",\r\n]+')


def _csv_field(text: str) -> str:
    # Not the csv module, which before Python 3.12 writes None and "" alike.
    return text if _CSV_PLAIN.fullmatch(text) else '"' + text.replace('"', '""') + '"'


def _write_jsonl(statement: Statement, batches: Iterator[Batch], file: BinaryIO) -> None:
    encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
    for batch in dicts(statement, batches):
        file.write("".join(f"{encode(row)}\n" for row in batch).encode())


def _write_parquet(statement: Statement, batches: Iterator[Batch], file: BinaryIO) -> None:
    import pyarrow
    from pyarrow.parquet import ParquetWriter

    columns = schema(statement)
    pending: list[Any] = []
    pages = {"data_page_size": PAGE, "dictionary_pagesize_limit": PAGE}
    with ParquetWriter(file, columns, **pages) as writer:
        for record_batch in record_batches(statement, batches, columns):
            pending.append(record_batch)
            if sum(batch.nbytes for batch in pending) > ROW_GROUP:
                writer.write_table(pyarrow.Table.from_batches(pending))
                pending.clear()
        if pending:
            writer.write_table(pyarrow.Table.from_batches(pending))


_WRITERS = {"csv": _write_csv, "jsonl": _write_jsonl, "parquet": _write_parquet}
_EXTENSIONS = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
