"""Rows in files: which formats there are, where a file may lie, and how it gets there."""

from __future__ import annotations

import os
import posixpath
import re
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from airflow.providers.common.compat.lineage.hook import get_hook_lineage_collector
from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_provider_roe.api import base
from airflow_provider_roe.exceptions import RoeInputError
from airflow_provider_roe.results.columns import csv_field, csv_lines, json_lines, record_batches, schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import BinaryIO

    from airflow_provider_roe.results.spool import Batch, SpooledResult, Statement

#: Bytes in memory of a Parquet file's row group.
ROW_GROUP = 8 * 1024 * 1024
#: Bytes of a Parquet page. Arrow's own 1 MiB, for each column's values and its dictionary, takes 30 MB more.
PAGE = 64 * 1024
#: Bytes of a part of an upload to S3: the least that it takes. s3fs has ten in memory at a time, and twice:
#: 1 GB if they were its own 50 MiB.
S3_PART = 5 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Format:
    """
    A form that rows have in a file.

    :param name: What people call it.
    :param extensions: What names of such files end in, with the dot and in small letters.
    :param write: Writes a statement's rows, which come some at a time, to an open file.
    :param module: The module without which it cannot be written, or None.
    :param extra: This package's extra that installs the module, or None.
    """

    name: str
    extensions: tuple[str, ...]
    write: Callable[[Statement, Iterator[Batch], BinaryIO], None]
    module: str | None = None
    extra: str | None = None


@dataclass(frozen=True, slots=True)
class Output:
    """
    Where rows are written, and in which form.

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


def check_output(output_path: str | None) -> Output:
    """
    Check the place for rows, before a query is submitted.

    The storage is asked once whether a folder is there. Where the connection may write and not look, that is
    left open.

    :param output_path: URL of the file, as Airflow's ``ObjectStoragePath`` takes it:
        ``s3://connection@bucket/key.parquet``, ``file:///data/rows.csv``, or an absolute local path. Its
        extension says the format: ``.csv``, ``.jsonl`` or ``.ndjson`` (JSON Lines), or ``.parquet``.
    :raises RoeInputError: The path cannot be used, or what the format needs is not installed.
    """
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
    chosen = next((known for known in FORMATS if extension in known.extensions), None)
    if chosen is None:
        raise RoeInputError(
            f"output_path must end in {_extensions(FORMATS)}, not {base.clip(repr(url), 300)}."
        )
    if chosen.module:
        try:
            import_module(chosen.module)
        except ImportError:
            others = [known for known in FORMATS if not known.module]
            raise RoeInputError(
                f"{chosen.name} needs {chosen.module}: install airflow-provider-roe[{chosen.extra}], or let"
                f" output_path end in {_extensions(others)}."
            ) from None
    _target(url)
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
    targets = [_target(url) for url in output.urls(len(result.statements))]
    with ExitStack() as temporaries:
        written = []
        for target, (statement, batches) in zip(targets, result.batches(), strict=True):
            path = temporaries.enter_context(_temporary(target))
            with path.open("wb") as file:
                output.format.write(statement, batches, file)
            written.append(path)
        for target, path in zip(targets, written, strict=True):
            _place(path, target)
            lineage.add_output_asset(context=target, uri=str(target))
    return [
        {
            "path": str(target),
            "row_count": statement.row_count,
            "columns": [{"name": column.name, "type": column.type_name} for column in statement.columns],
        }
        for target, statement in zip(targets, result.statements, strict=True)
    ]


def _target(url: str) -> ObjectStoragePath:
    """
    Return where a file shall be, if it can be there.

    :raises RoeInputError: It cannot.
    """
    shown = base.clip(repr(url), 300)
    try:
        target = ObjectStoragePath(url)
        kind = _kind(target)
    except Exception as e:  # each file system has its own
        raise RoeInputError(
            f"output_path {shown} cannot be used ({base.clip(str(e), 200)}): check the path, that the"
            " provider for its scheme is installed, and the connection that it names."
        ) from None
    if _is_local(target):
        _check_local(target, url, shown)
    if kind == "directory" or not target.name:
        raise RoeInputError(f"output_path {shown} is a folder, or a bucket: add the name of a file.")
    return target


def _kind(target: ObjectStoragePath) -> str | None:
    """Return ``file``, ``directory`` or the like; None if nothing is there, or nothing may be looked at."""
    target.fs.invalidate_cache()  # listings may be older than what lies there
    try:
        return str(target.fs.info(target.path)["type"])
    except FileNotFoundError as e:
        if "NoSuchBucket" in repr(e.__cause__):  # as s3fs tells it
            raise
    except PermissionError:
        if _is_local(target):
            raise
        # whoever may write to an object store need not be allowed to look
    return None


def _check_local(target: ObjectStoragePath, url: str, shown: str) -> None:
    if not re.match(r"(\w+://)?/", url):
        raise RoeInputError(
            f"output_path must be a URL or the absolute path of a file, not {shown}: what ~ and relative"
            " paths mean depends on the worker."
        )
    folder = next(folder for folder in Path(target.path).parents if folder.exists())
    if not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
        raise RoeInputError(f"output_path {shown} cannot be written: nothing may be added to {folder}.")


@contextmanager
def _temporary(target: ObjectStoragePath) -> Iterator[Path]:
    """Yield the path of a file from which the target can be made at once; remove what is there in the end."""
    if _is_local(target):
        directory = Path(target.path).parent
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / f".roe-{uuid4().hex}.tmp"
        try:
            yield path
        finally:
            with suppress(OSError):  # the error that led here says more
                path.unlink(missing_ok=True)
    else:
        with TemporaryDirectory(prefix="roe-") as folder:  # which no other user can read
            yield Path(folder, f"rows{target.suffix}")  # some storages tell a file's type from its extension


def _place(path: Path, target: ObjectStoragePath) -> None:
    if _is_local(target):
        path.replace(target.path)  # unlike a move, never into a directory of that name
    elif target.protocol in ("s3", "s3a", "s3n"):
        part = max(S3_PART, path.stat().st_size // 9_999)  # S3 takes 10,000
        target.fs.put_file(str(path), target.path, chunksize=part)
    else:
        target.fs.put_file(str(path), target.path)


def _is_local(path: ObjectStoragePath) -> bool:
    return path.protocol in ("", "file", "local")


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
