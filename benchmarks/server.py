"""
The server of all runs, in a process and on a core of its own.

``python -m benchmarks.server FOLDER CORE`` prints its addresses as JSON and runs until its stdin ends. Over
TLS it answers polls. Over plain http it is told what work to expect (``POST /work``) and tells what it has
counted (``GET /counts``).
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import sys
import time
from pathlib import Path
from typing import Any

import certifi
import trustme

from benchmarks.services import SERVICES, Answer, roe_id, with_head
from benchmarks.work import Work


class Counter:
    """Counts polls, decides when what is polled has ended, and notes the moments between which to measure."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.service = service = SERVICES[work.service]
        numbers = range(work.waits)
        name_of = roe_id if service.of_many else service.path_of
        encode = Answer.encode_part if service.of_many else Answer.encode
        # Encoded beforehand, so that the server has hardly anything to do for a poll.
        self.numbers = {name_of(number): number for number in numbers}
        self.running = [encode(service.running(number)) for number in numbers]
        self.ended = [encode(service.ended(number)) for number in numbers]
        self.polls = [0] * work.waits
        self.ends_at: dict[int, float] = {}
        self.running_at: list[float | None] = [None] * work.waits
        self.ended_at: list[float | None] = [None] * work.waits
        self.all_polls = 0
        self.requests = 0
        self.unknown = 0
        self.handshakes = 0
        self.open = 0
        self.most_open = 0
        self._begun = 0
        self.began = self.moment()
        self.steady_from: dict[str, float] | None = None
        self.steady_until: dict[str, float] | None = None

    def moment(self) -> dict[str, float]:
        """Return what has been counted until now."""
        return {
            "time": time.monotonic(),  # comparable between the processes of one host
            "cpu": time.process_time(),
            "polls": self.all_polls,
            "requests": self.requests,
            "handshakes": self.handshakes,
        }

    def answer_many(self, ids: list[str]) -> bytes:
        """Take note of a request that polls many, and return its answer."""
        self.requests += 1
        known = [self.numbers[name] for name in ids if name in self.numbers]
        self.unknown += len(ids) - len(known)
        return with_head(b"[%s]" % b",".join(map(self.poll, known)))

    def answer_one(self, number: int) -> bytes:
        """Take note of a request that polls one, and return its answer."""
        self.requests += 1
        return self.poll(number)

    def poll(self, number: int) -> bytes:
        """Take note of a poll and return what is answered about this number."""
        self.all_polls += 1
        self.polls[number] = polls = self.polls[number] + 1
        if not self.has_ended(number, polls):
            if polls == 1:
                self._begun += 1
                if self._begun == self.work.waits and not self.steady_until:
                    self.steady_from = self.moment()
            self.running_at[number] = time.monotonic()
            return self.running[number]
        if self.ended_at[number] is None:
            if self.steady_until is None:
                self.steady_until = self.moment()
            self.ended_at[number] = time.monotonic()
        return self.ended[number]

    def has_ended(self, number: int, polls: int) -> bool:
        """Tell whether something has ended that has now been polled so often."""
        if (seconds := self.work.ends_after) is None:
            return polls >= self.work.polls
        return time.monotonic() >= self.ends_at.setdefault(number, time.monotonic() + seconds)

    def connected(self) -> None:
        """Take note of a connection, whose handshake is done."""
        self.handshakes += 1
        self.open += 1
        self.most_open = max(self.most_open, self.open)

    def counts(self) -> dict[str, Any]:
        """Return all that has been counted."""
        return {
            "polls": self.polls,
            "running_at": self.running_at,
            "ended_at": self.ended_at,
            "requests": self.requests,
            "unknown": self.unknown,
            "handshakes": self.handshakes,
            "most_open": self.most_open,
            "began": self.began,
            "steady_from": self.steady_from,
            "steady_until": self.steady_until,
            "now": self.moment(),
        }


class Http(asyncio.Protocol):
    """
    As much of HTTP as the clients here speak: requests with a Content-Length or without a body, keep-alive.

    A web framework would take as long for a poll as the client that is measured.
    """

    def __init__(self) -> None:
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport to answer on."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer each request that is whole."""
        self.received += data
        while (end := self.received.find(b"\r\n\r\n")) >= 0:
            head, body = self.received[:end], b""
            end += 4
            if (at := head.lower().find(b"\r\ncontent-length:")) >= 0:
                length = int(head[at + 17 :].partition(b"\r\n")[0])
                if len(self.received) < end + length:
                    return
                body = self.received[end : end + length]
                end += length
            self.received = self.received[end:]
            path = head.split(b" ", 2)[1].partition(b"?")[0].decode()
            self.transport.write(self.answer(path, body))

    def answer(self, path: str, body: bytes) -> bytes:
        """Return the whole answer to a request."""
        raise NotImplementedError


class Polls(Http):
    """Answers polls."""

    counter = Counter(Work(service="roe", waits=0))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection; asyncio tells of it once the handshake is done."""
        super().connection_made(transport)
        self.of = self.counter
        self.of.connected()

    def connection_lost(self, exc: Exception | None) -> None:
        """Count the connection no more."""
        self.of.open -= 1

    def answer(self, path: str, body: bytes) -> bytes:
        """Answer with whether the thing at a path, or in a body, has ended."""
        counter = self.counter
        if counter.service.of_many and path == counter.service.path:
            return counter.answer_many(json.loads(body)["job_ids"])
        number = counter.numbers.get(path)
        if number is not None and body:
            number = json.loads(body)["run_id"]
        if number is None or number >= counter.work.waits:
            counter.unknown += 1
            return b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n"
        return counter.answer_one(number)


class Control(Http):
    """Takes orders and gives account."""

    def answer(self, path: str, body: bytes) -> bytes:
        """Begin new work, or tell what has been counted."""
        if path == "/work":
            Polls.counter = Counter(Work(**json.loads(body)))
        return with_head(json.dumps(Polls.counter.counts()).encode())


def certificates(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """Make a certificate; return what the server needs, and the bundle that its clients have to trust."""
    authority = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(tls)
    # Among as many others as a client ordinarily has to load: some load them anew for each poll.
    bundle = folder / "ca.pem"
    bundle.write_bytes(Path(certifi.where()).read_bytes() + authority.cert_pem.bytes())
    return tls, bundle


async def serve(tls: ssl.SSLContext, ca: Path) -> None:
    """Serve until stdin ends, which it does when whoever started this is gone."""
    loop = asyncio.get_running_loop()
    polls = await loop.create_server(Polls, "127.0.0.1", 0, ssl=tls, backlog=4096)
    control = await loop.create_server(Control, "127.0.0.1", 0)
    ports = [server.sockets[0].getsockname()[1] for server in (polls, control)]
    print(json.dumps({"port": ports[0], "control": ports[1], "ca": str(ca)}), flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    os.sched_setaffinity(0, {int(sys.argv[2])})
    asyncio.run(serve(*certificates(Path(sys.argv[1]))))
