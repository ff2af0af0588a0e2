"""
What may go wrong when a wait asks for a status, and what becomes of the wait.

One occurrence changes nothing: the wait ends as its query does. What lasts ends it as its row says.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_roe.testing import Fault

if TYPE_CHECKING:
    from collections.abc import Callable

OTHER_QUERY = "7d9c3b1e-52f4-4a8d-9e60-1b7f2c4d8a35"
DAY = timedelta(days=1)
#: Colours, a cleared screen, a reversed line, a forged line of a log, and a page, over and over.
HOSTILE = (
    "\x1b[2J\x1b[31m\u202eno\x00\r\n[2026-01-01 00:00:00] INFO - Task succeeded\n<script>alert(1)</script>"
)


@dataclass(frozen=True)
class Row:
    """
    Something that goes wrong.

    :param make: Returns the simulator's fault for a query's id and the status that it ends with, ``SUCCESS``
        or ``FAILURE``; None where no answer can do it.
    :param permanent: What a wait ends as when it lasts: ``failed`` (the query did), ``timeout``, ``error``
        (Roe could not be asked); None where the wait ends as the query does.
    :param says: Regular expression for the message of that end.
    """

    name: str
    make: Callable[[str, str], Fault] | None
    permanent: Literal["failed", "timeout", "error"] | None = None
    says: str = ""

    def fault(self, query_id: str, end: str, times: int | None = None) -> Fault:
        """Return the fault that meets so many status calls of a query; None for all."""
        assert self.make
        return replace(self.make(query_id, end), call="status", query_id=query_id, times=times)

    def outcome(self, end: str) -> str:
        """Return ``success``, ``failed``, ``timeout`` or ``error``: what a wait ends as when it lasts."""
        return self.permanent or {"SUCCESS": "success", "FAILURE": "failed"}[end]


def answer(code: int, **fields: Any) -> Callable[[str, str], Fault]:
    return lambda query_id, end: Fault(status_code=code, **fields)


def broken(**fields: Any) -> Callable[[str, str], Fault]:
    return lambda query_id, end: Fault(**fields)


def in_a_second(code: int) -> Callable[[str, str], Fault]:
    return lambda query_id, end: Fault(status_code=code, retry_after=datetime.now(UTC) + timedelta(seconds=1))


def status_body(query_id: str, status: str, *, off: timedelta = timedelta(), **fields: Any) -> dict[str, Any]:
    """Return a status as Roe answers it, by a clock that may be off."""
    now = datetime.now(UTC) + off
    ended = status in ("SUCCESS", "FAILURE")
    return {
        "worksheet_query_id": query_id,
        "status": status,
        "error": None,
        "created_at": (now - timedelta(seconds=2)).isoformat(),
        "finished_at": now.isoformat() if ended else None,
    } | fields


def status(word: str | None = None, **fields: Any) -> Callable[[str, str], Fault]:
    """Answer with a status, by default the one that the query ends with."""
    return lambda query_id, end: Fault(status_code=200, body=status_body(query_id, word or end, **fields))


def head(
    *fields: str,
    line: str = "HTTP/1.1 200 OK",
    length: str | None = "Content-Length: {length}",
    newline: str = "\r\n",
) -> Callable[[str, str], Fault]:
    """Answer with the query's status behind a head of these lines; ``length`` is the last of its fields."""
    lines = [line, "Content-Type: application/json", *fields, *filter(None, [length])]
    return broken(head="".join(f"{line}{newline}" for line in [*lines, ""]))


def chunked(*fields: str, trailers: str = "") -> Callable[[str, str], Fault]:
    """Answer with the query's end in one chunk."""
    lines = ["HTTP/1.1 200 OK", "Content-Type: application/json", "Transfer-Encoding: chunked", *fields]

    def make(query_id: str, end: str) -> Fault:
        body = json.dumps(status_body(query_id, end))
        return Fault(
            status_code=200,
            head="".join(f"{line}\r\n" for line in [*lines, ""]),
            body=f"{len(body):x}\r\n{body}\r\n0\r\n{trailers}\r\n",
        )

    return make


def encoded(encoding: str, **headers: str) -> Callable[[str, str], Fault]:
    """Answer with the query's end, in which there are letters beyond ASCII, in an encoding."""

    def make(query_id: str, end: str) -> Fault:
        text = json.dumps(status_body(query_id, end, error="Größe"), ensure_ascii=False)
        return Fault(
            status_code=200, body=text.encode(encoding), content_type="application/json", headers=headers
        )

    return make


FAULTS = [
    Row("429 with Retry-After in seconds", answer(429, retry_after=1), "error", "answered with 429"),
    Row("429 with Retry-After as a date", in_a_second(429), "error", "answered with 429"),
    Row("503 with Retry-After in seconds", answer(503, retry_after=1), "error", "answered with 503"),
    Row("503 with Retry-After as a date", in_a_second(503), "error", "answered with 503"),
    Row("500", answer(500), "error", "answered with 500: Internal Server Error"),
    Row("502", answer(502, body="<h1>Bad Gateway</h1>"), "error", "answered with 502: <h1>Bad Gateway"),
    Row("504", answer(504, body=b""), "error", "answered with 504"),
    Row("408", answer(408), "error", "answered with 408: Request Timeout"),
    Row("reset before the answer", broken(reset="before"), "error", r"the connection to \S+ broke"),
    Row("reset in the body", broken(reset="body"), "error", r"the connection to \S+ broke"),
    Row("connection refused", None, "error", r"nothing listens at \S+: check the connection's Base URL"),
    Row("no such host", None, "error", r"\S+ has no address: check the connection's Base URL"),
    Row("untrusted certificate", None, "error", r"the certificate of \S+ is not trusted .*extra\.verify"),
    Row("read time-out", broken(hang=True), "error", r"did not answer within [\d.]+ s"),
    Row("slow drip", broken(drip=0.1), "error", r"did not answer within [\d.]+ s"),
    Row("truncated body", broken(truncate=True), "error", r"the connection to \S+ broke"),
    Row("oversized body", broken(oversize=2**21), "error", "a body that is not within 1,048,576 bytes"),
    Row("empty body", answer(200, body=b""), "error", "a body that is not JSON"),
    Row(
        "HTML with status 200",
        answer(200, body="<!doctype html><title>Log in</title>"),
        "error",
        "a body that is not JSON; it starts with '<!doctype html><title>Log in",
    ),
    Row("wrong content type", encoded("utf-8", **{"Content-Type": "text/html; charset=utf-16"})),
    Row("gzip", broken(gzip=True)),
    Row(
        "gzip that unpacks to too much",
        broken(oversize=2**24, gzip=True),
        "error",
        "a body that is not within 1,048,576 bytes",
    ),
    Row(
        "gzip that is none",
        encoded("utf-8", **{"Content-Encoding": "gzip"}),
        "error",
        r"the connection to \S+ broke",
    ),
    Row(
        "compressed twice",
        encoded("utf-8", **{"Content-Encoding": "gzip, gzip"}),
        "error",
        r"answers in Content-Encoding 'gzip, gzip', which was not asked for",
    ),
    Row("wrong encoding", encoded("latin-1"), "error", "a body that is not JSON; it starts with"),
    Row(
        "JSON of the wrong shape",
        answer(200, body={"status": "SUCCESS"}),
        "error",
        "a body that is not the status of this query; it starts with",
    ),
    Row(
        "another query's id",
        lambda _, end: Fault(status_code=200, body=status_body(OTHER_QUERY, end)),
        "error",
        f"a body that is not the status of this query; it starts with .*{OTHER_QUERY}",
    ),
    Row("unknown status", status("WARMING"), "timeout", "is still WARMING after"),
    Row(
        "finished_at with an unknown status",
        status("VANISHED", finished_at="2026-03-01T10:00:00Z"),
        "failed",
        "ended as VANISHED.*an unknown status",
    ),
    Row(
        "status in odd case",
        lambda query_id, end: Fault(
            status_code=200, body=status_body(query_id, f" {end.swapcase().title()} ")
        ),
    ),
    Row("RETRY with an error text", status("RETRY", error="worker lost"), "timeout", "is still RETRY after"),
    Row("end with an error text", status(error="one row was skipped")),
    Row("clock a day ahead", status(off=DAY)),
    Row("clock a day behind", status(off=-DAY)),
    Row("hostile error text", status(error=HOSTILE * 5000)),
    Row(
        "500 with a hostile text",
        answer(500, body={"detail": HOSTILE * 100_000}),
        "error",
        "answered with 500",
    ),
]

BROKE = r"the connection to \S+ broke"
#: The same for the head of an answer. What is harmless is read, what could be read in two ways is refused.
HEADS = [
    Row("100 before the answer", broken(interim=[100])),
    Row("103 before the answer", broken(interim=[103])),
    Row("several interim answers", broken(interim=[100, 102, 103, 103, 199])),
    Row("101 before the answer", broken(interim=[101]), "error", BROKE),
    Row(
        "nothing after an interim answer", broken(interim=[102], hang=True), "error", "did not answer within"
    ),
    Row("110 fields", head(*(f"X-Field-{i}: {i}" for i in range(110)))),
    Row("a field of 9 KB", head(f"X-Long: {'x' * 9 * 1024}")),
    Row("a field of 32 KB", head(f"X-Long: {'x' * 32 * 1024}")),
    Row("a field of 100 KB", head(f"X-Long: {'x' * 100 * 1024}"), "error", BROKE),
    Row("no reason", head(line="HTTP/1.1 200 ")),
    Row("no reason and no space", head(line="HTTP/1.1 200")),
    Row("HTTP/1.0", head(line="HTTP/1.0 200 OK")),
    Row("HTTP/1.0 without a length", head(line="HTTP/1.0 200 OK", length=None)),
    Row("ended by the connection's end", head("Connection: close", length=None)),
    Row("ended by the connection's end, unannounced", head(length=None)),
    Row("chunks", chunked()),
    Row("chunks with a trailer", chunked("Trailer: X-Sum", trailers="X-Sum: 1\r\n")),
    Row("spaces around a length", head(length="Content-Length: \t {length} \t ")),
    Row("no space before a value", head(length="Content-Length:{length}")),
    Row("a field without a value", head("X-Empty:")),
    Row("a value on two lines", head("X-Folded: one", " two", "\tthree")),
    Row("Latin-1 in a value", head("X-City: K\xf6ln")),
    Row("UTF-8 in a value", head("X-City: K\xc3\xb6ln")),
    Row("bare line feeds", head(newline="\n")),
    Row("HTTP/2.0", head(line="HTTP/2.0 200 OK"), "error", BROKE),
    Row("no HTTP", head(line="ICY 200 OK"), "error", BROKE),
    Row("the same length twice", head("Content-Length: {length}"), "error", BROKE),
    Row("two lengths", head("Content-Length: 7"), "error", BROKE),
    Row("two lengths in one field", head(length="Content-Length: {length}, {length}"), "error", BROKE),
    Row("a negative length", head(length="Content-Length: -1"), "error", BROKE),
    Row("a length with a sign", head(length="Content-Length: +{length}"), "error", BROKE),
    Row("a length that is no number", head(length="Content-Length: many"), "error", BROKE),
    Row("a length beyond the body", head("Connection: close", length="Content-Length: 9999"), "error", BROKE),
    Row("a length and chunks", chunked("Content-Length: {length}"), "error", BROKE),
    Row("a space before a colon", head("X-Spaced : 1"), "error", BROKE),
    Row("a space before a length's colon", head(length="Content-Length : {length}"), "error", BROKE),
    Row("a field without a colon", head("X-Nothing"), "error", BROKE),
    Row("a field without a name", head(": 1"), "error", BROKE),
    Row("a NUL in a value", head("X-Nul: a\0b"), "error", BROKE),
    Row("a carriage return in a value", head("X-Return: a\rb"), "error", BROKE),
]


def job_status(job_id: str, status: int = 3, **fields: Any) -> dict[str, Any]:
    """Return what an answer about many jobs says of one."""
    now = datetime.now(UTC)
    return {
        "id": job_id,
        "status": status,
        "created_at": (now - timedelta(seconds=2)).isoformat(),
        "last_updated_at": now.isoformat(),
        "timestamp": now.timestamp(),
        "error_message": None,
    } | fields


@dataclass(frozen=True)
class Item:
    """
    What an answer about many jobs may say of one of them.

    :param make: Returns the items of the answer that are meant for the job of this id. All claim a success.
    :param is_read: Whether that is one; if not, the answer says nothing of the job, which is asked for alone.
    """

    name: str
    make: Callable[[str], list[Any]]
    is_read: bool = False


def said(**fields: Any) -> Callable[[str], list[Any]]:
    return lambda job_id: [job_status(job_id, **fields)]


def without(*fields: str) -> Callable[[str], list[Any]]:
    return lambda job_id: [{k: value for k, value in job_status(job_id).items() if k not in fields}]


ITEMS = [
    Item("no item", lambda _: []),
    Item("null", lambda _: [None]),
    Item("a text", lambda _: ["SUCCESS"]),
    Item("a list", lambda job_id: [[job_id, 3]]),
    Item("no id", without("id")),
    Item("a null id", said(id=None)),
    Item("an id that is a number", said(id=3)),
    Item("an id with a space", lambda job_id: [job_status(f"{job_id} ")]),
    Item("another job's id", lambda _: [job_status(OTHER_QUERY)]),
    Item("no status", without("status")),
    Item("a null status", said(status=None)),
    Item("a status that is a word", said(status="SUCCESS")),
    Item("a status that is a text", said(status="3")),
    Item("a status that is true", said(status=True)),
    Item("a status that is a fraction", said(status=3.0)),
    Item("a status that is a list", said(status=[3])),
    Item("an id in capitals", lambda job_id: [job_status(job_id.upper())], is_read=True),
    Item("two items", lambda job_id: [job_status(job_id)] * 2, is_read=True),
    Item(
        "no times and no error",
        without("created_at", "last_updated_at", "timestamp", "error_message"),
        is_read=True,
    ),
    Item(
        "times that are none",
        said(created_at=3, last_updated_at="soon", timestamp=1e300, error_message=""),
        is_read=True,
    ),
    Item("a clock a day ahead", said(timestamp=4e9, last_updated_at="2096-10-02T07:06:40Z"), is_read=True),
    Item("an end with an error text", said(error_message="one row was skipped"), is_read=True),
    Item("unknown fields", said(progress=0.5, detail={"status": 4}), is_read=True),
]
