import asyncio
import json
import math
import random
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from http import HTTPStatus
from typing import Any, Literal, NoReturn

from aiohttp import web

from airflow_provider_roe.testing.recording import RecordedRequest

_CALLS = (
    "submit",
    "status",
    "result",
    "run",
    "run_agent",
    "run_agent_many",
    "job_status",
    "job_statuses",
    "job_result",
    "job_results",
    "cancel_job",
    "other",
)
#: Calls that name one query or one job in their path
_NAMING = {"query_id": ("status", "result"), "job_id": ("job_status", "job_result", "cancel_job")}
_LENGTH = re.compile(rb"^(content-length|transfer-encoding)", re.IGNORECASE | re.MULTILINE)
_CLOSE = re.compile(rb"^connection:\s*close", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Fault:
    """
    Something that goes wrong between a client and Roe.

    It asks for one of ``status_code``, ``head``, ``reset``, ``hang``, ``drip``, ``truncate``, ``oversize``,
    ``gzip``. Only two pairs go together: ``oversize`` and ``gzip`` (a compressed answer that is huge when
    unpacked), ``status_code`` and ``head`` (the head of another answer). ``interim`` goes with any, ``delay``
    with any but ``hang``, and both do alone.

    Whether the server carried out the request all the same matters to a submit. It did where its own answer
    comes, late or damaged: with ``interim`` and ``delay`` alone, ``head``, ``reset="body"``, ``drip``,
    ``truncate``, ``oversize`` and ``gzip``. Where another answer is sent or none, it did only if ``executed``
    is true: with ``status_code``, ``reset="before"`` and ``hang``.

    :param call: the call that it meets: submit, status, result or run of queries; run_agent, run_agent_many,
        job_status, job_statuses, job_result, job_results or cancel_job of agents; or other. Default: any.
    :param query_id: the query whose status and result calls it meets. Default: any.
    :param job_id: the job whose own calls it meets: job_status, job_result and cancel_job. Default: any.
    :param times: how many requests it meets. Default: until it is cleared.
    :param seconds: for how many seconds after it was added it is there. Default: until it is cleared.
    :param probability: share of the requests that it meets, 0 to 1. Default: 1.
    :param status_code: answers with this HTTP status, 200 to 599.
    :param headers: headers of that answer.
    :param body: body of that answer: str and bytes are sent as they are, anything else as JSON.
        Default: what Django REST Framework says for the status code.
    :param content_type: content type of that answer. Default: ``text/html`` for str and bytes, else JSON.
    :param retry_after: its Retry-After header: seconds, or a datetime for the HTTP date form.
    :param head: sent as it is (a str in Latin-1) in place of the answer's own head: all from the status line
        to the empty line that ends it. ``{length}`` in it stands for the number of bytes in the body. The
        connection is closed afterwards if it says ``Connection: close``, or gives neither ``Content-Length``
        nor ``Transfer-Encoding``.
    :param interim: status codes, 100 to 199, of interim answers that come before the answer and its delay.
    :param reset: resets the TCP connection, ``"before"`` the first byte of the answer or in the middle of its
        ``"body"``.
    :param hang: never answers; the connection stays open until the client or the simulator goes away.
    :param delay: seconds until the answer starts.
    :param drip: seconds between any two bytes of the answer's body.
    :param truncate: closes the connection in an orderly way in the middle of the body.
    :param oversize: pads the answer with spaces to this many bytes (JSON stays valid JSON).
    :param gzip: compresses the answer, whether or not the client accepts that.
    :param executed: carries out the request although the client gets another answer or none. Default: False.
    """

    call: str | None = None
    query_id: str | None = None
    job_id: str | None = None
    times: int | None = None
    seconds: float | None = None
    probability: float = 1.0

    status_code: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    content_type: str | None = None
    retry_after: float | datetime | None = None
    head: str | bytes | None = None
    interim: Sequence[int] = ()
    reset: Literal["before", "body"] | None = None
    hang: bool = False
    delay: float = 0
    drip: float = 0
    truncate: bool = False
    oversize: int = 0
    gzip: bool = False
    executed: bool = False

    def __post_init__(self) -> None:
        def check(name: str, valid: bool, expected: str) -> None:
            if not valid:
                raise ValueError(f"{name} must be {expected}, not {getattr(self, name)!r}")

        check("call", self.call is None or self.call in _CALLS, f"one of {', '.join(_CALLS)}")
        for name in _NAMING:
            check(name, isinstance(getattr(self, name), str | None), "a string")
        check("times", self.times is None or _is_number(self.times, int, 1), "a positive whole number")
        check("seconds", self.seconds is None or _is_number(self.seconds), "a number of seconds")
        check("probability", _is_number(self.probability) and self.probability <= 1, "a number from 0 to 1")
        check(
            "status_code",
            self.status_code is None or (_is_number(self.status_code, int, 200) and self.status_code < 600),
            "an HTTP status from 200 to 599",
        )
        check(
            "headers",
            isinstance(self.headers, Mapping)
            and all(isinstance(x, str) and x.isprintable() for pair in self.headers.items() for x in pair),
            "a mapping of printable strings",
        )
        check("content_type", isinstance(self.content_type, str | None), "a string")
        if isinstance(self.retry_after, datetime):
            check("retry_after", self.retry_after.tzinfo is not None, "a datetime with a time zone")
        else:
            check(
                "retry_after",
                self.retry_after is None or _is_number(self.retry_after),
                "seconds or a datetime",
            )
        check(
            "head",
            isinstance(self.head, bytes | None) or (isinstance(self.head, str) and _is_latin_1(self.head)),
            "a string of Latin-1, or bytes",
        )
        check(
            "interim",
            isinstance(self.interim, list | tuple)
            and all(_is_number(code, int, 100) and code < 200 for code in self.interim),
            "a list of HTTP statuses from 100 to 199",
        )
        check("reset", self.reset in (None, "before", "body"), "'before' or 'body'")
        for name in ("delay", "drip"):
            check(name, _is_number(getattr(self, name)), "a number of seconds")
        check("oversize", _is_number(self.oversize, int), "a number of bytes")
        for name in ("hang", "truncate", "gzip", "executed"):
            check(name, isinstance(getattr(self, name), bool), "true or false")
        self._check_combination()

    def _check_combination(self) -> None:
        kinds = ("status_code", "head", "reset", "hang", "drip", "truncate", "oversize", "gzip")
        wanted = [kind for kind in kinds if getattr(self, kind)]
        if len(wanted) > 1 and wanted not in (["status_code", "head"], ["oversize", "gzip"]):
            raise ValueError(f"{' and '.join(wanted)} do not go together")
        if not wanted and not self.delay and not self.interim:
            raise ValueError(f"nothing to do: expected one of {', '.join(kinds)}, interim or delay")
        if self.delay and self.hang:
            raise ValueError("delay and hang do not go together")
        for name in ("headers", "content_type", "retry_after", "body"):
            if getattr(self, name) in (None, {}):
                continue
            if self.status_code is None:
                raise ValueError(f"{name} needs a status_code")
            if self.head and name != "body":
                raise ValueError(f"head and {name} do not go together")
        for name, calls in _NAMING.items():
            if getattr(self, name) is not None and self.call not in (None, *calls):
                raise ValueError(f"a {self.call} call has no {name}")
        if self.query_id is not None and self.job_id is not None:
            raise ValueError("query_id and job_id do not go together")
        if not isinstance(self.body, bytes):
            _encode(self.body)

    @property
    def executes(self) -> bool:
        """Whether the server carries out the request that meets this fault."""
        return self.executed or not (self.status_code or self.hang or self.reset == "before")

    def answer(self) -> web.Response:
        """Return the answer that stands in for the server's own; only with a ``status_code``."""
        assert self.status_code is not None  # noqa: S101
        is_text = isinstance(self.body, str | bytes)
        headers = {"Content-Type": self.content_type or ("text/html" if is_text else "application/json")}
        if isinstance(self.retry_after, datetime):
            headers["Retry-After"] = format_datetime(self.retry_after.astimezone(UTC), usegmt=True)
        elif self.retry_after is not None:
            headers["Retry-After"] = str(self.retry_after).removesuffix(".0")
        body = _default_body(self.status_code, headers) if self.body is None else self.body
        return web.Response(status=self.status_code, headers=headers | {**self.headers}, body=_encode(body))


class Faults:
    """The faults of one simulator. The first one added that fits a request meets it."""

    def __init__(self) -> None:
        self._active: list[_Active] = []
        self._lock = threading.Lock()

    def add(self, *faults: Fault) -> None:
        """Add faults behind those that are there."""
        with self._lock:
            self._active += map(_Active, faults)

    def clear(self) -> None:
        """Remove all faults."""
        with self._lock:
            self._active.clear()

    def take(self, record: RecordedRequest) -> Fault | None:
        """Return the fault that a request meets, counting it."""
        with self._lock:
            self._active = [active for active in self._active if not active.is_spent()]
            for active in self._active:
                fault = active.fault
                if (
                    fault.call in (None, record.call)
                    and fault.query_id in (None, record.query_id)
                    and fault.job_id in (None, record.job_id)
                    and random.random() < fault.probability  # noqa: S311
                ):
                    active.met += 1
                    return fault
        return None


@dataclass
class _Active:
    fault: Fault
    met: int = 0
    since: float = field(default_factory=time.monotonic)

    def is_spent(self) -> bool:
        fault = self.fault
        return (fault.times is not None and self.met >= fault.times) or (
            fault.seconds is not None and time.monotonic() - self.since >= fault.seconds
        )


async def deliver(
    request: web.BaseRequest, answer: web.Response | None, fault: Fault | None, record: RecordedRequest
) -> web.StreamResponse:
    """
    Send an answer, in the way that a fault leaves it.

    :param request: the request.
    :param answer: the server's own answer; None if the request was not carried out.
    :param fault: what goes wrong, if anything.
    :param record: gets the status code when the answer is complete.
    :return: the answer that was sent.
    """
    if fault is not None:
        for status_code in fault.interim:
            _write(request, f"HTTP/1.1 {status_code} {_phrase(status_code)}\r\n\r\n".encode())
        await asyncio.sleep(fault.delay)
        if fault.hang:
            await _until_the_connection_is_gone()
        if fault.reset == "before":
            await _reset(request)
        if fault.status_code is not None:
            answer = fault.answer()
    assert answer is not None  # noqa: S101
    if fault is not None and (fault.reset or fault.truncate or fault.drip):
        return await _deliver_in_pieces(request, answer, fault, record)
    if fault is not None and fault.head:
        return _deliver_with_head(request, answer, fault.head, record)
    if fault is not None and fault.oversize:
        answer.body = _bytes_of(answer).ljust(fault.oversize)
    if fault is not None and fault.gzip:
        answer.enable_compression(web.ContentCoding.gzip)
    with _answered(record, answer.status):
        await answer.prepare(request)
        await answer.write_eof()
    return answer


class _Delivered(web.StreamResponse):
    """An answer that was sent without aiohttp, which would write no such head."""

    def __init__(self, stays_open: bool) -> None:
        super().__init__()
        self._stays_open = stays_open

    async def prepare(self, request: web.BaseRequest) -> None:
        """Send nothing."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Send nothing."""

    @property
    def keep_alive(self) -> bool:
        """Whether another request may follow on the connection."""
        return self._stays_open


def _deliver_with_head(
    request: web.BaseRequest, answer: web.Response, head: str | bytes, record: RecordedRequest
) -> web.StreamResponse:
    body = _bytes_of(answer)
    sent = (head.encode("latin-1") if isinstance(head, str) else head).replace(b"{length}", b"%d" % len(body))
    record.status_code = answer.status
    _write(request, sent + body)
    is_last = _CLOSE.search(sent) or not _LENGTH.search(sent)
    return _Delivered(request.keep_alive and not is_last)


async def _deliver_in_pieces(
    request: web.BaseRequest, answer: web.Response, fault: Fault, record: RecordedRequest
) -> web.StreamResponse:
    body = _bytes_of(answer)
    stream = web.StreamResponse(status=answer.status, headers=answer.headers)
    stream.content_length = len(body)
    await stream.prepare(request)
    if not fault.drip:
        await stream.write(body[: max(1, len(body) // 2)])
        if fault.reset:
            await _reset(request)
        if request.transport is not None:
            request.transport.close()
        await _until_the_connection_is_gone()
    for i in range(len(body) - 1):
        await stream.write(body[i : i + 1])
        await asyncio.sleep(fault.drip)
    with _answered(record, stream.status):
        await stream.write_eof(body[-1:])
    return stream


@contextmanager
def _answered(record: RecordedRequest, status_code: int) -> Iterator[None]:
    # Noted before the last byte leaves: a test may look at the record as soon as its client has that byte.
    record.status_code = status_code
    try:
        yield
    except BaseException:
        record.status_code = None
        raise


async def _reset(request: web.BaseRequest) -> NoReturn:
    if request.transport is not None:
        # Closing with a linger time of zero makes the kernel send RST instead of FIN.
        sock: socket.socket = request.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()
    await _until_the_connection_is_gone()


async def _until_the_connection_is_gone() -> NoReturn:
    # The server cancels the handler of a lost connection.
    await asyncio.get_running_loop().create_future()
    raise AssertionError("unreachable")


def _write(request: web.BaseRequest, data: bytes) -> None:
    if request.transport is not None:
        request.transport.write(data)


def _bytes_of(answer: web.Response) -> bytes:
    assert isinstance(answer.body, bytes)  # noqa: S101
    return answer.body


def _default_body(status_code: int, headers: Mapping[str, str]) -> object:
    if status_code == HTTPStatus.TOO_MANY_REQUESTS:
        wait = headers.get("Retry-After", "")
        hint = f" Expected available in {wait} seconds." if wait.isdigit() else ""
        return {"detail": f"Request was throttled.{hint}"}
    if status_code in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
        return b""
    return {"detail": f"{_phrase(status_code) or f'Error {status_code}'}."}


def _phrase(status_code: int) -> str:
    try:
        return HTTPStatus(status_code).phrase
    except ValueError:
        return ""


def _is_latin_1(text: str) -> bool:
    return all(character <= "\xff" for character in text)


def _encode(body: object) -> bytes:
    if isinstance(body, bytes):
        return body
    try:
        return (body if isinstance(body, str) else json.dumps(body)).encode()
    except (TypeError, ValueError, RecursionError) as e:
        raise ValueError(f"body cannot be sent: {e}") from e


def _is_number(value: object, kind: type = object, least: float = 0) -> bool:
    return (
        isinstance(value, int | float)
        and isinstance(value, kind)
        and not isinstance(value, bool)
        and math.isfinite(value)
        and value >= least
    )
