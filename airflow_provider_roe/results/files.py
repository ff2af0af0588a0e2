"""Rows in files: which formats there are, where a file may lie, and how it gets there."""

from __future__ import annotations

import posixpath
import re
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.lineage.hook import get_hook_lineage_collector

from airflow_provider_roe.api import base
from airflow_provider_roe.exceptions import RoeInputError
from airflow_provider_roe.results.columns import csv_field, csv_lines, json_lines, record_batches, schema
from airflow_provider_roe.results.places import find_target, place, temporary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import BinaryIO

    from airflow_provider_roe.results.spool import Batch, SpooledResult, Statement

#: Bytes in memory of a Parquet file's row group.
ROW_GROUP = 8 * 1024 * 1024
#: Bytes of a Parquet page. Arrow's own 1 MiB, for each column's values and its dictionary, takes 30 MB more.
PAGE = 64 * 1024


@dataclass(frozen=True, slots=True)
class Format:
    """
    A form that results have in a file.

    :param name: What people call it.
    :param extensions: What names of such files end in, with the dot and in small letters.
    :param write: Writes results, which come some at a time, to an open file.
    :param module: The module without which it cannot be written, or None.
    :param extra: This package's extra that installs the module, or None.
    """

    name: str
    extensions: tuple[str, ...]
    write: Callable[..., Any]
    module: str | None = None
    extra: str | None = None


@dataclass(frozen=True, slots=True)
class Output:
    """
    Where results are written, and in which form.

    :param url: The file for the only statement; among several, each has its number, from 1, put before the
        extension: ``report-1.csv``, ``report-2.csv``.
    :param format: The form that the extension says.
    """

    url: str
    format: Format

    def urls(self, count: int) -> list[str]:
        """Return the files for so many statements."""
        root, extension = posixpath.splitext(self.url)
        return [self.url] if count == 1 else [f"{root}-{number}{extension}" for number in range(1, count + 1)]


def check_output(output_path: str | None, formats: Sequence[Format] | None = None) -> Output:
    """
    Check the place for results, before anything is submitted.

    The storage is asked once whether a folder is there. Where the connection may write and not look, that is
    left open.

    :param output_path: URL of the file, as Airflow's ``ObjectStoragePath`` takes it:
        ``s3://connection@bucket/key.parquet``, ``file:///data/rows.csv``, or an absolute local path. Its
        extension says the format: ``.csv``, ``.jsonl`` or ``.ndjson`` (JSON Lines), or ``.parquet``.
    :param formats: Those that there are. Default: those of rows.
    :raises RoeInputError: The path cannot be used, or what the format needs is not installed.
    """
    formats = formats or FORMATS
    url = "" if output_path is None else str(output_path)
    if not url.strip():
        raise RoeInputError(
            "output_path rendered to nothing: it must be a URL or the absolute path of a file, for example"
            " s3://aws_default@bucket/report.csv."
        )
    # S3 and Azure take what follows a "?" for the version of an object; URLs lose tabs and line ends.
    if re.search(r"[?\x00-\x1f\x7f]", url):
        raise RoeInputError(
            "output_path must not contain ?, which some storages take for the end of a name, nor tabs, line"
            f" ends and the like: {base.clip(repr(url), 300)}."
        )
    extension = posixpath.splitext(url)[1].lower()
    chosen = next((known for known in formats if extension in known.extensions), None)
    if chosen is None:
        raise RoeInputError(
            f"output_path must end in {_extensions(formats)}, not {base.clip(repr(url), 300)}."
        )
    if chosen.module:
        try:
            import_module(chosen.module)
        except ImportError:
            others = [known for known in formats if not known.module]
            raise RoeInputError(
                f"{chosen.name} needs {chosen.module}: install airflow-provider-roe[{chosen.extra}], or let"
                f" output_path end in {_extensions(others)}."
            ) from None
    find_target(url)
    return Output(url, chosen)


def write(result: SpooledResult, output: Output) -> list[dict[str, Any]]:
    """
    Write the rows of each statement that returns columns to a file, over what is there.

    All files are whole before the first gets to its place. Local ones are written beside it, as
    ``.roe-<random>.tmp``, and moved; local directories are made. For any other storage they are written to
    the system's directory for temporary files (``TMPDIR``), and put into the storage in one go each.

    An error in writing leaves all files as they were. An error in placing the second of several leaves the
    first in its place. No temporary file stays behind.

    Parquet has ClickHouse's types (see
    :meth:`~airflow_provider_roe.results.clickhouse.ColumnType.arrow`), JSON Lines has the values of
    :func:`~airflow_provider_roe.results.rows.rows`. CSV has a header and cells as Roe sends them; NULL is an
    empty field, and an empty string is ``""``, as is NULL in the only column.

    :return: For each file its ``path``, its ``row_count``, and its ``columns``: dicts of ``name`` and
        ``type``, which is ClickHouse's.
    :raises RoeInputError: Two columns have the same name, or a file cannot be where it shall be.
    :raises RoeError: A cell is not what its column's type says.
    :raises OSError: The disk is full, or the storage refuses; each storage may have errors of its own, too.
    """
    result.check_names()
    lineage = get_hook_lineage_collector()  # type: ignore[no-untyped-call]
    targets = [find_target(url) for url in output.urls(len(result.statements))]
    with ExitStack() as temporaries:
        written = []
        for target, (statement, batches) in zip(targets, result.batches(), strict=True):
            path = temporaries.enter_context(temporary(target))
            with path.open("wb") as file:
                output.format.write(statement, batches, file)
            written.append(path)
        for target, path in zip(targets, written, strict=True):
            place(path, target)
            lineage.add_output_asset(context=target, uri=str(target))
    return [
        {
            "path": str(target),
            "row_count": statement.row_count,
            "columns": [{"name": column.name, "type": column.type_name} for column in statement.columns],
        }
        for target, statement in zip(targets, result.statements, strict=True)
    ]


def _extensions(formats: Sequence[Format]) -> str:
    *others, last = [extension for known in formats for extension in known.extensions]
    return f"{', '.join(others)} or {last}"


def _write_csv(statement: Statement, batches: Iterator[Batch], file: BinaryIO) -> None:
    null = '""' if len(statement.columns) == 1 else ""  # readers skip an empty line
    file.write((",".join(csv_field(column.name) for column in statement.columns) + "\n").encode())
    for lines in csv_lines(statement, batches, null):
        file.write(lines)


def _write_jsonl(statement: Statement, batches: Iterator[Batch], file: BinaryIO) -> None:
    for lines in json_lines(statement, batches):
        file.write(lines)


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


#: The formats that there are.
FORMATS = (
    Format("CSV", (".csv",), _write_csv),
    Format("JSON Lines", (".jsonl", ".ndjson"), _write_jsonl),
    Format("Parquet", (".parquet",), _write_parquet, module="pyarrow.parquet", extra="parquet"),
)
