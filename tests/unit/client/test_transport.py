from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import http.client
import io
import json
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
import zlib
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
import requests
import trustme
from airflow.providers.common.compat.sdk import Connection
from urllib3.exceptions import ReadTimeoutError

from airflow_provider_roe.api import base, queries
from airflow_provider_roe.client import blocking as transport
from airflow_provider_roe.client.connection import RoeConnection
from airflow_provider_roe.client.session import Session
from airflow_provider_roe.client.transport import unavailable
from airflow_provider_roe.exceptions import RoeInputError, RoeRequestError, RoeUnavailableError
from airflow_provider_roe.testing import Fault, RoeSimulator
from dev.patience import patient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator

OTHER_ORGANIZATION = "11111111-2222-4333-8444-555555555555"


@pytest.fixture
def connection(roe: RoeSimulator) -> Callable[..., RoeConnection]:
    """Return a function that makes a checked connection to the simulator."""

    def connection(**fields: Any) -> RoeConnection:
        defaults = {
            "conn_id": "roe_default",
            "base_url": roe.url,
            "api_key": roe.api_key,
            "organization_id": roe.organization_id,
        }
        return RoeConnection(**defaults | fields)

    return connection


class AsyncSession(Session):
    """A session that gives each request the connection's time."""

    async def send(self, request: base.Request) -> base.Response:
        seconds = self.connection.request_timeout
        return await super().send(request, asyncio.get_running_loop().time() + seconds)


@contextlib.asynccontextmanager
async def async_session(connection: RoeConnection) -> AsyncIterator[AsyncSession]:
    session = await AsyncSession.open(connection)
    try:
        yield session
    finally:
        await session.retire()


@pytest.fixture
def request_(roe: RoeSimulator) -> base.Request:
    return queries.status_request(roe.submit("SELECT 1"), roe.organization_id)


async def test_an_answer_is_data_whatever_its_code(roe, connection, request_):
    roe.add_fault(Fault(status_code=418, headers={"X-Tea": "yes"}, body="short and stout"))
    async with async_session(connection()) as shared:
        answers = [await shared.send(request_)]
    with transport.open_session(connection()) as session:
        answers.append(await asyncio.to_thread(transport.send, session, connection(), request_))
    for answer in answers:
        assert (answer.status_code, answer.headers["x-tea"], answer.body) == (418, "yes", b"short and stout")
        assert not answer.overlong
        assert answer.request_id in {request.headers["X-Request-ID"] for request in roe.requests}


async def test_no_more_than_the_bound_is_kept_of_an_answer(roe, connection, request_):
    roe.add_fault(Fault(oversize=3 * 2**20))
    async with async_session(connection()) as shared:
        answers = [await shared.send(request_)]
    with transport.open_session(connection()) as session:
        answers.append(await asyncio.to_thread(transport.send, session, connection(), request_))
    assert [(len(answer.body), answer.overlong) for answer in answers] == [(2**20, True)] * 2


async def test_a_session_survives_a_broken_answer(roe, connection, request_):
    roe.add_fault(Fault(truncate=True, times=1))
    async with async_session(connection()) as shared:
        with pytest.raises(RoeUnavailableError):
            await shared.send(request_)
        assert (await shared.send(request_)).status_code == 200


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def bundle(authority, tmp_path) -> str:
    """Return the path of a bundle that vouches for secure servers."""
    path = tmp_path / "bundle.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


@pytest.fixture(scope="module")
def tls(authority) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("roe.example", "localhost", "127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def secure_roe(tls) -> Iterator[RoeSimulator]:
    with RoeSimulator(ssl_context=tls) as roe:
        yield roe


@pytest.fixture
def nobody() -> Iterator[str]:
    """Return a URL at which nothing listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


def head(line: str, *headers: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {line}", *headers, "", ""]).encode()


ENDED = b'{"status": "SUCCESS"}'
FINAL = head("200 OK", f"Content-Length: {len(ENDED)}") + ENDED
EARLY = head("103 Early Hints", "Link: </style.css>; rel=preload", "Content-Length: 5")
INTERIM = {
    "100": head("100 Continue"),
    "102": head("102 Processing"),
    "103": EARLY,
    "199, without a reason": head("199"),
    "one after the other": head("100 Continue") + EARLY + head("102 Processing", "Retry-After: 5") + EARLY,
    "a thousand": EARLY * 1000,
}
QUERY = "7d9c3b1e-52f4-4a8d-9e60-1b7f2c4d8a35"
CALLS = {
    "submit": queries.submit_request("SELECT 1", OTHER_ORGANIZATION),
    "status": queries.status_request(QUERY, None),
    "result": queries.result_request(QUERY, None),
}


def blocking(connection: RoeConnection, *requests: base.Request) -> list[bytes]:
    with transport.open_session(connection) as session:
        return [transport.send(session, connection, request).body for request in requests]


def download(connection: RoeConnection, *requests: base.Request) -> list[bytes]:
    bodies = []
    with transport.open_session(connection) as session:
        for request in requests:
            file = io.BytesIO()
            transport.download(session, connection, request, file)
            bodies.append(file.getvalue())
    return bodies


def on_a_loop(connection: RoeConnection, *requests: base.Request) -> list[bytes]:
    async def send() -> list[bytes]:
        async with async_session(connection) as shared:
            return [(await shared.send(request)).body for request in requests]

    return asyncio.run(send())


each_transport = pytest.mark.parametrize("send", [blocking, download, on_a_loop])


class Server:
    """A server that answers each request with bytes, or as it is told, and counts what it gets."""

    def __init__(self, answer: bytes | Callable[[socket.socket], object], address: str = "127.0.0.1") -> None:
        self._answer = answer
        self.connections = self.requests = 0
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._listener = socket.create_server((address, 0), family=family)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as file, contextlib.suppress(OSError):
            while file.readline():
                headers = http.client.parse_headers(file)
                file.read(int(headers.get("Content-Length", 0)))
                self.requests += 1
                if isinstance(self._answer, bytes):
                    connection.sendall(self._answer)
                else:
                    self._answer(connection)


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Return a function that starts a server."""
    with contextlib.ExitStack() as servers:
        yield lambda *args: servers.enter_context(contextlib.closing(Server(*args)))


class TestInterimAnswers:
    @each_transport
    @pytest.mark.parametrize("call", CALLS)
    @pytest.mark.parametrize("interim", INTERIM)
    def test_they_are_skipped(self, connection, serve, send, call, interim):
        server = serve(INTERIM[interim] + FINAL)
        request = CALLS[call]
        assert send(connection(base_url=server.url), request, request) == [ENDED, ENDED]
        assert (server.requests, server.connections) == (2, 1)

    @each_transport
    def test_they_may_come_long_before_the_answer_and_in_pieces(self, connection, serve, send):
        def answer(client: socket.socket) -> None:
            for piece in (EARLY[:20], EARLY[20:], EARLY + FINAL[:9], FINAL[9:]):
                client.sendall(piece)
                time.sleep(0.1)

        assert send(connection(base_url=serve(answer).url), CALLS["status"]) == [ENDED]

    @each_transport
    @pytest.mark.parametrize("pause", [0.0, 0.05, 60.0], ids=["a stream", "now and then", "once"])
    def test_they_do_not_prolong_the_wait(self, connection, serve, send, pause):
        def answer(client: socket.socket) -> None:
            while True:
                client.sendall(EARLY)
                time.sleep(pause)

        to_roe = connection(base_url=serve(answer).url, request_timeout=0.5)
        began = time.monotonic()
        with pytest.raises(RoeUnavailableError, match=r"did not answer within 0\.5 s") as e:
            send(to_roe, CALLS["submit"])
        assert time.monotonic() - began < patient(10)
        assert not e.value.repeatable

    @each_transport
    def test_the_body_has_its_own_time(self, connection, serve, send):
        def answer(client: socket.socket) -> None:
            client.sendall(EARLY)
            time.sleep(1)
            client.sendall(FINAL[:-1])
            time.sleep(1)
            client.sendall(FINAL[-1:])

        assert send(connection(base_url=serve(answer).url, request_timeout=5), CALLS["result"]) == [ENDED]

    @each_transport
    @pytest.mark.parametrize("headers", [(), ("Connection: Upgrade", "Upgrade: websocket")], ids=repr)
    @pytest.mark.parametrize("rest", [b"", FINAL, b"\x81\x05hello"], ids=["nothing", "an answer", "frames"])
    def test_a_change_of_protocols_is_no_answer(self, connection, serve, send, headers, rest):
        server = serve(head("101 Switching Protocols", *headers) + rest)
        with pytest.raises(RoeUnavailableError, match=r"broke .*101 Switching Protocols") as e:
            send(connection(base_url=server.url), CALLS["submit"])
        assert (server.requests, e.value.repeatable) == (1, False)

    @pytest.mark.parametrize("headers", [(), ("Connection: Upgrade", "Upgrade: websocket")], ids=repr)
    async def test_what_follows_a_change_of_protocols_is_not_taken_for_the_next_answer(
        self, connection, serve, headers
    ):
        server = serve(head("101 Switching Protocols", *headers))
        to_roe, request = connection(base_url=server.url), CALLS["status"]
        with transport.open_session(to_roe) as session:
            for _ in range(2):
                with pytest.raises(RoeUnavailableError):
                    await asyncio.to_thread(transport.send, session, to_roe, request)
        async with async_session(to_roe) as shared:
            for _ in range(2):
                with pytest.raises(RoeUnavailableError):
                    await shared.send(request)
        assert (server.requests, server.connections) == (4, 4)


def compress(chunks: Iterable[bytes], wbits: int = 31) -> bytes:
    compressor = zlib.compressobj(9, zlib.DEFLATED, wbits)
    return b"".join([*map(compressor.compress, chunks), compressor.flush()])


def compressed(encoding: str, body: bytes) -> bytes:
    return head("200 OK", f"Content-Encoding: {encoding}", f"Content-Length: {len(body)}") + body


@cache
def bombs() -> list[bytes]:
    """Return answers of 500 bytes to 250 KB that unpack to 256 MiB."""
    spaces = [b" " * 2**20] * 2**8
    gzip, deflate = compress(spaces), compress(spaces, 15)
    answers = {"gzip": gzip, "deflate": deflate, "gzip, gzip": compress([gzip])}
    return [compressed(encoding, body) for encoding, body in answers.items()]


#: Prints by how many MiB the memory of a process grows that gets compressed answers.
GETS_THEM = """
import io, resource, sys
from airflow_provider_roe.client.connection import RoeConnection
from airflow_provider_roe.exceptions import RoeUnavailableError
from tests.unit.client import test_transport as transports

class Nowhere(io.BytesIO):
    def write(self, data):
        return len(data)

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10

transports.io.BytesIO = Nowhere
send = getattr(transports, sys.argv[1])
first, *urls = sys.argv[2:]
send(RoeConnection("roe_default", first, "a-key"), transports.CALLS["status"])
before = peak()
for url in urls:
    try:
        send(RoeConnection("roe_default", url, "a-key"), transports.CALLS["status"])
    except RoeUnavailableError as e:
        print(e, file=sys.stderr)
print(peak() - before)
"""


class TestCompression:
    @each_transport
    @pytest.mark.parametrize(("encoding", "wbits"), [("gzip", 31), ("deflate", 15)])
    def test_what_was_asked_for_is_unpacked(self, connection, serve, send, encoding, wbits):
        server = serve(compressed(encoding, compress([ENDED], wbits)))
        assert send(connection(base_url=server.url), CALLS["result"]) == [ENDED]

    @each_transport
    @pytest.mark.parametrize("encoding", ["gzip, gzip", "x-gzip", "deflate,gzip", "compress", "gzip, br"])
    def test_what_was_not_is_refused(self, connection, serve, send, encoding):
        server = serve(compressed(encoding, compress([compress([ENDED])])))
        with pytest.raises(
            RoeUnavailableError, match=rf"answers in Content-Encoding '{encoding}', which was"
        ):
            send(connection(base_url=server.url), CALLS["result"])

    @each_transport
    def test_it_is_asked_for_as_the_same(self, roe, connection, request_, send):
        send(connection(), request_)
        assert roe.requests[0].headers["Accept-Encoding"] == "gzip, deflate"

    @each_transport
    def test_what_unpacks_to_a_lot_takes_little_memory(self, serve, send):
        urls = [serve(answer).url for answer in (FINAL, *bombs())]
        ended = subprocess.run(
            [sys.executable, "-c", GETS_THEM, send.__name__, *urls], check=True, stdout=subprocess.PIPE
        )
        assert float(ended.stdout) < 100


def final(*fields: str | bytes, line: str = "HTTP/1.1 200 OK", body: bytes = ENDED) -> bytes:
    """Return an answer with a length and further fields, in front."""
    lines = [line, *fields, f"Content-Length: {len(ENDED)}", "", ""]
    return b"\r\n".join(line if isinstance(line, bytes) else line.encode() for line in lines) + body


def in_one_chunk(*fields: str, line: str = "HTTP/1.1 200 OK") -> bytes:
    chunk = b"%x\r\n%b\r\n0\r\n\r\n" % (len(ENDED), ENDED)
    return "\r\n".join([line, *fields, "", ""]).encode() + chunk


def until_closed(answer: bytes) -> Callable[[socket.socket], None]:
    def send(client: socket.socket) -> None:
        client.sendall(answer)
        client.shutdown(socket.SHUT_WR)

    return send


#: Heads that are understood in one way, however odd they look.
READ = {
    "150 fields": final(*(f"X-{n}: {n}" for n in range(150))),
    "999 further fields": final(*(f"X-{n}: {n}" for n in range(999))),
    "150 repeated fields": final(*["Connection: keep-alive", "Set-Cookie: a=b"] * 75),
    "a field of 9 KB": final("X: " + "x" * 9_000),
    "a field of 32 KB": final("X: " + "x" * 32_768),
    "a name of 9 KB": final("X" * 9_000 + ": x"),
    "a folded field of 32 KB": final("X: x", *[" " + "x" * 1_000] * 32),
    "a reason of 9 KB": final(line="HTTP/1.1 200 " + "x" * 9_000),
    "HTTP/1.0": final(line="HTTP/1.0 200 OK"),
    "HTTP/1.0 without a length": until_closed(b"HTTP/1.0 200 OK\r\n\r\n" + ENDED),
    "no length": until_closed(b"HTTP/1.1 200 OK\r\n\r\n" + ENDED),
    "no fields and no reason": until_closed(b"HTTP/1.1 200\r\n\r\n" + ENDED),
    "no reason": final(line="HTTP/1.1 200"),
    "no reason after its space": final(line="HTTP/1.1 200 "),
    "a reason that is not ASCII": final(
        "X: gr\u00fcn".encode("latin-1"), "Y: gr\u00fcn", line="HTTP/1.1 200 gr\u00fcn"
    ),
    "LF alone": final("X: 1").replace(b"\r\n", b"\n"),
    "an empty line in front": b"\r\n" + FINAL,
    "a space before the first field": final(" X: 1"),
    "spaces around values": final("X: \t 1 \t ", "Y:2").replace(b"Length:", b"Length:   "),
    "a continuation line": final("X: 1", " 2", "\t3"),
    "a space before a continuation line": final("X: 1 ", "  2"),
    "a continuation line that is blank": final("X: 1", " ", "Y: 1", "\t"),
    "a length on a continuation line": final("X: 1").replace(b"Length: ", b"Length:\r\n "),
    "an empty value": final("X:", "Y: "),
    "control characters in a value": final("X: \x01\x0b\x7f"),
    "names in odd letters": final("!#$%&'*+-.^_`|~: 1").replace(b"Content-L", b"cONTENT-l"),
    "a length with zeros in front": final("X: 1").replace(b"Length: ", b"Length: 000"),
    "in chunks": in_one_chunk("Transfer-Encoding: chunked"),
    "in Chunks": in_one_chunk("TRANSFER-ENCODING:  Chunked "),
    "in chunks, as HTTP/1.0": in_one_chunk("Transfer-Encoding: chunked", line="HTTP/1.0 200 OK"),
    "as it is": until_closed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n" + ENDED),
    "closed in the end": final("Connection: keep-alive", "Connection: close"),
    "an upgrade that is offered": final("Connection: upgrade", "Upgrade: h2c"),
}

#: Heads that are malformed, or can be understood in several ways.
REFUSED = {
    "more than a thousand fields": final(*(f"X-{n}: {n}" for n in range(1001))),
    "a field of 70 KB": final("X: " + "x" * 70_000),
    "a reason of 70 KB": final(line="HTTP/1.1 200 " + "x" * 70_000),
    "a length twice": final(f"Content-Length: {len(ENDED)}"),
    "two lengths": final("content-length: 5"),
    "a list of lengths": final().replace(b"Length: ", b"Length: %d, " % len(ENDED)),
    **{
        f"a length of {value!r}": final().replace(b" %d" % len(ENDED), value.encode())
        for value in (
            "",
            " +21",
            " -21",
            " 2_1",
            " 2 1",
            " 0x15",
            " 21.0",
            " 9" * 3,
            " " + "9" * 30,
            "\u0662\u0661",
        )
    },
    "a length that goes on": final().replace(b"Length: 2", b"Length: 2\r\n "),
    "chunks and a length": in_one_chunk("Transfer-Encoding: chunked", f"Content-Length: {len(ENDED)}"),
    "a length and chunks": in_one_chunk("Content-Length: 5", "Transfer-Encoding: chunked"),
    "a length and no encoding": final("Transfer-Encoding: identity"),
    "chunks in chunks": in_one_chunk("Transfer-Encoding: chunked, chunked"),
    "chunks twice": in_one_chunk("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
    "compressed chunks": in_one_chunk("Transfer-Encoding: gzip, chunked"),
    "an encoding that nobody knows": in_one_chunk("Transfer-Encoding: xchunked"),
    "chunks of a quality": in_one_chunk("Transfer-Encoding: chunked;q=1"),
    "a space before a colon": final("X : 1"),
    "a space before the length's colon": final().replace(b"Length:", b"Length :"),
    "a space before the encoding's colon": in_one_chunk("Transfer-Encoding : chunked"),
    "a tab before a colon": final("X\t: 1"),
    "a tab before the first field": final("\tX: 1"),
    "a space in a name": final("X Y: 1"),
    "a name in brackets": final("[X]: 1"),
    "a name that is not ASCII": final("gr\u00fcn: 1"),
    "no name": final(": 1"),
    "no colon": final("X"),
    "mail's first line": final("From me"),
    "CR in a value": final("X: 1\r2"),
    "CR before CRLF": final("X: 1\r"),
    "NUL in a value": final("X: 1\0"),
    "NUL in a name": final("X\0: 1"),
    "CR as the end of a line": b"HTTP/1.1 200 OK\rX: 1\r\n" + FINAL.partition(b"\n")[2],
    **{
        f"{line!r}": final(line=line)
        for line in (
            "HTTP/1.1  200 OK",
            "HTTP/1.1\t200 OK",
            "HTTP/1.1 200\tOK",
            " HTTP/1.1 200 OK",
            "http/1.1 200 OK",
            "HTTP/0.9 200 OK",
            "HTTP/1.2 200 OK",
            "HTTP/1.10 200 OK",
            "HTTP/2.0 200 OK",
            "HTTP/2 200 OK",
            "ICY 200 OK",
            "HTTP/1.1 20 OK",
            "HTTP/1.1 2000 OK",
            "HTTP/1.1 099 OK",
            "HTTP/1.1 +20 OK",
            "HTTP/1.1 200OK",
            "HTTP/1.1 OK",
            "HTTP/1.1",
            "GET / HTTP/1.1",
            "{}",
        )
    },
    **{
        f"cut off in {where}": until_closed(answer)
        for where, answer in {
            "nothing": b"",
            "the status line": b"HTTP/1.1 200 O",
            "a field": b"HTTP/1.1 200 OK\r\nX: 1",
            "the last line": b"HTTP/1.1 200 OK\r\nX: 1\r\n",
            "an interim answer": EARLY[:-2],
        }.items()
    },
}


class TestHeads:
    """What comes before an answer's body is read alike by both libraries, or refused in both."""

    @each_transport
    @pytest.mark.parametrize("answer", READ.values(), ids=READ)
    def test_what_can_be_understood_in_one_way_is_read(self, connection, serve, send, answer):
        to_roe = connection(base_url=serve(answer).url, request_timeout=20)
        assert send(to_roe, CALLS["result"], CALLS["submit"]) == [ENDED, ENDED]

    @each_transport
    @pytest.mark.parametrize("answer", REFUSED.values(), ids=REFUSED)
    def test_what_cannot_is_refused_as_trouble_on_the_way(self, connection, serve, send, answer):
        to_roe = connection(base_url=serve(answer).url, request_timeout=20)
        with pytest.raises(RoeUnavailableError, match=r"the connection to .* broke") as e:
            send(to_roe, CALLS["submit"])
        assert not e.value.repeatable
        assert str(e.value).isprintable()

    async def test_fields_have_the_same_values(self, connection, serve):
        fields = ["X: 1 ", "  2", "Retry-After: 7", "retry-after: 9", "Y: gr\u00fcn", "Z:", "A: b, c"]
        to_roe = connection(base_url=serve(final(*fields)).url)
        async with async_session(to_roe) as shared:
            answers = [await shared.send(CALLS["status"])]
        with transport.open_session(to_roe) as session:
            answers.append(await asyncio.to_thread(transport.send, session, to_roe, CALLS["status"]))
            file = io.BytesIO()
            answers.append(
                await asyncio.to_thread(transport.download, session, to_roe, CALLS["result"], file)
            )
        for answer in answers:
            read = {name: answer.headers.get(name) for name in ("x", "RETRY-AFTER", "Y", "z", "A", "B")}
            assert read == {
                "x": "1   2",
                "RETRY-AFTER": "7",
                "Y": "gr\u00fcn",
                "z": "",
                "A": "b, c",
                "B": None,
            }

    @each_transport
    def test_a_head_that_comes_byte_by_byte_does_not_prolong_the_wait(self, connection, serve, send):
        def answer(client: socket.socket) -> None:
            client.sendall(b"HTTP/1.1 200 OK\r\nX: ")
            while True:
                client.sendall(b"x")
                time.sleep(0.1)

        began = time.monotonic()
        with pytest.raises(RoeUnavailableError, match=r"did not answer within 1 s"):
            send(connection(base_url=serve(answer).url, request_timeout=1), CALLS["status"])
        assert time.monotonic() - began < patient(15)

    @each_transport
    @pytest.mark.parametrize("before", [head("200 OK", "Transfer-Encoding: chunked") + b"1;", FINAL[:-9]])
    def test_nor_does_what_follows_it(self, connection, serve, send, before):
        def answer(client: socket.socket) -> None:
            client.sendall(before)
            while True:
                time.sleep(0.9)
                client.sendall(b"x")

        began = time.monotonic()
        with pytest.raises(RoeUnavailableError, match=r"did not answer within 1 s"):
            send(connection(base_url=serve(answer).url, request_timeout=1), CALLS["status"])
        assert time.monotonic() - began < patient(30)

    @each_transport
    def test_it_may_come_in_pieces_of_any_size(self, connection, serve, send):
        def answer(client: socket.socket) -> None:
            for n in range(len(FINAL)):
                client.sendall(FINAL[n : n + 1])
                time.sleep(0.001)

        assert send(connection(base_url=serve(answer).url), CALLS["status"]) == [ENDED]


STALE = final(body=b'{"status": "FAILURE"}')


class ProxyServer(Server):
    """A proxy that leads to a server wherever it is asked to lead, and takes note of what it is asked."""

    def __init__(self, to: str = "", answer: bytes | None = None, tls: ssl.SSLContext | None = None) -> None:
        self._to = to.rpartition(":")[2]
        self._refusal = answer
        self._tls = tls
        self.asked: list[tuple[str, http.client.HTTPMessage]] = []
        super().__init__(b"")
        if tls:
            self.url = self.url.replace("http:", "https:")

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if self._tls:
                connection = self._tls.wrap_socket(connection, server_side=True)
            with connection, connection.makefile("rb") as file:
                while line := file.readline():
                    self.asked.append((line.decode().strip(), http.client.parse_headers(file)))
                    if self._refusal:
                        connection.sendall(self._refusal)
                    elif line.startswith(b"CONNECT"):
                        connection.sendall(EARLY + head("200 Connection established"))
                        return self._lead(connection)
                    else:
                        connection.sendall(FINAL)

    def _lead(self, connection: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", int(self._to))) as there:
            back = threading.Thread(target=self._copy, args=(there, connection))
            back.start()
            self._copy(connection, there)
            back.join()

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


@pytest.fixture
def proxy() -> Iterator[Callable[..., ProxyServer]]:
    """Return a function that starts a proxy."""
    with contextlib.ExitStack() as servers:
        yield lambda *args, **kwargs: servers.enter_context(contextlib.closing(ProxyServer(*args, **kwargs)))


def to_secure(roe: RoeSimulator, host: str = "roe.example", **fields: Any) -> RoeConnection:
    """Return a connection to a secure simulator by a name that only a proxy can find."""
    port = roe.url.rpartition(":")[2]
    return RoeConnection("roe_default", f"https://{host}:{port}", roe.api_key, request_timeout=20, **fields)


FORBIDDEN = head("403 Blocked by policy", "Content-Length: 4") + b"nope"


class TestProxy:
    @each_transport
    @pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
    @pytest.mark.parametrize("written", ["{}", "{}/", " {} "], ids=repr)
    def test_the_environment_names_it(self, connection, send, proxy, monkeypatch, variable, written):
        through = proxy()
        monkeypatch.setenv(variable, written.format(through.url))
        assert send(connection(base_url="http://roe.invalid"), CALLS["status"]) == [ENDED]
        assert through.asked[0][0].startswith("GET http://roe.invalid/v1/")

    @each_transport
    def test_its_scheme_may_be_left_out(self, connection, send, proxy, monkeypatch):
        through = proxy()
        monkeypatch.setenv("HTTP_PROXY", through.url.removeprefix("http://"))
        assert send(connection(base_url="http://roe.invalid"), CALLS["status"]) == [ENDED]
        assert len(through.asked) == 1

    @each_transport
    @pytest.mark.parametrize(
        ("no_proxy", "base_url"),
        [
            ("127.0.0.1", "http://127.0.0.1"),
            ("10.0.0.0/8, 127.0.0.0/8", "http://127.0.0.1"),
            ("127.0.0.1/32", "http://127.0.0.1"),
            ("*", "http://127.0.0.1"),
            ("localhost", "http://localhost"),
            ("other.example,.localhost", "http://localhost"),
            ("::1", "http://[::1]"),
        ],
    )
    def test_no_proxy_exempts_a_host(self, connection, serve, send, proxy, monkeypatch, no_proxy, base_url):
        monkeypatch.setenv("HTTP_PROXY", proxy(answer=FORBIDDEN).url)
        monkeypatch.setenv("NO_PROXY", no_proxy)
        server = serve(FINAL, "::1" if "::1" in base_url else "127.0.0.1")
        to_roe = connection(base_url=f"{base_url}:{server.url.rpartition(':')[2]}")
        assert send(to_roe, CALLS["status"]) == [ENDED]

    @each_transport
    @pytest.mark.parametrize("no_proxy", ["10.0.0.0/8", "127.0.0.2", "example", "127.0.0.0/33", "localhost"])
    def test_it_exempts_no_other(self, connection, send, proxy, monkeypatch, no_proxy):
        through = proxy()
        monkeypatch.setenv("HTTP_PROXY", through.url)
        monkeypatch.setenv("NO_PROXY", no_proxy)
        assert send(connection(base_url="http://127.0.0.1:9"), CALLS["status"]) == [ENDED]
        assert len(through.asked) == 1

    @each_transport
    @pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
    @pytest.mark.parametrize("host", ["roe.example", "localhost"])
    def test_it_tunnels_to_a_server_that_speaks_https(
        self, send, request_, proxy, secure_roe, bundle, tls, monkeypatch, secure, host
    ):
        through = proxy(secure_roe.url, tls=tls if secure else None)
        monkeypatch.setenv("HTTPS_PROXY", through.url.replace("://", "://me:pr0xy%20S3cret@"))
        to_roe = to_secure(secure_roe, host, verify=bundle)
        assert send(to_roe, request_)
        line, headers = through.asked[0]
        target = to_roe.base_url.removeprefix("https://")
        assert line == f"CONNECT {target} HTTP/1.1"
        assert headers["Host"] == target
        assert headers["Proxy-Authorization"] == "Basic bWU6cHIweHkgUzNjcmV0"
        assert to_roe.api_key not in str(headers)

    @each_transport
    def test_it_may_speak_https_to_pass_plain_http_on(
        self, connection, send, proxy, tls, bundle, monkeypatch
    ):
        through = proxy(tls=tls)
        monkeypatch.setenv("HTTP_PROXY", through.url)
        to_roe = connection(base_url="http://roe.invalid", verify=bundle)
        assert send(to_roe, CALLS["status"], CALLS["submit"]) == [ENDED, ENDED]
        assert through.connections == 1

    @each_transport
    @pytest.mark.parametrize("user", ["me", "me:"])
    def test_a_user_needs_no_password(self, connection, send, proxy, monkeypatch, user):
        through = proxy()
        monkeypatch.setenv("HTTP_PROXY", through.url.replace("://", f"://{user}@"))
        send(connection(base_url="http://roe.invalid"), CALLS["status"])
        assert through.asked[0][1]["Proxy-Authorization"] == "Basic bWU6"

    @each_transport
    def test_its_certificate_is_verified(self, connection, send, proxy, tls, monkeypatch):
        through = proxy(tls=tls)
        for name in ("HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, through.url)
        for scheme in ("http", "https"):
            with pytest.raises(RoeUnavailableError, match=f"certificate of .*{through.url}.* not trusted"):
                send(connection(base_url=f"{scheme}://roe.invalid"), CALLS["status"])
        assert through.asked == []

    @each_transport
    @pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
    @pytest.mark.parametrize(
        ("url", "told"),
        [
            ("socks5://me:S3cret@proxy.example:1080", "'socks5://proxy.example:1080'"),
            ("socks5h://proxy.example", "scheme socks5h"),
            ("socks4://proxy.example", "scheme socks4"),
            ("ftp://proxy.example", "scheme ftp"),
            ("http://me:S3cret@", "no URL of a proxy"),
            ("http://me:S3cret", "'http://me:…'"),
            ("me:S3cret", "'me:…'"),
            ("http://proxy.example:port", "no URL of a proxy"),
            ("http://proxy.example:99999", "'http://proxy.example:99999'"),
            ("http://proxy.example:0", "no URL of a proxy"),
            ("http://[::1", "no URL of a proxy"),
            ("http://pro xy.example:3128", "no URL of a proxy"),
            ("http://me:S3/cret@proxy.example:3128", "'http://proxy.example:3128'"),
            ("http://me:1/S3cret@proxy.example:3128", "'http://proxy.example:3128'"),
            ("http://me:S3#cret@proxy.example:3128", "'http://proxy.example:3128'"),
            ("http://proxy.example:3128/proxy.pac", "no URL of a proxy"),
            ("http://me:%E2%82%ACS3cret@proxy.example", "user or password cannot be sent"),
            ("http://m%3Ae:S3cret@proxy.example", "user or password cannot be sent"),
            ("http://:S3cret@proxy.example", "user or password cannot be sent"),
        ],
    )
    def test_what_cannot_be_used_is_told_at_once(self, connection, send, monkeypatch, variable, url, told):
        monkeypatch.setenv(variable, url)
        with pytest.raises(RoeInputError) as e:
            send(connection(base_url="https://roe.invalid"), CALLS["submit"])
        text = str(e.value)
        assert text.startswith(f"Connection 'roe_default', environment variable {variable}: ")
        assert told in text
        assert "S3" not in text
        assert "cret" not in text

    @each_transport
    @pytest.mark.parametrize("code", [400, 401, 403, 404, 407, 451])
    def test_its_refusal_to_tunnel_is_told_as_its_own(self, connection, send, proxy, monkeypatch, code):
        through = proxy(answer=head(f"{code} Blocked by policy", "Content-Length: 0"))
        monkeypatch.setenv("HTTPS_PROXY", through.url.replace("://", "://me:S3cret@"))
        with pytest.raises(RoeRequestError) as e:
            send(connection(base_url="https://roe.invalid"), CALLS["submit"])
        assert type(e.value) is RoeRequestError
        assert e.value.status_code is None
        text = str(e.value)
        assert (
            f"did not reach Roe: the proxy {through.url} that HTTPS_PROXY names answered with {code}"
            " (Blocked by policy)" in text
        )
        assert ("user and a password" if code == 407 else "NO_PROXY") in text
        assert "S3cret" not in text
        assert len(through.asked) == 1

    @each_transport
    @pytest.mark.parametrize("code", [201, 302, 408, 425, 429, 500, 502, 503, 504])
    def test_its_trouble_is_transient_and_a_submit_has_not_reached_roe(
        self, connection, send, proxy, monkeypatch, code
    ):
        through = proxy(answer=head(f"{code} Bad", "Retry-After: 7", "Content-Length: 0"))
        monkeypatch.setenv("HTTPS_PROXY", through.url)
        with pytest.raises(RoeUnavailableError, match=rf"proxy {through.url} .* answered with {code}") as e:
            send(connection(base_url="https://roe.invalid"), CALLS["submit"])
        assert (e.value.repeatable, e.value.retry_after, e.value.status_code) == (True, 7, None)

    @pytest.mark.parametrize("send", [blocking, on_a_loop])
    def test_without_a_tunnel_407_is_its_answer_and_others_may_be_roe_s(
        self, connection, send, proxy, monkeypatch
    ):
        monkeypatch.setenv("HTTP_PROXY", proxy(answer=head("407 Who?", "Content-Length: 0")).url)
        with pytest.raises(RoeRequestError, match=r"user and a password.*answered with 407 \(Who\?\)"):
            send(connection(base_url="http://roe.invalid"), CALLS["submit"])
        monkeypatch.setenv("HTTP_PROXY", proxy(answer=FORBIDDEN).url)
        assert send(connection(base_url="http://roe.invalid"), CALLS["submit"]) == [b"nope"]

    @pytest.mark.parametrize("send", [blocking, on_a_loop])
    def test_without_a_proxy_407_is_roe_s(self, connection, serve, send):
        server = serve(final(line="HTTP/1.1 407 Who?"))
        assert send(connection(base_url=server.url), CALLS["submit"]) == [ENDED]

    @each_transport
    @pytest.mark.parametrize("scheme", ["http", "https"])
    def test_one_that_cannot_be_reached_is_named(self, connection, send, monkeypatch, nobody, scheme):
        for url in (nobody, "http://proxy.invalid:3128"):
            monkeypatch.setenv("ALL_PROXY", url.replace("://", "://me:S3cret@"))
            with pytest.raises(RoeUnavailableError) as e:
                send(connection(base_url=f"{scheme}://roe.invalid"), CALLS["submit"])
            assert f"the proxy {url} that ALL_PROXY names cannot be reached" in str(e.value)
            assert e.value.repeatable

    @each_transport
    @pytest.mark.parametrize("scheme", ["http", "https"])
    @pytest.mark.parametrize("answer", [None, b"HTTP/1.1 2"], ids=["nothing", "half a line"])
    def test_one_that_breaks_off_may_have_passed_a_submit_on(
        self, connection, send, serve, monkeypatch, scheme, answer
    ):
        def break_off(client: socket.socket) -> None:
            client.sendall(answer or b"")
            client.shutdown(socket.SHUT_RDWR)

        monkeypatch.setenv("ALL_PROXY", serve(break_off).url)
        with pytest.raises(RoeUnavailableError, match="broke") as e:
            send(connection(base_url=f"{scheme}://roe.invalid"), CALLS["submit"])
        assert not e.value.repeatable

    @each_transport
    def test_a_certificate_behind_it_is_the_server_s(
        self, send, request_, proxy, secure_roe, bundle, monkeypatch
    ):
        monkeypatch.setenv("HTTPS_PROXY", proxy(secure_roe.url).url)
        to_roe = to_secure(secure_roe, "other.example", verify=bundle)
        with pytest.raises(RoeUnavailableError, match=r"certificate of https://other\.example:\d+ is not"):
            send(to_roe, request_)


class TestCaBundle:
    """What the environment names to verify certificates with is checked before anything is asked."""

    @each_transport
    @pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
    @pytest.mark.parametrize(
        "what",
        ["nothing", "empty", "a text", "a key", "a broken certificate", "a folder", "a folder of files"],
    )
    def test_what_is_none_is_told_at_once(
        self, send, secure_roe, authority, tmp_path, monkeypatch, variable, what
    ):
        certificate = authority.cert_pem.bytes()
        path = tmp_path / "bundle.pem"
        match what:
            case "empty":
                path.touch()
            case "a text":
                path.write_text("not a certificate")
            case "a key":
                path.write_bytes(authority.private_key_pem.bytes())
            case "a broken certificate":
                path.write_bytes(certificate[:300] + certificate[400:])
            case "a folder" | "a folder of files":
                path.mkdir()
        if what == "a folder of files":
            (path / "root.pem").write_bytes(certificate)
        monkeypatch.setenv(variable, str(path))
        with pytest.raises(
            RoeInputError,
            match=rf"^Connection 'roe_default', environment variable {variable}: .*is no CA bundle",
        ) as e:
            send(to_secure(secure_roe, "127.0.0.1"), CALLS["status"])
        assert str(path) in str(e.value)
        assert secure_roe.requests == []

    @pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl")
    @each_transport
    @pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
    def test_a_folder_of_hashed_names_is_one(
        self, send, secure_roe, bundle, tmp_path, monkeypatch, variable, request_
    ):
        asked = ["openssl", "x509", "-hash", "-noout", "-in", bundle]
        digest = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
        folder = tmp_path / "certificates"
        folder.mkdir()
        (folder / f"{digest}.0").symlink_to(bundle)
        monkeypatch.setenv(variable, str(folder))
        assert send(to_secure(secure_roe, "127.0.0.1"), request_)

    @each_transport
    def test_the_first_that_is_set_counts(self, send, secure_roe, bundle, monkeypatch, request_):
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", bundle)
        monkeypatch.setenv("SSL_CERT_FILE", "/no/such/bundle.pem")
        assert send(to_secure(secure_roe, "127.0.0.1"), request_)

    @each_transport
    @pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
    def test_it_does_not_matter_where_nothing_is_verified(self, send, secure_roe, monkeypatch, request_):
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such/bundle.pem")
        assert send(to_secure(secure_roe, "127.0.0.1", verify=False), request_)


class TestAddresses:
    """A host may have several; its name is looked up in a table here."""

    @pytest.fixture
    def dead(self) -> Iterator[tuple[str, int]]:
        """Return an address that takes no connection and refuses none."""
        with contextlib.ExitStack() as sockets:
            listener = sockets.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
            for _ in range(8):
                filler = sockets.enter_context(socket.socket())
                filler.setblocking(False)
                filler.connect_ex(listener.getsockname())
            yield listener.getsockname()

    @pytest.fixture
    def names(self, monkeypatch) -> dict[str, list[tuple[str, int]]]:
        """Return the table, by name, of addresses."""
        names: dict[str, list[tuple[str, int]]] = {}
        resolve = socket.getaddrinfo

        def look_up(name: str, *args: Any, **kwargs: Any) -> Any:
            if name in names:
                return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in names[name]]
            return resolve(name, *args, **kwargs)

        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        return names

    @each_transport
    @pytest.mark.parametrize("proxied", [False, True], ids=["directly", "through a proxy"])
    @pytest.mark.parametrize("scheme", ["http", "https"])
    def test_the_time_out_bounds_the_attempts_to_reach_all_of_them(
        self, connection, send, dead, names, monkeypatch, proxied, scheme
    ):
        names["roe.example"] = [dead] * 4
        to_roe = connection(base_url=f"{scheme}://roe.example", request_timeout=3)
        if proxied:
            monkeypatch.setenv(f"{scheme}_proxy", "http://roe.example:3128")
        began = time.monotonic()
        with pytest.raises(RoeUnavailableError, match="did not answer within 3 s"):
            send(to_roe, CALLS["submit"])
        assert 2.5 < time.monotonic() - began < patient(20)

    def test_time_that_connecting_has_used_up_is_a_time_out(self, connection):
        error = requests.ReadTimeout(ReadTimeoutError(None, "/", "Read timed out. (read timeout=0)"))
        told = unavailable(connection(), CALLS["status"], "7d9c", error)
        assert "did not answer within" in str(told)

    @each_transport
    @pytest.mark.parametrize("dead_ones", [1, 3])
    def test_the_one_that_answers_is_found_behind_dead_ones(
        self, connection, serve, send, dead, names, dead_ones
    ):
        server = serve(FINAL)
        *_, port = server.url.rpartition(":")
        names["roe.example"] = [dead] * dead_ones + [("127.0.0.1", int(port))]
        to_roe = connection(base_url="http://roe.example", request_timeout=8)
        assert send(to_roe, CALLS["status"]) == [ENDED]

    @each_transport
    def test_one_that_refuses_takes_no_time_from_the_others(self, connection, serve, send, nobody, names):
        *_, port = serve(FINAL).url.rpartition(":")
        *_, closed = nobody.rpartition(":")
        names["roe.example"] = [("127.0.0.1", int(closed)), ("127.0.0.1", int(port))]
        assert send(connection(base_url="http://roe.example"), CALLS["status"]) == [ENDED]

    @each_transport
    def test_a_certificate_is_compared_with_the_name(self, send, dead, names, request_, secure_roe, bundle):
        *_, port = secure_roe.url.rpartition(":")
        for name in ("roe.example", "other.example"):
            names[name] = [dead, ("127.0.0.1", int(port))]
        to_roe = RoeConnection(
            "roe_default", "https://roe.example", secure_roe.api_key, request_timeout=8, verify=bundle
        )
        assert send(to_roe, request_)
        with pytest.raises(RoeUnavailableError, match=r"the certificate of https://other\.example is not"):
            send(dataclasses.replace(to_roe, base_url="https://other.example"), request_)


@each_transport
@pytest.mark.parametrize(
    ("host", "sent"), [("grün.example", "xn--grn-ioa.example"), ("roe.example.", "roe.example")]
)
def test_a_host_is_asked_for_by_the_same_name(roe, send, request_, monkeypatch, host, sent):
    _, _, port = roe.url.rpartition(":")
    resolve, asked_for = socket.getaddrinfo, []

    def loopback(name: str, *args: Any, **kwargs: Any) -> Any:
        asked_for.append(name)
        return resolve("127.0.0.1", *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", loopback)
    extra = json.dumps({"allow_http": True})
    conn = Connection(
        conn_id="roe", conn_type="roe", host=f"http://{host}:{port}", password=roe.api_key, extra=extra
    )
    send(RoeConnection.read(conn), request_)
    assert roe.requests[0].headers["Host"].partition(":")[0] == sent
    assert asked_for[0].rstrip(".") == sent


class TestWhatNobodyAskedFor:
    """What comes on a connection that is kept, before the next request, is not taken for its answer."""

    @pytest.mark.parametrize(
        "junk", [STALE, STALE * 3, b"x", EARLY], ids=["an answer", "three", "x", "a hint"]
    )
    def test_by_blocking_calls(self, connection, serve, junk):
        server, send_junk = self.hasty(serve, junk)
        to_roe = connection(base_url=server.url)
        with transport.open_session(to_roe) as session:
            assert transport.send(session, to_roe, CALLS["submit"]).body == ENDED
            send_junk()
            for _ in range(2):
                assert transport.send(session, to_roe, CALLS["submit"]).body == ENDED
        assert (server.requests, server.connections) == (3, 2)

    @pytest.mark.parametrize("junk", [STALE, STALE * 3, b"x"], ids=["an answer", "three", "x"])
    async def test_by_those_on_a_loop(self, connection, serve, junk):
        server, send_junk = self.hasty(serve, junk)
        async with async_session(connection(base_url=server.url)) as shared:
            assert (await shared.send(CALLS["submit"])).body == ENDED
            await asyncio.to_thread(send_junk)
            await asyncio.sleep(0.1)  # the loop looks at its sockets
            for _ in range(2):
                assert (await shared.send(CALLS["submit"])).body == ENDED
        assert (server.requests, server.connections) == (3, 2)

    def hasty(self, serve: Callable[..., Server], junk: bytes) -> tuple[Server, Callable[[], None]]:
        """Return a server, and what makes it send junk on its first connection and waits until it has."""
        go, sent = threading.Event(), threading.Event()

        def answer(client: socket.socket) -> None:
            client.sendall(FINAL)
            if server.requests == 1:
                go.wait(patient(10))
                client.sendall(junk)
                sent.set()

        def send_junk() -> None:
            go.set()
            assert sent.wait(patient(10))

        server: Server = serve(answer)
        return server, send_junk
