"""
Heads of answers, read alike by both transports.

aiohttp has a parser of its own, which takes less than http.client here and more there, and cannot be told
otherwise. So :func:`read_head` reads what requests gets as that parser would, and :func:`check_head` refuses
in both what is ambiguous. One difference is left: only aiohttp takes a lone CR after an empty value.
"""

from __future__ import annotations

import re
from http.client import HTTPMessage, RemoteDisconnected
from typing import IO, TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Fields of a head, and bytes of one of its lines, that are borne.
MAX_FIELDS = 1000
MAX_LINE = 64 * 1024

_STATUS_LINE = re.compile(rb"HTTP/(\d)\.(\d) (\d{3})(?: (.*))?", re.DOTALL)
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~\w-]+):(.*)", re.DOTALL)
#: What tells http.client where the body ends, and whether the connection can be used again.
_FRAMING = ("connection", "content-length", "keep-alive", "proxy-connection", "transfer-encoding")


class Head(NamedTuple):
    """
    The status line and the fields of an answer.

    :param version: Such as (1, 1).
    :param fields: Name and value of each, in order.
    """

    version: tuple[int, int]
    status: int
    reason: bytes
    fields: Sequence[tuple[bytes, bytes]]

    def message(self) -> HTTPMessage:
        """Return the fields as http.client has them."""
        message = HTTPMessage()
        for name, value in self.fields:
            message[name.decode()] = value.decode("utf-8", "replace")
        return message

    def framing(self) -> bytes:
        """Return a head that holds no more than http.client has to know, for it bears a hundred lines."""
        lines = [b"HTTP/%d.%d %d %b" % (*self.version, self.status, self.reason)]
        for name in _FRAMING:
            values = self.values(name)
            if values:
                lines.append(b"%b: %b" % (name.encode(), b", ".join(values)))
        return b"\r\n".join([*lines, b"", b""])

    def values(self, name: str) -> list[bytes]:
        """Return the values of a field that may be repeated; its name is in lower case."""
        wanted = name.encode()
        return [value for field, value in self.fields if field.lower() == wanted]


def read_head(file: IO[bytes]) -> Head:
    """
    Read the head of the final answer.

    :param file: Stands at the body afterwards.
    :raises ConnectionError: The head cannot be read, or is none that :func:`check_head` lets pass.
    """
    head = _read_one(file)
    while head.status < 200:  # a submit would count as refused although Roe took it
        head = _read_one(file)
    return head


def check_head(head: Head) -> None:
    """
    Make sure that there is one way to understand a head.

    :raises ConnectionError: It says how long the body is in two ways, or something that no answer may say.
    """
    if head.status == 101:
        raise ConnectionError("101 Switching Protocols")
    if head.version not in ((1, 0), (1, 1)) or not 100 <= head.status <= 999:
        raise ConnectionError("it answers with a status line that is none")
    if len(head.fields) > MAX_FIELDS:
        raise ConnectionError(f"its answer has more than {MAX_FIELDS} header fields")
    if any(name.endswith((b" ", b"\t")) or b"\0" in value for name, value in head.fields):
        raise ConnectionError("its answer has a header field that is malformed")
    lengths, encodings = head.values("content-length"), head.values("transfer-encoding")
    if len(lengths) > 1 or (lengths and encodings):
        raise ConnectionError("it says more than once how long its answer is")
    if lengths and not re.fullmatch(rb"[ \t]*\d{1,18}[ \t]*", lengths[0]):
        raise ConnectionError("its answer has a Content-Length that is no number")
    if b",".join(encodings).strip().lower() not in (b"", b"chunked", b"identity"):
        raise ConnectionError("it answers in a Transfer-Encoding that was not asked for")


def _read_line(file: IO[bytes]) -> bytes:
    """Return a line without its end; CR is no part of any."""
    line = file.readline(MAX_LINE + 100)
    if not line.endswith(b"\n"):
        if len(line) < MAX_LINE:
            raise RemoteDisconnected("it closed the connection before the end of the answer's head")
        raise ConnectionError("its answer has a header line that is too long")
    line = line.removesuffix(b"\n").removesuffix(b"\r")
    if b"\r" in line:
        raise ConnectionError("its answer has a header line that is malformed")
    return line


def _read_one(file: IO[bytes]) -> Head:
    line = _read_line(file)
    while not line:  # left over from the body of an answer before
        line = _read_line(file)
    status = _STATUS_LINE.fullmatch(line)
    if not status or len(line) - len(b"HTTP/1.1 200 ") > MAX_LINE:
        raise ConnectionError("it answers with a status line that is none")
    major, minor, code, reason = status.groups(b"")
    fields: list[tuple[bytes, bytearray]] = []
    line = _read_line(file).removeprefix(b" ")  # which means nothing to aiohttp's parser
    while line:
        if line.startswith((b" ", b"\t")) and fields:  # the field before goes on, unless it is a whole number
            if fields[-1][0].lower() == b"content-length" and fields[-1][1].strip():
                raise ConnectionError("its answer has a Content-Length that is no number")
            fields[-1][1].extend(line)
        elif field := _FIELD.fullmatch(line):
            fields.append((field[1], bytearray(field[2])))
        else:
            raise ConnectionError("its answer has a header field that is malformed")
        name, value = fields[-1]
        if len(fields) > MAX_FIELDS or len(name) + len(value.lstrip(b" \t")) > MAX_LINE:
            raise ConnectionError(
                f"its answer has too many header fields, or one of more than {MAX_LINE} bytes"
            )
        line = _read_line(file)
    head = Head(
        (int(major), int(minor)), int(code), reason, [(name, bytes(v.strip(b" \t"))) for name, v in fields]
    )
    check_head(head)
    return head
