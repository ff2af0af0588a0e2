"""Bodies of requests, and the forms in them, with files of any size."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from email import message_from_string
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from email.message import Message

    from aiohttp import StreamReader, web

#: Bytes of a multipart body that are kept
KEPT_BYTES: Final = 4096

_HEAD_BYTES = 1024  # Django takes no longer head of a part


@dataclass(frozen=True)
class InputFile:
    """
    A file that was uploaded, of which the contents are not kept.

    :param file_name: its name.
    :param data_type: its media type.
    :param size: its length in bytes.
    :param sha256: SHA-256 of its contents in hexadecimal.
    """

    file_name: str
    data_type: str
    size: int
    sha256: str


#: Fields of a form by their names
Form = dict[str, str | InputFile]


async def read_body(request: web.BaseRequest) -> tuple[bytes, Form | None]:
    """
    Read the body of a request to its end.

    :return: the body, of a multipart one the beginning; and the fields of a form, None if it is none or a
        broken one. Of fields with the same name the last one counts, as in Django.
    """
    kind, _, _ = request.headers.get("Content-Type", "").partition(";")
    match kind.strip().lower():
        case "multipart/form-data":
            return await _read_multipart(request)
        case "application/x-www-form-urlencoded":
            body = await request.content.read()
            return body, dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True))
        case _:
            return await request.content.read(), None


async def _read_multipart(request: web.BaseRequest) -> tuple[bytes, Form | None]:
    body = _Body(request.content)
    form: Form | None
    try:
        form = {name: value async for name, value in _parts(body, _boundary(request))}
    except ValueError:
        form = None
    await body.drain()
    return bytes(body.kept), form


def _boundary(request: web.BaseRequest) -> bytes:
    boundary = message_from_string(f"Content-Type: {request.headers['Content-Type']}").get_boundary()
    if not boundary:
        raise ValueError("no boundary")
    return b"\r\n--" + boundary.encode()


class _Body:
    """A body that is read piece by piece; its beginning is kept."""

    def __init__(self, content: StreamReader) -> None:
        self.kept = bytearray()
        self._content = content
        self._ahead = b"\r\n"  # so that the first boundary is like the others

    async def until(self, mark: bytes) -> AsyncIterator[bytes]:
        """
        Read up to a mark, and skip the mark.

        :raises ValueError: the body ends before it.
        """
        while (end := self._ahead.find(mark)) < 0:
            # The mark may have begun in the last bytes.
            sure = len(self._ahead) - len(mark) + 1
            if sure > 0:
                yield self._ahead[:sure]
                self._ahead = self._ahead[sure:]
            self._ahead += await self._more()
        yield self._ahead[:end]
        self._ahead = self._ahead[end + len(mark) :]

    async def take(self, count: int) -> bytes:
        """
        Read so many bytes.

        :raises ValueError: there are fewer.
        """
        while len(self._ahead) < count:
            self._ahead += await self._more()
        taken, self._ahead = self._ahead[:count], self._ahead[count:]
        return taken

    async def drain(self) -> None:
        """Read the rest."""
        while await self._next():
            pass

    async def _more(self) -> bytes:
        piece = await self._next()
        if not piece:
            raise ValueError("the body ends too early")
        return piece

    async def _next(self) -> bytes:
        piece = await self._content.readany()
        self.kept += piece[: KEPT_BYTES - len(self.kept)]
        return piece


async def _parts(body: _Body, boundary: bytes) -> AsyncIterator[tuple[str, str | InputFile]]:
    async for _ in body.until(boundary):
        pass
    while await body.take(2) != b"--":
        head = b""
        async for piece in body.until(b"\r\n\r\n"):
            head += piece
            if len(head) > _HEAD_BYTES:
                raise ValueError("the head of a part is too long")
        about = message_from_string(head.decode(errors="replace"))
        content = body.until(boundary)
        name = about.get_param("name", header="Content-Disposition")
        if not isinstance(name, str):
            raise ValueError("a part has no name")
        if about.get_filename() is None:
            yield name, b"".join([piece async for piece in content]).decode(errors="replace")
        else:
            yield name, await _file(about, content)


async def _file(about: Message, content: AsyncIterator[bytes]) -> InputFile:
    size, digest = 0, hashlib.sha256()
    async for piece in content:
        size += len(piece)
        digest.update(piece)
    data_type = about.get_content_type() if "Content-Type" in about else "application/octet-stream"
    return InputFile(about.get_filename(""), data_type, size, digest.hexdigest())
