"""Forms as clients send them, and as they should not, byte by byte."""

from __future__ import annotations

import hashlib
import tracemalloc

import pytest

from airflow_provider_roe.testing.forms import KEPT_BYTES, read_body

BOUNDARY = "----b"
KIND = f'multipart/form-data; boundary="{BOUNDARY}"'


@pytest.fixture
def send(roe, client):
    """Return a function that runs an agent with a multipart body and returns its status code and the form."""

    def send(body, kind=KIND):
        response = client.run_agent(data=body, headers={"Content-Type": kind})
        return response.status_code, roe.requests[-1].form

    return send


def part(content: bytes, disposition: str = 'form-data; name="f"; filename="a"', more: str = "") -> bytes:
    head = f"--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\n{more}\r\n"
    return head.encode() + content + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()


class Upload:
    """A request whose body comes in pieces of one size."""

    def __init__(self, body: bytes, size: int) -> None:
        self.headers = {"Content-Type": KIND}
        self.content = self
        self._pieces = iter([body[i : i + size] for i in range(0, len(body), size)])

    async def readany(self) -> bytes:
        return next(self._pieces, b"")


@pytest.mark.parametrize("size", [1, 2, 7, 1000], ids="pieces of {}".format)
@pytest.mark.parametrize(
    "content",
    [b"", b"\r\n", b"\r\n--", b"\r\n------", b"\r\n----b", b"--\r\n\r\n------a\r\n", bytes(range(256))],
    ids=repr,
)
async def test_a_file_is_read_exactly_in_whatever_pieces_it_comes(content, size):
    body = part(content) + END
    kept, form = await read_body(Upload(body, size))
    assert (form["f"].size, form["f"].sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert kept == body


@pytest.mark.parametrize(
    ("disposition", "more", "name", "file_name", "data_type"),
    [
        (
            'form-data; name="f"; filename="a.pdf"',
            "Content-Type: application/pdf\r\n",
            "f",
            "a.pdf",
            "application/pdf",
        ),
        ("form-data; name=f; filename=a.pdf", "", "f", "a.pdf", "application/octet-stream"),
        (
            'form-data; name="ä f"; filename="März; 1.pdf"',
            "",
            "ä f",
            "März; 1.pdf",
            "application/octet-stream",
        ),
        (r'form-data; name="f"; filename="a \"b\" \\ c"', "", "f", r'a "b" \ c', "application/octet-stream"),
        ("form-data; name=\"f\"; filename*=utf-8''M%C3%A4rz", "", "f", "März", "application/octet-stream"),
        ('form-data; name="f"; filename="a%20b"', "", "f", "a%20b", "application/octet-stream"),
    ],
)
def test_the_head_of_a_part_names_and_describes_it(send, disposition, more, name, file_name, data_type):
    code, form = send(part(b"x", disposition, more) + END)
    assert code == 200
    assert (form[name].file_name, form[name].data_type) == (file_name, data_type)


def test_a_part_without_a_file_name_is_a_text(send):
    assert send(part("Größe\r\n".encode(), 'form-data; name="f"') + END) == (200, {"f": "Größe\r\n"})


def test_of_fields_with_one_name_the_last_one_counts(send):
    texts = [part(text, 'form-data; name="f"') for text in (b"1", b"2")]
    assert send(b"".join(texts) + END) == (200, {"f": "2"})


def test_what_comes_before_and_after_the_parts_is_not_read(send):
    body = b"preamble\r\n" + part(b"1", 'form-data; name="f"') + END + b"epilogue" * 1000
    assert send(body) == (200, {"f": "1"})


def test_a_form_may_be_empty(send):
    assert send(END) == (200, {})


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (part(b"x") + END, "multipart/form-data"),
        (part(b"x"), KIND),
        (part(b"x") + END[:-4], KIND),
        (END.replace(b"b", b"c"), KIND),
        (part(b"x", "form-data") + END, KIND),
        (f"--{BOUNDARY}\r\nContent-Disposition: form-data".encode(), KIND),
        (part(b"x", more=f"X-Long: {'x' * 1000}\r\n") + END, KIND),
    ],
    ids=["no boundary", "no end", "cut end", "other boundary", "no name", "cut head", "long head"],
)
def test_a_broken_form_is_refused(send, roe, body, kind):
    assert send(body, kind) == (400, None)
    assert roe.requests[0].body == body[:KEPT_BYTES]
    assert not roe.jobs


def test_a_file_of_any_size_takes_no_memory(send):
    piece = bytes(65536)
    tracemalloc.start()
    try:
        code, form = send(iter([part(b"")[:-2], *[piece] * 1000, b"\r\n", END]))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (code, form["f"].size) == (200, 65_536_000)
    assert peak < 8_000_000
