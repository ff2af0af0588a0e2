from __future__ import annotations

import asyncio
import contextlib
import http.client
import io
import socket
import subprocess
import sys
import threading
import time
import zlib
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_roe.api import base, queries
from airflow_provider_roe.client import blocking as transport
from airflow_provider_roe.client.connection import RoeConnection
from airflow_provider_roe.client.session import Session
from airflow_provider_roe.exceptions import RoeUnavailableError
from airflow_provider_roe.testing import Fault, RoeSimulator

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


class TestProxy:
    @pytest.mark.parametrize(
        ("variables", "base_url", "proxy"),
        [
            ({}, "https://roe.test", None),
            ({"HTTPS_PROXY": "http://proxy:3128"}, "https://roe.test", "http://proxy:3128"),
            ({"https_proxy": "proxy:3128"}, "https://roe.test", "http://proxy:3128"),
            ({"ALL_PROXY": "http://proxy:3128"}, "https://roe.test", "http://proxy:3128"),
            ({"HTTP_PROXY": "http://proxy:3128"}, "https://roe.test", None),
            ({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "roe.test"}, "https://roe.test:8443", None),
            ({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": ".test"}, "https://api.roe.test", None),
            ({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "*"}, "https://roe.test", None),
        ],
        ids=repr,
    )
    async def test_both_transports_use_the_same(self, connection, monkeypatch, variables, base_url, proxy):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        to_roe = connection(base_url=base_url)
        with transport.open_session(to_roe) as session:
            assert session.proxies.get("https") == proxy
        async with async_session(to_roe) as shared:
            assert str(shared._http._default_proxy or "") == (proxy or "")


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

    def __init__(self, answer: bytes | Callable[[socket.socket], object]) -> None:
        self._answer = answer
        self.connections = self.requests = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
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
        yield lambda answer: servers.enter_context(contextlib.closing(Server(answer)))


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
        assert time.monotonic() - began < 10
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
