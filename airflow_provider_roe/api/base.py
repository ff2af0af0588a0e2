"""
What all calls to Roe have in common, with no I/O: requests as data, how answers are read, and refusals.

Both transports use this module, so that a worker and a triggerer cannot read the same answer differently.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from functools import lru_cache
from os.path import commonprefix
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeGuard
from uuid import UUID

from airflow_provider_roe.exceptions import (
    RoeAuthenticationError,
    RoeError,
    RoeInputError,
    RoeNotFoundError,
    RoeRequestError,
    RoeUnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: An id that no query has: asking for it tells whether key and organization are accepted.
NIL_UUID = str(UUID(int=0))

#: Waits of a process for which what stays the same from poll to poll is kept.
MOST_WAITS = 16_384
#: Bytes of an answer that are read before it is given up as over-long.
MAX_BODY = 1024 * 1024

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_TRANSIENT_CODES = frozenset({408, 425, 429})
_ADVICE = {
    401: "Roe did not accept the API key: check the connection's API Key (password).",
    402: "The organization is out of credits.",
    403: "The API key has no access to this organization: check the connection's Organization ID (login)"
    " and the task's organization_id.",
}
_NOT_JSON = object()
_NOT_ROE = "This is not Roe's API: check the connection's Base URL (host)."


class State(Enum):
    """The meaning of a status for somebody who waits."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class File(Protocol):
    """A file to be sent, which is read anew each time."""

    @property
    def name(self) -> str:
        """Its name, without folders."""

    @property
    def size(self) -> int:
        """Its bytes."""

    def blocks(self) -> Iterator[bytes]:
        """Yield all of it, block by block."""


@dataclass(frozen=True, slots=True)
class Request:
    """
    A call to Roe, without its base URL and key.

    :param path: Safe to stand in a URL as it is, as are the params.
    :param about: The id of what it asks about, if anything.
    :param not_found: What to do when Roe knows nothing of that id.
    :param json: The body, sent as JSON.
    :param form: The body, sent as ``multipart/form-data``: texts and files by their names.
    :param headers: Those that this call has besides the ones of every call.
    :param repeatable: Whether sending it twice is the same as sending it once.
    """

    method: str
    path: str
    params: Mapping[str, str]
    about: str | None = None
    not_found: str = ""
    json: Mapping[str, Any] | None = None
    form: Mapping[str, str | File] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = True
    max_body: int = MAX_BODY


@dataclass(slots=True)
class Response:
    """
    An answer of Roe.

    :param body: At most the request's ``max_body`` bytes.
    :param overlong: Whether there was more.
    :param headers: By name, in any case.
    :param secret: The API key that was sent, and so may come back in any text.
    """

    status_code: int
    headers: Mapping[str, str]
    body: bytes
    request_id: str
    overlong: bool = False
    secret: str = field(default="", repr=False)

    def quote(self, text: str, limit: int = 2000) -> str:
        """Return text of the answer, fit to be told: without the API key, and clipped."""
        return clip(redact(text, self.secret), limit)

    def quote_start(self) -> str:
        """Return the start of the body, fit to be told; without its NULs, of which UTF-16 is half."""
        return self.quote(self.body[:1000].decode("utf-8", "replace").replace("\0", ""), 200)


def refuse_xcom(value: object, instead: str) -> NoReturn:
    """Refuse to become an XCom, which another task could not read."""
    # Airflow would store it, and then refuse to read it in the next task, for its class is not on the list
    # [core] allowed_deserialization_classes.
    raise RoeInputError(f"A {type(value).__name__} cannot be an XCom: let the task return {instead}.")


def uuid(value: object, field: str) -> str:
    """
    Return a UUID in its canonical form, so that it can stand in a URL's path.

    :param value: What the user gave: a string, or a :class:`uuid.UUID`.
    :param field: The argument or connection field it was given in, for the error.
    :raises RoeInputError: It is no UUID.
    """
    text = str(value).strip() if isinstance(value, str | UUID) else ""
    if _UUID.fullmatch(text):
        return text.lower()
    raise RoeInputError(f"{field} must be a UUID such as {NIL_UUID}, not {clip(repr(value), 100)}.")


def is_uuid(value: object) -> TypeGuard[str]:
    """Tell whether a value of an answer is a UUID."""
    return isinstance(value, str) and bool(_UUID.fullmatch(value))


def organization_params(organization_id: str | None) -> dict[str, str]:
    """Return the query string's part that names an organization, if any."""
    return {"organization_id": organization_id} if organization_id else {}


def check_code(request: Request, response: Response) -> None:
    """
    Make sure that Roe did what it was asked for.

    :raises RoeRequestError: Roe refused the request, or is busy or broken.
    """
    if not 200 <= response.status_code < 300:
        _refuse_code(request, response)


def read_json(request: Request, response: Response) -> Any:
    """
    Return the value of a success's body.

    :raises RoeRequestError: Roe refused the request.
    :raises RoeUnavailableError: Roe is busy or broken, or the body is over-long or no JSON.
    """
    check_code(request, response)
    if response.overlong:
        refuse_shape(request, response, f"within {request.max_body:,} bytes")
    try:
        return json.loads(response.body)
    except (ValueError, RecursionError) as e:
        refuse_text(request, response, e)


def refuse_text(request: Request, response: Response, error: Exception) -> NoReturn:
    """
    Refuse a body that is no JSON.

    :param error: What Python says of it.
    :raises RoeError: It begins as the result of this query, and is not cut off: another try would not help.
    :raises RoeUnavailableError: It may be anything.
    """
    start = response.body[:1000].decode("utf-8", "replace").lower()
    is_result = request.path.endswith("/result/") and f'"{request.about}"' in start
    if is_result and not _was_cut(error):
        raise unusable(request, response, f"it is no JSON ({response.quote(str(error), 200)})") from None
    refuse_shape(request, response, "JSON")


def _was_cut(error: Exception) -> bool:
    """Tell whether a text is no JSON, as far as Python says, because its end is missing."""
    match error:
        case json.JSONDecodeError():
            at_end = len(error.doc) - error.pos < len("Infinity")
            return error.msg.startswith("Unterminated") or (at_end and not error.msg.startswith("Extra"))
        case UnicodeDecodeError():
            return error.end == len(error.object)
    return False


def unusable(request: Request, response: Response, why: str) -> RoeError:
    """Return the error for a result that no other try would make better."""
    return RoeError(
        f"Roe's result of query {request.about} cannot be used: {why}. Run the query again; if it stays"
        f" so, tell Roe's support. Request id: {response.request_id}."
    )


def _parse(body: bytes) -> Any:
    """
    Return the value of a body in JSON, as Python reads it; or ``_NOT_JSON``.

    Python reads UTF-8, 16 and 32, with a byte order mark and without; NaN and Infinity; lone surrogates.
    """
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return _NOT_JSON


def refuse_shape(request: Request, response: Response, expected: str) -> NoReturn:
    """Refuse a success whose body is not what Roe documents: a proxy may have made it."""
    start = response.quote_start()
    cause = f"answered with {response.status_code} and a body that is not {expected}"
    raise RoeUnavailableError(
        f"{request.method} {request.path} was {cause}; it starts with {start!r}. {_NOT_ROE}",
        status_code=response.status_code,
        request_id=response.request_id,
        cause=cause,
        repeatable=request.repeatable,
    )


def _refuse_code(request: Request, response: Response) -> NoReturn:
    code = response.status_code
    text = error_message(response)
    message = f"{request.method} {request.path} was answered with {code}{f': {text}' if text else ''}"
    message = sentence(message)
    if code in _TRANSIENT_CODES or code >= 500:
        retry_after = read_retry_after(response.headers)
        busy = RoeUnavailableError(
            message,
            status_code=code,
            request_id=response.request_id,
            retry_after=retry_after,
            # With the latter two, Roe says that it did nothing.
            repeatable=request.repeatable or code == 429 or (code == 503 and retry_after is not None),
        )
        busy.reason = text or None
        raise busy
    error, advice = RoeRequestError, _ADVICE.get(code, "")
    if 300 <= code < 400:
        advice = f"Redirects are not followed, for the API key must not travel. {_NOT_ROE}"
    elif code == 401:
        error = RoeAuthenticationError
    elif code == 403 and "credit" in text.lower():
        advice = _ADVICE[402]
    elif code == 404 and _parse(response.body) is not _NOT_JSON:
        error, advice = RoeNotFoundError, request.not_found
    elif code == 404:
        advice = _NOT_ROE
    # What to do comes first: UIs cut messages off.
    refusal = error(f"{advice} {message}".strip(), status_code=code, request_id=response.request_id)
    refusal.reason = text or None
    raise refusal


def error_message(response: Response) -> str:
    """
    Find the message in an error's body, in whatever shape Roe, or a proxy in between, wrote it.

    Returns it cut to 2,000 characters and harmless to print; the body's start if it is no JSON; or "".
    """
    answer = _parse(response.body)
    if answer is _NOT_JSON:
        return response.quote_start()
    return response.quote(read_messages(answer))


def sentence(text: str) -> str:
    """Return a text with the full stop that it may lack."""
    return text if text.endswith((".", "!", "?", "…")) else f"{text}."


def read_messages(value: Any, depth: int = 4) -> str:
    """Return the messages in an error of whatever shape, as one text."""
    match value:
        case None:
            return ""
        case dict() | list() if depth == 0:
            return "…"
        case dict() if message := value.get("message") or value.get("detail") or value.get("error"):
            return read_messages(message, depth - 1)
        case dict():
            return "; ".join(f"{key}: {read_messages(item, depth - 1)}" for key, item in value.items())
        case list():
            return "; ".join(read_messages(item, depth - 1) for item in value)
    return str(value)


def redact(text: str, secret: str) -> str:
    """
    Return foreign text without the API key, also where that is escaped or cut off.

    It is for what is told: messages, logs, XComs. Never for rows: a key may be a word that they hold, too.

    :param text: What a server may have written.
    :param secret: The API key that it was sent.
    """
    for start, rests in _ways_to_write(secret).items():
        before, *after = text.split(start)
        text = "***".join([before, *(_without_start(piece, rests) for piece in after)])
    return text


def _without_start(text: str, starts: list[str]) -> str:
    return text[max(len(commonprefix([text, start])) for start in starts) :]  # noqa: RUF071 - of characters


@lru_cache(maxsize=16)
def _ways_to_write(secret: str) -> dict[str, list[str]]:
    """
    Return a text as it is, as in JSON, in a URL, and in HTML: by the first characters, what may follow them.

    Texts are cut to a length before they are looked at, so that a key's first characters stand for it.
    """
    from html import escape
    from urllib.parse import quote

    in_json, in_url = json.dumps(secret)[1:-1], quote(secret, safe="")
    in_lower_case = re.sub("%..", lambda code: code[0].lower(), in_url)
    ways: dict[str, list[str]] = {}
    for way in (escape(secret), in_url, in_lower_case, in_json.replace("/", "\\/"), in_json, secret):
        if way:
            ways.setdefault(way[:8], []).append(way[8:])
    return ways


def clip(text: str, limit: int = 2000) -> str:
    """Make foreign text fit for a log: one line of printable characters, at most ``limit`` of them."""
    text = text[: 4 * limit]
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in text)
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def read_retry_after(headers: Mapping[str, str]) -> float | None:
    """
    Return the seconds of a ``Retry-After`` header, which gives them as such or as an HTTP date.

    A date is compared with the server's own ``Date``, where it sent one: clocks differ. None if there is no
    such header or it cannot be read.
    """
    value = headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", value):
        return float(value)
    until = _http_date(value)
    if until is None:
        return None
    now = _http_date(headers.get("date", "")) or datetime.now(UTC)
    return max((until - now).total_seconds(), 0.0)


def _http_date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def read_time(value: Any) -> datetime | None:
    """Return a time of RFC 3339; None for anything else, for no wait shall fail for a time."""
    try:
        moment = datetime.fromisoformat(value)
    except (ValueError, TypeError):
        return None
    if ":" not in value:  # a day is no time
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def read_number(value: Any) -> float | None:
    """Return a number of an answer; None for anything else."""
    return float(value) if isinstance(value, int | float) and abs(value) < 1e15 else None
