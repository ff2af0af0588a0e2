from __future__ import annotations

import asyncio
from dataclasses import dataclass
from email.parser import BytesParser
from email.policy import HTTP
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from airflow_provider_roe.client.multipart import Multipart
from airflow_provider_roe.exceptions import RoeInputError

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class Stored:
    """A file that is read in blocks of seven bytes."""

    name: str
    content: bytes
    size: int = -1

    def __post_init__(self) -> None:
        if self.size < 0:
            self.size = len(self.content)

    def blocks(self) -> Iterator[bytes]:
        for start in range(0, len(self.content), 7):
            yield self.content[start : start + 7]


def by_email(form: Multipart) -> dict[str, tuple[str | None, bytes]]:
    """Read a form as Python's own e-mail package does: the file name and content of each part."""
    body = b"".join(form)
    message: Any = BytesParser(policy=HTTP).parsebytes(
        b"Content-Type: " + form.content_type.encode() + b"\r\n\r\n" + body
    )
    return {
        part.get_param("name", header="content-disposition"): (
            part.get_filename(),
            part.get_payload(decode=True),
        )
        for part in message.iter_parts()
    }


def by_aiohttp(form: Multipart) -> dict[str, tuple[str | None, bytes]]:
    """Read a form as servers with aiohttp do."""

    async def read() -> dict[str, tuple[str | None, bytes]]:
        stream = aiohttp.StreamReader(Protocol(), 2**16, loop=asyncio.get_running_loop())
        stream.feed_data(b"".join(form))
        stream.feed_eof()
        reader = aiohttp.MultipartReader({"Content-Type": form.content_type}, stream)
        found = {}
        while part := await reader.next():
            assert isinstance(part, aiohttp.BodyPartReader)
            found[part.name or ""] = (part.filename, bytes(await part.read()))
        return found

    return asyncio.run(read())


class Protocol(aiohttp.base_protocol.BaseProtocol):
    """A connection that nobody has to hold back."""

    def __init__(self) -> None:
        super().__init__(asyncio.get_running_loop())


@pytest.mark.parametrize("parsed", [by_email, by_aiohttp])
class TestAsServersReadIt:
    def test_texts_and_files_arrive_as_they_are(self, parsed):
        content = bytes(range(256)) * 40
        form = Multipart(
            {
                "text": "Größe\nzwei",
                "empty": "",
                "document": Stored("scan.pdf", content),
                "last": "\r\n--\r\n",
            }
        )
        assert parsed(form) == {
            "text": (None, "Größe\nzwei".encode()),
            "empty": (None, b""),
            "document": ("scan.pdf", content),
            "last": (None, b"\r\n--\r\n"),
        }

    def test_what_looks_like_another_form_is_content(self, parsed):
        inner = b"".join(Multipart({"text": "inner", "file": Stored("inner.pdf", b"x")}))
        form = Multipart({"document": Stored("scan.pdf", inner), "last": "y"})
        assert parsed(form) == {"document": ("scan.pdf", inner), "last": (None, b"y")}

    @pytest.mark.parametrize(
        "name",
        ["Größe 1.pdf", "a;b='c'.pdf", "100%.pdf", 'a"; filename="b.pdf', "a\r\n\r\nb\r\n--"],
        ids=ascii,
    )
    def test_names_arrive_as_browsers_write_them(self, parsed, name):
        form = parsed(Multipart({"document": Stored(name, b"x"), "last": "y"}))
        found, content = form["document"]
        assert (quoted(found), content) == (quoted(name), b"x")  # some parsers undo the quoting
        assert form["last"] == (None, b"y")


def quoted(name: str) -> str:
    """Return a name as browsers write it into the head of a part."""
    for character, code in (('"', "%22"), ("\r", "%0D"), ("\n", "%0A")):
        name = name.replace(character, code)
    return name


def test_its_length_is_known_before_it_is_read():
    form = Multipart({"größe": "ü" * 100, "document": Stored("größe.pdf", b"x" * 100)})
    assert len(form) == len(b"".join(form))


def test_it_can_be_sent_again():
    form = Multipart({"document": Stored("scan.pdf", b"x" * 100)})
    assert b"".join(form) == b"".join(form)


def test_no_two_have_the_same_boundary():
    assert len({Multipart({"a": "b"}).content_type for _ in range(10)}) == 10


def test_a_file_is_handed_on_block_by_block():
    pieces = iter(Multipart({"document": Stored("scan.pdf", b"x" * 21)}))
    assert [len(piece) for piece in pieces if set(piece) == {ord("x")}] == [7, 7, 7]


@pytest.mark.parametrize("name", ['a"b.pdf', "a\r\nX-Evil: 1.pdf", "a;b.pdf", "a\\b.pdf"], ids=ascii)
def test_a_name_does_not_get_out_of_its_header(name):
    form = Multipart({name: Stored(name, b"x"), "last": "y"})
    head, _, rest = b"".join(form).partition(b"\r\n\r\n")
    assert b"\r\nX-Evil" not in head
    assert head.count(b"\r\n") == 2  # boundary, disposition, type
    assert rest.count(b"Content-Disposition") == 1


@pytest.mark.parametrize("size", [99, 101], ids=["grown", "shrunk"])
def test_a_file_that_changes_meanwhile_is_no_form(size):
    form = Multipart({"document": Stored("scan.pdf", b"x" * 100, size)})
    sent: list[bytes] = []
    with pytest.raises(RoeInputError, match=rf"scan\.pdf no longer has the {size} bytes that it had"):
        sent.extend(form)
    assert sum(map(len, sent)) < len(form)  # so that the server sees that it has not got all


def test_a_file_that_grows_for_ever_is_read_no_further():
    class Growing(Stored):
        def blocks(self) -> Iterator[bytes]:
            for _ in range(1000):
                yield b"x"
            raise AssertionError("nobody needs more of it")

    with pytest.raises(RoeInputError, match=r"no longer has the 100 bytes"):
        b"".join(Multipart({"document": Growing("log.txt", b"", 100)}))
