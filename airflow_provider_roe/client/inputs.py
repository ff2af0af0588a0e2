"""What an agent is run with: texts, and files that are streamed from where they lie."""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from airflow_provider_roe.api.base import clip
from airflow_provider_roe.exceptions import RoeInputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow.providers.common.compat.sdk import ObjectStoragePath

#: Files that are looked for, or sent, at once
AT_ONCE = 8
#: Bytes of a file that are in memory at a time; some storages read ahead by as much as they are told.
BLOCK = 1024 * 1024
#: What storages tell of a file that differs once it has other content
_VERSIONS = (
    "size",
    "ETag",
    "etag",
    "md5Hash",
    "generation",
    "mtime",
    "LastModified",
    "last_modified",
    "updated",
)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """
    A file in a storage of Airflow's, which is read anew each time that it is sent.

    :param path: Where it lies.
    :param size: Its bytes.
    :param version: What differs once it has other content, as far as its storage tells.
    """

    path: ObjectStoragePath
    size: int
    version: str

    @property
    def name(self) -> str:
        """Its name, without folders."""
        return self.path.name

    def blocks(self) -> Iterator[bytes]:
        """
        Yield all of it, block by block.

        :raises RoeInputError: It cannot be read.
        """
        try:
            with self.path.fs.open(self.path.path, "rb", block_size=BLOCK) as file:
                while block := file.read(BLOCK):
                    yield block
        except Exception as e:  # each storage has its own
            raise _unreadable(str(self.path), e) from None


@dataclass(frozen=True, slots=True)
class Inputs:
    """
    The inputs of one job, by their keys.

    :param values: Texts.
    :param files: Those that are files.
    """

    values: Mapping[str, str]
    files: Mapping[str, StoredFile]

    @property
    def digest(self) -> str:
        """A digest of all that makes these inputs other ones than the next."""
        files = {key: [str(file.path), file.version] for key, file in self.files.items()}
        return sha256(json.dumps([self.values, files], sort_keys=True).encode()).hexdigest()

    @property
    def weight(self) -> int:
        """Bytes that the values take in a request, about."""
        return len(json.dumps(self.values))


def read_inputs(given: object, files: Sequence[str], name: str = "inputs") -> Inputs:
    """
    Return the checked inputs of a job, whose files are all there.

    :param given: What the user gave: a dict from key to value. A value that is an ``ObjectStoragePath`` is a
        file; one that is no text is sent as JSON.
    :param files: Keys of further values that are URLs of files.
    :param name: What it is called in errors.
    :raises RoeInputError: It cannot be used, and which of it.
    """
    if isinstance(files, str) or not isinstance(files, Sequence):
        raise RoeInputError(f"files must be a list of keys of inputs, not {clip(repr(files), 100)}.")
    if not isinstance(given, Mapping) or not given:
        raise RoeInputError(f"{name} must be a dict from input key to value, not {clip(repr(given), 100)}.")
    values: dict[str, str] = {}
    found: dict[str, StoredFile] = {}
    for key, value in given.items():
        where = f"{name}[{clip(repr(key), 100)}]"
        if not isinstance(key, str) or not key.strip():
            raise RoeInputError(f"{where}: the key of an input must be a text.")
        if key == "metadata":
            raise RoeInputError(
                f"{where}: Roe keeps this word for metadata, which is an argument of its own."
            )
        if key in files or _is_path(value):
            found[key] = find_file(value, where)
        else:
            values[key] = _text(value, where)
    missing = [key for key in files if key not in given]
    if missing:
        raise RoeInputError(f"files names {missing[0]!r}, which {name} lacks.")
    return Inputs(values, found)


def file_urls(given: Any, files: Sequence[str]) -> list[str]:
    """Return the URLs of the files among the inputs of a job, whether they are there or not."""
    if not isinstance(given, Mapping):
        return []
    return [str(v) for key, v in given.items() if key in files or _is_path(v)]


def read_all_inputs(given: object, files: Sequence[str]) -> list[Inputs]:
    """
    Return the checked inputs of many jobs, as :func:`read_inputs` does.

    :param given: A list of dicts.
    """
    if not isinstance(given, Sequence) or isinstance(given, str | bytes) or not given:
        raise RoeInputError(
            f"inputs must be a dict, or a list of dicts with at least one, not {clip(repr(given), 100)}."
        )
    names = [f"inputs[{index}]" for index in range(len(given))]
    with ThreadPoolExecutor(AT_ONCE) as threads:
        return list(threads.map(read_inputs, given, [files] * len(given), names))


def find_file(url: object, where: str = "url") -> StoredFile:
    """
    Return a file that is there.

    :param url: Its URL, as ``ObjectStoragePath`` takes it, an absolute local path, or such an object.
    :param where: What it is called in errors.
    :raises RoeInputError: It is not there, or cannot be read.
    """
    # Imported here, for it brings more along than every parse of a DAG should pay for.
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    text = str(url) if isinstance(url, str) or _is_path(url) else ""
    if not re.match(r"(\w+:/)?/", text):
        raise RoeInputError(
            f"{where} must be a URL or the absolute path of a file, not {clip(repr(url), 300)}: what ~ and"
            " relative paths mean depends on the worker."
        )
    try:
        text.encode()  # a name that is not UTF-8 cannot be sent
        path = ObjectStoragePath(text)
        info = path.fs.info(path.path)
    except FileNotFoundError:
        raise RoeInputError(f"{where}: there is no file {clip(repr(text), 300)}.") from None
    except Exception as e:
        error = _unreadable(text, e)
        raise RoeInputError(f"{where}: {error}") from None
    if info.get("type") == "directory":
        raise RoeInputError(f"{where}: {clip(repr(text), 300)} is a folder: name a file in it.")
    if not isinstance(info.get("size"), int):
        raise RoeInputError(
            f"{where}: its storage does not tell the size of {clip(repr(text), 300)}: copy it to another."
        )
    version = json.dumps({name: str(info[name]) for name in _VERSIONS if name in info})
    return StoredFile(path, info["size"], version)


def _is_path(value: object) -> bool:
    """Tell whether a value is an ObjectStoragePath, whose class is there if one is."""
    return any(kind.__name__ == "ObjectStoragePath" for kind in type(value).__mro__)


def _text(value: Any, where: str) -> str:
    """Return a value as the text that Roe takes: itself, or JSON."""
    if value is None:
        raise RoeInputError(
            f"{where} is None: leave the key out, or mend the template that made nothing of it."
        )
    try:
        text = value if isinstance(value, str) else json.dumps(value, allow_nan=False)
        text.encode()  # half of a surrogate pair is no character
    except (TypeError, ValueError, RecursionError) as e:
        shown = clip(reprlib.repr(value), 100)
        raise RoeInputError(
            f"{where} must be a text, a number, or what else JSON can say, not {shown} ({e}): for a file,"
            " give its URL and name the key in files."
        ) from None
    return text


def _unreadable(url: str, error: Exception) -> RoeInputError:
    return RoeInputError(
        f"The file {clip(repr(url), 300)} cannot be read ({type(error).__name__}: {clip(str(error), 200)}):"
        " check its URL, that the provider for its scheme is installed, and the connection that it names."
    )
