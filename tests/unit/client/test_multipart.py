from __future__ import annotations

from dataclasses import dataclass
from email.parser import BytesParser
from email.policy import HTTP
from typing import TYPE_CHECKING, Any

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


def parsed(form: Multipart) -> dict[str, tuple[str | None, bytes]]:
    """Read a form as Python's own e-mail package does: the file name and content of each part."""
    body = b"".join(form)
    assert len(body) == len(form)
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


def test_texts_and_files_arrive_as_they_are():
    content = bytes(range(256)) * 40
    form = Multipart({"text": "Größe\nzwei", "empty": "", "document": Stored("scan.pdf", content)})
    found = parsed(form)
    assert found["text"] == (None, "Größe\nzwei".encode())
    assert found["empty"] == (None, b"")
    assert found["document"] == ("scan.pdf", content)


def test_it_can_be_sent_again():
    form = Multipart({"document": Stored("scan.pdf", b"x" * 100)})
    assert b"".join(form) == b"".join(form)


@pytest.mark.parametrize("name", ['a"b.pdf', "a\r\nX-Evil: 1.pdf", "a;b.pdf", "a\\b.pdf"], ids=ascii)
def test_a_name_does_not_get_out_of_its_header(name):
    form = Multipart({name: Stored(name, b"x"), "last": "y"})
    head, _, rest = b"".join(form).partition(b"\r\n\r\n")
    assert b"\r\nX-Evil" not in head
    assert head.count(b"\r\n") == 2  # boundary, disposition, type
    assert rest.count(b"Content-Disposition") == 1


@pytest.mark.parametrize("size", [99, 101], ids=["grown", "shrunk"])
def test_a_file_that_changes_meanwhile_is_no_form(size):
    with pytest.raises(RoeInputError, match=rf"scan\.pdf no longer has the {size} bytes that it had"):
        b"".join(Multipart({"document": Stored("scan.pdf", b"x" * 100, size)}))
