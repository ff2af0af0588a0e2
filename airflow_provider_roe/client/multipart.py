"""A form with files as the body of a request, streamed: no file is held in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from urllib3.fields import RequestField
from urllib3.filepost import choose_boundary

from airflow_provider_roe.exceptions import RoeInputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from airflow_provider_roe.api.base import File

FILE_TYPE = "application/octet-stream"


class Multipart:
    """
    The body of a request with a form, as requests sends it: of known length, read from its files meanwhile.

    Each iteration reads the files anew, so that a request may be sent again.

    :param form: Texts and files by their names.
    """

    def __init__(self, form: Mapping[str, str | File]) -> None:
        self._boundary = choose_boundary()
        self._parts = [(self._head(name, value), value) for name, value in form.items()]
        self._end = f"--{self._boundary}--\r\n".encode()

    @property
    def content_type(self) -> str:
        """The header that says how to read it."""
        return f"multipart/form-data; boundary={self._boundary}"

    def _head(self, name: str, value: str | File) -> bytes:
        if isinstance(value, str):
            field = RequestField(name, "")
            field.make_multipart()
        else:
            field = RequestField(name, "", filename=value.name)
            field.make_multipart(content_type=FILE_TYPE)
        return f"--{self._boundary}\r\n{field.render_headers()}".encode()

    def __len__(self) -> int:
        sizes = (
            len(head) + (len(value.encode()) if isinstance(value, str) else value.size) + len(b"\r\n")
            for head, value in self._parts
        )
        return sum(sizes) + len(self._end)

    def __iter__(self) -> Iterator[bytes]:
        for head, value in self._parts:
            yield head
            if isinstance(value, str):
                yield value.encode()
            else:
                yield from _blocks(value)
            yield b"\r\n"
        yield self._end


def _blocks(file: File) -> Iterator[bytes]:
    """Yield a file; what is more or less than its size would make another form of the rest."""
    left = file.size
    for block in file.blocks():
        left -= len(block)
        if left < 0:
            break
        yield block
    if left:
        raise RoeInputError(
            f"The file {file.name} no longer has the {file.size:,} bytes that it had: let nothing write to it"
            " while it is sent."
        )
