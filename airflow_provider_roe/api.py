"""
The Roe query API with no I/O: requests are data, responses are read by one function a call.

Both transports use this module, so that a worker and a triggerer cannot read the same answer differently.
Facts come from Roe's OpenAPI description (https://docs.roe-ai.com). Where it is silent, so on the values of
``status``, they are those of Roe's documented sibling endpoints and of Celery, which runs Roe's queries.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from functools import lru_cache
from os.path import commonprefix
from typing import TYPE_CHECKING, Any, NoReturn, TypeGuard
from uuid import UUID

from airflow_provider_roe.exceptions import (
    RoeAuthenticationError,
    RoeError,
    RoeInputError,
    RoeNotFoundError,
    RoeQueryFailedError,
    RoeRequestError,
    RoeUnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_BASE_URL = "https://api.roe-ai.com"

#: An id that no query has: asking for it tells whether key and organization are accepted.
NIL_UUID = str(UUID(int=0))

RUNNING_STATUSES = frozenset({"PENDING", "RECEIVED", "QUEUED", "STARTED", "RUNNING", "RETRY"})
SUCCESS_STATUSES = frozenset({"SUCCESS", "SUCCEEDED", "CACHED", "COMPLETED"})
FAILURE_STATUSES = frozenset(
    {"FAILURE", "FAILED", "ERROR", "REVOKED", "REJECTED", "IGNORED", "CANCELLED", "CANCELED"}
)

#: Bytes of an answer that are read before it is given up as over-long.
MAX_BODY = 1024 * 1024
MAX_RESULT_BODY = 64 * 1024 * 1024

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_TRANSIENT_CODES = frozenset({408, 425, 429})
_ADVICE = {
    401: "Roe did not accept the API key: check the connection's API Key (password).",
    402: "The organization is out of credits.",
    403: "The API key has no access to this organization: check the connection's Organization ID (login)"
    " and the task's organization_id.",
    404: "Roe knows no such query in this organization: check query_id and organization_id.",
}
_NOT_JSON = object()
_ABSENT = object()
_NOT_ROE = "This is not Roe's query API: check the connection's Base URL (host)."


class QueryState(Enum):
    """What a status means for somebody who waits."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Request:
    """
    A call to Roe, without its base URL and key.

    :param path: Safe to stand in a URL as it is, as are the params.
    :param query_id: The query that it asks about, if any.
    """

    method: str
    path: str
    params: Mapping[str, str]
    query_id: str | None = None
    json: Mapping[str, Any] | None = None
    max_body: int = MAX_BODY

    @property
    def repeatable(self) -> bool:
        """Whether sending it twice is the same as sending it once."""
        return self.method == "GET"


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class QueryStatus:
    """
    How far a query is.

    :param query_id: The *worksheet query id* that names the query in every call.
    :param status: Roe's own word.
    :param state: What it means.
    :param known: Whether the status is one that Roe, or the connection, names.
    :param error: Roe's error text, cut to 2,000 characters. May be set while the query is retried.
    :param created_at: When the query was submitted; None if unknown.
    :param finished_at: When it ended; None while it runs or if unknown.
    :param request_id: The ``X-Request-ID`` of the request that was answered so.
    """

    query_id: str
    status: str
    state: QueryState
    known: bool = True
    error: str | None = None
    created_at: datetime | None = None
    finished_at: datetime | None = None
    request_id: str | None = field(default=None, compare=False)

    @property
    def ended_unknown(self) -> bool:
        """Whether only a finishing time says that the query ended, with a status that nobody knows."""
        return self.state is QueryState.FAILED and not self.known

    @property
    def duration(self) -> float | None:
        """Seconds from submission to end; None if either is unknown."""
        if self.created_at is None or self.finished_at is None:
            return None
        return max((self.finished_at - self.created_at).total_seconds(), 0.0)

    def as_dict(self) -> dict[str, Any]:
        """Return the plain value that sensors push as XCom: times in RFC 3339, seconds as float."""
        return {
            "query_id": self.query_id,
            "status": self.status,
            "error": self.error,
            "created_at": self.created_at and self.created_at.isoformat(),
            "finished_at": self.finished_at and self.finished_at.isoformat(),
            "duration": self.duration,
        }

    def serialize(self) -> NoReturn:
        """Refuse to become an XCom, when Airflow asks for one."""
        _refuse_xcom(self, "its as_dict()")


@dataclass(frozen=True, slots=True)
class SubmittedQuery:
    """A query that Roe has accepted. ``worksheet_id`` and ``status`` are None where Roe does not tell."""

    query_id: str
    worksheet_id: str | None = None
    status: str | None = None

    def serialize(self) -> NoReturn:
        """Refuse to become an XCom, when Airflow asks for one."""
        _refuse_xcom(self, "its query_id")


@dataclass(frozen=True, slots=True)
class StatementResult:
    """
    The rows of one statement.

    :param column_types: ClickHouse type names, such as ``Nullable(Float64)``.
    :param rows: Cells as Roe sends them, in whichever way JSON can say them: mostly as strings.
    :param start_timestamp: Unix time in seconds.
    :param end_timestamp: Unix time in seconds.
    :param summary: ClickHouse's counters: ``read_rows``, ``read_bytes``, ``elapsed_ns``, …
    """

    query: str
    row_count: int
    column_names: tuple[str, ...]
    column_types: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    start_timestamp: float | None = None
    end_timestamp: float | None = None
    summary: Mapping[str, Any] = field(default_factory=dict)

    def serialize(self) -> NoReturn:
        """Refuse to become an XCom, when Airflow asks for one."""
        _refuse_xcom(self, "its rows, or those that RoeHook.run returns")


@dataclass(frozen=True, slots=True)
class QueryResult:
    """
    The result of a query that has succeeded: an entry in ``results`` for each of its statements.

    :param status: Roe's own word for the success.
    :param error: What Roe says beside it, cut to 2,000 characters; None if nothing.
    """

    query_id: str
    status: str
    error: str | None
    results: tuple[StatementResult, ...]

    def serialize(self) -> NoReturn:
        """Refuse to become an XCom, when Airflow asks for one."""
        _refuse_xcom(self, "the rows of its results, or those that RoeHook.run returns")


def _refuse_xcom(value: object, instead: str) -> NoReturn:
    # Airflow would store it, and then refuse to read it in the next task, for its class is not on the list
    # [core] allowed_deserialization_classes.
    raise RoeInputError(f"A {type(value).__name__} cannot be an XCom: let the task return {instead}.")


# Requests


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


def _is_uuid(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and bool(_UUID.fullmatch(value))


def status_request(query_id: object, organization_id: str | None) -> Request:
    """Ask how far a query is."""
    return _query_request("status", query_id, organization_id, MAX_BODY)


def result_request(query_id: object, organization_id: str | None) -> Request:
    """Ask for a query's rows."""
    return _query_request("result", query_id, organization_id, MAX_RESULT_BODY)


def submit_request(
    sql: str, organization_id: str | None, *, worksheet_id: object = None, use_admin: bool = False
) -> Request:
    """Submit SQL, to be run by and by."""
    if not isinstance(sql, str) or not sql.strip():
        raise RoeInputError(f"sql must be a query's text, not {clip(repr(sql), 100)}.")
    if organization_id is None and worksheet_id is None:
        raise RoeInputError(
            "A query needs an organization or a worksheet to run in: set the connection's Organization ID"
            " (login), or pass organization_id or worksheet_id."
        )
    params = dict(_organization(organization_id))
    body: dict[str, Any] = {"query": sql, "use_admin": use_admin}
    if worksheet_id is not None:
        body["worksheet_id"] = params["worksheet_id"] = uuid(worksheet_id, "worksheet_id")
    return Request("POST", "/v1/database/query/async/", params, json=body)


def _query_request(call: str, query_id: object, organization_id: str | None, max_body: int) -> Request:
    query_id = uuid(query_id, "query_id")
    path = f"/v1/database/query/{query_id}/{call}/"
    return Request("GET", path, _organization(organization_id), query_id, max_body=max_body)


def _organization(organization_id: str | None) -> dict[str, str]:
    return {"organization_id": organization_id} if organization_id else {}


# Responses


def classify(
    status: str,
    *,
    finished: bool,
    success_statuses: frozenset[str] = frozenset(),
    failure_statuses: frozenset[str] = frozenset(),
) -> tuple[QueryState, bool]:
    """
    Say what a status means, and whether it is one that is known.

    An unknown status of a query that has a finishing time is its end, and never a success; without one the
    query is taken to run.

    :param status: Roe's word, in any case and with any surrounding space.
    :param finished: Whether Roe gave a time at which the query finished.
    :param success_statuses: Upper-case words that this deployment uses for success, too.
    :param failure_statuses: Upper-case words that this deployment uses for failure, too.
    """
    word = status.strip().upper()
    if word in SUCCESS_STATUSES or word in success_statuses:
        return QueryState.SUCCEEDED, True
    if word in FAILURE_STATUSES or word in failure_statuses:
        return QueryState.FAILED, True
    if word in RUNNING_STATUSES:
        return QueryState.RUNNING, True
    return (QueryState.FAILED if finished else QueryState.RUNNING), False


def read_status(
    request: Request,
    response: Response,
    *,
    success_statuses: frozenset[str] = frozenset(),
    failure_statuses: frozenset[str] = frozenset(),
) -> QueryStatus:
    """
    Read the answer to :func:`status_request`.

    :raises RoeRequestError: Roe refused the request.
    :raises RoeUnavailableError: Roe is busy or broken, or the answer is not what Roe documents.
    """
    answer = _read_json(request, response)
    match answer:
        case {"worksheet_query_id": str(query_id), "status": str(status)} if (
            query_id := query_id.lower()
        ) == request.query_id and status.strip():
            finished_at = answer.get("finished_at")
            state, known = classify(
                status,
                finished=bool(finished_at),
                success_statuses=success_statuses,
                failure_statuses=failure_statuses,
            )
            return QueryStatus(
                query_id=query_id,
                status=clip(status, 100) if known else response.quote(status, 100),
                state=state,
                known=known,
                error=response.quote(_messages(answer.get("error"))) or None,
                created_at=_time(answer.get("created_at")),
                finished_at=_time(finished_at),
                request_id=response.request_id,
            )
    _refuse_shape(request, response, "the status of this query")


def read_submitted(request: Request, response: Response) -> SubmittedQuery:
    """
    Read the answer to :func:`submit_request`; raises as :func:`read_status` does.

    Older deployments answer with the bare id.
    """
    match _read_json(request, response):
        case str(query_id) if _UUID.fullmatch(query_id):
            return SubmittedQuery(query_id.lower())
        case {"id": str(query_id), **rest} if _UUID.fullmatch(query_id):
            worksheet, status = rest.get("worksheet"), rest.get("query_task_status")
            worksheet_id = worksheet.get("id") if isinstance(worksheet, dict) else None
            return SubmittedQuery(
                query_id.lower(),
                worksheet_id=worksheet_id.lower() if _is_uuid(worksheet_id) else None,
                status=response.quote(status, 100) if isinstance(status, str) else None,
            )
    _refuse_shape(request, response, "a submitted query")


def read_result(request: Request, response: Response, **statuses: frozenset[str]) -> QueryResult:
    """
    Read the answer to :func:`result_request`.

    :param statuses: ``success_statuses`` and ``failure_statuses``, as :func:`read_status` takes them.
    :raises RoeRequestError: Roe refused the request.
    :raises RoeUnavailableError: Roe is busy or broken, the answer is not the result of this query, or the
        result says that the query has not ended.
    :raises RoeQueryFailedError: The result says that the query has failed.
    :raises RoeError: The result is this query's, and not what Roe documents.
    """
    result = read_parsed_result(request, response, _read_json(request, response), **statuses)
    for number, statement in enumerate(result.results, 1):
        check_rows(request, response, number, statement, Counter(map(len, statement.rows)))
    return result


def read_parsed_result(
    request: Request,
    response: Response,
    answer: Any,
    *,
    success_statuses: frozenset[str] = frozenset(),
    failure_statuses: frozenset[str] = frozenset(),
) -> QueryResult:
    """
    Do as :func:`read_result` does, without a look at the rows' number and width: see :func:`check_rows`.

    A result has no finishing time: an unknown status is not the query's end, and so no success.

    :param response: Where the answer is from: its body need hold no more than the start.
    :param answer: The value of the body, which may be without the rows.
    """
    if not _is_of(request, answer):
        _refuse_shape(request, response, "the result of this query")
    status = answer.get("status")
    if not isinstance(status, str) or not status.strip():
        raise _misshapen(request, response, "status", "a word", answer.get("status", _ABSENT))
    state, known = classify(
        status, finished=False, success_statuses=success_statuses, failure_statuses=failure_statuses
    )
    word = clip(status, 100) if known else response.quote(status, 100)
    error = response.quote(_messages(answer.get("error"))) or None
    if state is QueryState.RUNNING:
        raise _not_ended(request, response, word, known, error)
    if state is QueryState.FAILED:
        message = _sentence(
            f"Query {request.query_id} ended as {word}, says its result: {error or 'Roe gave no reason'}"
        )
        raise RoeQueryFailedError(f"{message} Request id: {response.request_id}.")
    results = answer.get("results", _ABSENT)
    if not isinstance(results, list):
        raise _misshapen(request, response, "results", f"a list, for its status is {word}", results)
    statements = [
        _read_statement(request, response, number, value) for number, value in enumerate(results, 1)
    ]
    return QueryResult(answer["worksheet_query_id"].lower(), word, error, tuple(statements))


def _is_of(request: Request, answer: Any) -> bool:
    match answer:
        case {"worksheet_query_id": str(query_id)}:
            return query_id.lower() == request.query_id
    return False


def _not_ended(
    request: Request, response: Response, word: str, known: bool, error: str | None
) -> RoeUnavailableError:
    kind = f"answered with a result that says that its query is still {word}"
    message = _sentence(
        f"{request.method} {request.path} was {kind}, although a result is asked for once the query has"
        f" succeeded{f': {error}' if error else ''}"
    )
    if known:
        message += " Wait for the query's end first; if it has ended, tell Roe's support."
    else:
        message += " If this status means success, name it in the connection's extra.success_statuses."
    return RoeUnavailableError(
        message, status_code=response.status_code, request_id=response.request_id, kind=kind
    )


def _read_statement(request: Request, response: Response, number: int, value: Any) -> StatementResult:
    def refuse(name: str, expected: str, found: Any) -> NoReturn:
        raise _misshapen(request, response, f"{name} of statement {number}", expected, found)

    if not isinstance(value, dict):
        raise _misshapen(request, response, f"statement {number}", "an object", value)
    row_count = value.get("row_count", _ABSENT)
    if not isinstance(row_count, int) or isinstance(row_count, bool) or row_count < 0:
        refuse("row_count", "a whole number, 0 or more", row_count)
    lists = {name: value.get(name, _ABSENT) for name in ("column_names", "column_types", "result_rows")}
    for name, found in lists.items():
        if not isinstance(found, list):
            refuse(name, "a list", found)
    names, types, rows = lists.values()
    for name, texts in (("column_names", names), ("column_types", types)):
        for text in texts:
            if not isinstance(text, str):
                refuse(name, "a list of strings", text)
    if len(types) != len(names):
        refuse("column_types", f"a list of {len(names)}, as there are column_names", types)
    for row in rows:
        if not isinstance(row, list):
            refuse("a row", f"a list of {len(names)} cells", row)
    summary = value.get("summary")
    return StatementResult(
        query=str(value.get("query", "")),
        row_count=row_count,
        column_names=tuple(names),
        column_types=tuple(types),
        rows=tuple(map(tuple, rows)),
        start_timestamp=_number(value.get("start_timestamp")),
        end_timestamp=_number(value.get("end_timestamp")),
        summary=summary if isinstance(summary, dict) else {},
    )


def check_rows(
    request: Request, response: Response, number: int, statement: StatementResult, widths: Mapping[int, int]
) -> None:
    """
    Make sure that the rows of a statement are all there, and each is whole.

    :param number: Which of the query's statements it is, from 1.
    :param widths: How many rows there are of each number of cells.
    :raises RoeError: They are not.
    """
    width = len(statement.column_names)
    for found in widths:
        if found != width or not width:
            raise _misshapen(
                request, response, f"a row of statement {number}", f"a list of {width} cells", [None] * found
            )
    held = sum(widths.values())
    if width and held < statement.row_count:
        raise _unusable(
            request,
            response,
            f"it holds {held:,} of the {statement.row_count:,} rows of statement {number}",
        )


def _misshapen(request: Request, response: Response, name: str, expected: str, found: Any) -> RoeError:
    """Return the error for a result that is this query's and in which something is not as documented."""
    match found:
        case _ if found is _ABSENT:
            shown = "missing"
        case str():
            shown = repr(response.quote(found, 100))
        case list():
            shown = f"a list of {len(found):,}"
        case dict():
            shown = "an object"
        case _:
            shown = response.quote(json.dumps(found), 100)
    return _unusable(request, response, f"{name} must be {expected}, and is {shown}")


def _unusable(request: Request, response: Response, why: str) -> RoeError:
    return RoeError(
        f"Roe's result of query {request.query_id} cannot be used: {why}. Run the query again; if it stays"
        f" so, tell Roe's support. Request id: {response.request_id}."
    )


def check_code(request: Request, response: Response) -> None:
    """
    Make sure that Roe did what it was asked for.

    :raises RoeRequestError: Roe refused the request, or is busy or broken.
    """
    if not 200 <= response.status_code < 300:
        _refuse_code(request, response)


def _read_json(request: Request, response: Response) -> Any:
    check_code(request, response)
    if response.overlong:
        _refuse_shape(request, response, f"within {request.max_body:,} bytes")
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
    is_result = request.path.endswith("/result/") and f'"{request.query_id}"' in start
    if is_result and not _was_cut(error):
        raise _unusable(request, response, f"it is no JSON ({response.quote(str(error), 200)})") from None
    _refuse_shape(request, response, "JSON")


def _was_cut(error: Exception) -> bool:
    """Tell whether a text is no JSON, as far as Python says, because its end is missing."""
    match error:
        case json.JSONDecodeError():
            at_end = len(error.doc) - error.pos < len("Infinity")
            return error.msg.startswith("Unterminated") or (at_end and not error.msg.startswith("Extra"))
        case UnicodeDecodeError():
            return error.end == len(error.object)
    return False


def _parse(body: bytes) -> Any:
    """
    Return the value of a body in JSON, as Python reads it; or ``_NOT_JSON``.

    Python reads UTF-8, 16 and 32, with a byte order mark and without; NaN and Infinity; lone surrogates.
    """
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return _NOT_JSON


def _refuse_shape(request: Request, response: Response, expected: str) -> NoReturn:
    start = response.quote_start()
    kind = f"answered with {response.status_code} and a body that is not {expected}"
    raise RoeUnavailableError(
        f"{request.method} {request.path} was {kind}; it starts with {start!r}. {_NOT_ROE}",
        status_code=response.status_code,
        request_id=response.request_id,
        kind=kind,
        repeatable=request.repeatable,
    )


def _refuse_code(request: Request, response: Response) -> NoReturn:
    code = response.status_code
    text = error_message(response)
    message = f"{request.method} {request.path} was answered with {code}{f': {text}' if text else ''}"
    message = _sentence(message)
    if code in _TRANSIENT_CODES or code >= 500:
        retry_after = read_retry_after(response.headers)
        raise RoeUnavailableError(
            message,
            status_code=code,
            request_id=response.request_id,
            retry_after=retry_after,
            # With the latter two, Roe says that it did nothing.
            repeatable=request.repeatable or code == 429 or (code == 503 and retry_after is not None),
        )
    error, advice = RoeRequestError, _ADVICE.get(code, "")
    if 300 <= code < 400:
        advice = f"Redirects are not followed, for the API key must not travel. {_NOT_ROE}"
    elif code == 401:
        error = RoeAuthenticationError
    elif code == 404 and _parse(response.body) is not _NOT_JSON:
        error = RoeNotFoundError
    elif code == 404:
        advice = _NOT_ROE
    # What to do comes first: UIs cut messages off.
    raise error(f"{advice} {message}".strip(), status_code=code, request_id=response.request_id)


def error_message(response: Response) -> str:
    """
    Find the message in an error's body, in whatever shape Roe, or a proxy in between, wrote it.

    Returns it cut to 2,000 characters and harmless to print; the body's start if it is no JSON; or "".
    """
    if (answer := _parse(response.body)) is _NOT_JSON:
        return response.quote_start()
    return response.quote(_messages(answer))


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?", "…")) else f"{text}."


def _messages(value: Any, depth: int = 4) -> str:
    match value:
        case None:
            return ""
        case dict() | list() if depth == 0:
            return "…"
        case dict() if message := value.get("message") or value.get("detail") or value.get("error"):
            return _messages(message, depth - 1)
        case dict():
            return "; ".join(f"{key}: {_messages(item, depth - 1)}" for key, item in value.items())
        case list():
            return "; ".join(_messages(item, depth - 1) for item in value)
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
    text = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * limit]).split())
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
    if (until := _http_date(value)) is None:
        return None
    now = _http_date(headers.get("date", "")) or datetime.now(UTC)
    return max((until - now).total_seconds(), 0.0)


def _http_date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _time(value: Any) -> datetime | None:
    """Read a time of RFC 3339. What cannot be read is unknown: no wait shall fail for a time."""
    try:
        moment = datetime.fromisoformat(value)
    except (ValueError, TypeError):
        return None
    if ":" not in value:  # a day is no time
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and abs(value) < 1e15 else None
