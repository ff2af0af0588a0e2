"""Where a file may lie, and how it gets there whole."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from uuid import uuid4

from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_provider_roe.api import base
from airflow_provider_roe.exceptions import RoeInputError

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Bytes of a part of an upload to S3: the least that it takes. s3fs has ten in memory at a time, and twice:
#: 1 GB if they were its own 50 MiB.
S3_PART = 5 * 1024 * 1024


def find_target(url: str) -> ObjectStoragePath:
    """
    Return the place where a file shall be, if it can be there.

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
def temporary(target: ObjectStoragePath) -> Iterator[Path]:
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


def place(path: Path, target: ObjectStoragePath) -> None:
    """Put a file where it shall be."""
    if _is_local(target):
        path.replace(target.path)  # unlike a move, never into a directory of that name
    elif target.protocol in ("s3", "s3a", "s3n"):
        part = max(S3_PART, path.stat().st_size // 9_999)  # S3 takes 10,000
        target.fs.put_file(str(path), target.path, chunksize=part)
    else:
        target.fs.put_file(str(path), target.path)


def _is_local(path: ObjectStoragePath) -> bool:
    return path.protocol in ("", "file", "local")
