"""
Roe's query API.

Facts come from Roe's OpenAPI description (https://docs.roe-ai.com). Where it is silent, so on the values of
``status``, they are those of Roe's documented sibling endpoints and of Celery, which runs Roe's queries.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NoReturn

from airflow_provider_roe.api.base import (
    MAX_BODY,
    MOST_WAITS,
    Request,
    Response,
    State,
    clip,
    is_uuid,
    organization_params,
    read_json,
    read_messages,
    read_number,
    read_time,
    refuse_shape,
    refuse_xcom,
    sentence,
    unusable,
    uuid,
)
from airflow_provider_roe.exceptions import (
    RoeError,
    RoeInputError,
    RoeQueryFailedError,
    RoeUnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

RUNNING_STATUSES = frozenset({"PENDING", "RECEIVED", "QUEUED", "STARTED", "RUNNING", "RETRY"})
SUCCESS_STATUSES = frozenset({"SUCCESS", "SUCCEEDED", "CACHED", "COMPLETED"})
FAILURE_STATUSES = frozenset(
    {"FAILURE", "FAILED", "ERROR", "REVOKED", "REJECTED", "IGNORED", "CANCELLED", "CANCELED"}
)
MAX_RESULT_BODY = 64 * 1024 * 1024
_NOT_FOUND = "Roe knows no such query in this organization: check query_id and organization_id."
_ABSENT = object()


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
    state: State
    known: bool = True
    error: str | None = None
    created_at: datetime | None = None
    finished_at: datetime | None = None
    request_id: str | None = field(default=None, compare=False)

    @property
    def ended_unknown(self) -> bool:
        """Whether only a finishing time says that the query ended, with a status that nobody knows."""
        return self.state is State.FAILED and not self.known

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
        refuse_xcom(self, "its as_dict()")


@dataclass(frozen=True, slots=True)
class SubmittedQuery:
    """A query that Roe has accepted. ``worksheet_id`` and ``status`` are None where Roe does not tell."""

    query_id: str
    worksheet_id: str | None = None
    status: str | None = None

    def serialize(self) -> NoReturn:
        """Refuse to become an XCom, when Airflow asks for one."""
        refuse_xcom(self, "its query_id")


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
        refuse_xcom(self, "its rows, or those that RoeHook.query returns")


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
        refuse_xcom(self, "the rows of its results, or those that RoeHook.query returns")


def status_request(query_id: object, organization_id: str | None) -> Request:
    """Ask for a query's status."""
    return _query_request("status", uuid(query_id, "query_id"), organization_id, MAX_BODY)


def result_request(query_id: object, organization_id: str | None) -> Request:
    """Ask for a query's rows."""
    return _query_request("result", uuid(query_id, "query_id"), organization_id, MAX_RESULT_BODY)


def submit_request(
    sql: str, organization_id: str | None, *, worksheet_id: object = None, use_admin: bool = False
) -> Request:
    """Submit SQL."""
    if not isinstance(sql, str) or not sql.strip():
        raise RoeInputError(f"sql must be a query's text, not {clip(repr(sql), 100)}.")
    if organization_id is None and worksheet_id is None:
        raise RoeInputError(
            "A query needs an organization or a worksheet to run in: set the connection's Organization ID"
            " (login), or pass organization_id or worksheet_id."
        )
    params = dict(organization_params(organization_id))
    body: dict[str, Any] = {"query": sql, "use_admin": use_admin}
    if worksheet_id is not None:
        body["worksheet_id"] = params["worksheet_id"] = uuid(worksheet_id, "worksheet_id")
    return Request(
        "POST",
        "/v1/database/query/async/",
        params,
        not_found="Roe knows no such organization or worksheet: check organization_id and worksheet_id.",
        json=body,
        repeatable=False,
        # The answer repeats the SQL, in which JSON may write a character with twelve bytes.
        max_body=max(MAX_BODY, 64 * 1024 + 12 * len(sql)),
    )


@lru_cache(maxsize=MOST_WAITS)
def _query_request(call: str, query_id: str, organization_id: str | None, max_body: int) -> Request:
    path = f"/v1/database/query/{query_id}/{call}/"
    return Request("GET", path, organization_params(organization_id), query_id, _NOT_FOUND, max_body=max_body)


def classify(
    status: str,
    *,
    finished: bool,
    success_statuses: frozenset[str] = frozenset(),
    failure_statuses: frozenset[str] = frozenset(),
) -> tuple[State, bool]:
    """
    Return the meaning of a status, and whether it is one that is known.

    An unknown status of a query that has a finishing time is its end, and never a success; without one the
    query is taken to run.

    :param status: Roe's word, in any case and with any surrounding space.
    :param finished: Whether Roe gave a time at which the query finished.
    :param success_statuses: Upper-case words that this deployment uses for success, too.
    :param failure_statuses: Upper-case words that this deployment uses for failure, too.
    """
    word = status.strip().upper()
    if word in SUCCESS_STATUSES or word in success_statuses:
        return State.SUCCEEDED, True
    if word in FAILURE_STATUSES or word in failure_statuses:
        return State.FAILED, True
    if word in RUNNING_STATUSES:
        return State.RUNNING, True
    return (State.FAILED if finished else State.RUNNING), False


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
    answer = read_json(request, response)
    status = answer.get("status") if _is_of(request, answer) else None
    if not isinstance(status, str) or not status.strip():
        refuse_shape(request, response, "the status of this query")
    error, finished_at = answer.get("error"), answer.get("finished_at")
    state, known = classify(
        status,
        finished=bool(finished_at),
        success_statuses=success_statuses,
        failure_statuses=failure_statuses,
    )
    return QueryStatus(
        query_id=answer["worksheet_query_id"].lower(),
        status=clip(status, 100) if known else response.quote(status, 100),
        state=state,
        known=known,
        error=(response.quote(read_messages(error)) or None) if error else None,
        created_at=read_time(answer.get("created_at")),
        finished_at=read_time(finished_at) if finished_at else None,
        request_id=response.request_id,
    )


def read_submitted(request: Request, response: Response) -> SubmittedQuery:
    """
    Read the answer to :func:`submit_request`; raises as :func:`read_status` does.

    Older deployments answer with the bare id.
    """
    match read_json(request, response):
        case str(query_id) if is_uuid(query_id):
            return SubmittedQuery(query_id.lower())
        case {"id": str(query_id), **rest} if is_uuid(query_id):
            worksheet, status = rest.get("worksheet"), rest.get("query_task_status")
            worksheet_id = worksheet.get("id") if isinstance(worksheet, dict) else None
            return SubmittedQuery(
                query_id.lower(),
                worksheet_id=worksheet_id.lower() if is_uuid(worksheet_id) else None,
                status=response.quote(status, 100) if isinstance(status, str) else None,
            )
    refuse_shape(request, response, "a submitted query")


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
    result = read_parsed_result(request, response, read_json(request, response), **statuses)
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
    Read a result as :func:`read_result` does, but for the rows' number and width: see :func:`check_rows`.

    A result has no finishing time: an unknown status is not the query's end, and so no success.

    :param response: Where the answer is from: its body need hold no more than the start.
    :param answer: The value of the body, which may be without the rows.
    """
    if not _is_of(request, answer):
        refuse_shape(request, response, "the result of this query")
    status = answer.get("status")
    if not isinstance(status, str) or not status.strip():
        raise _misshapen(request, response, "status", "a word", answer.get("status", _ABSENT))
    state, known = classify(
        status, finished=False, success_statuses=success_statuses, failure_statuses=failure_statuses
    )
    word = clip(status, 100) if known else response.quote(status, 100)
    error = response.quote(read_messages(answer.get("error"))) or None
    if state is State.RUNNING:
        raise _not_ended(request, response, word, known, error)
    if state is State.FAILED:
        message = sentence(
            f"Query {request.about} ended as {word}, says its result: {error or 'Roe gave no reason'}"
        )
        raise RoeQueryFailedError(f"{message} Request id: {response.request_id}.", status=word, reason=error)
    results = answer.get("results", _ABSENT)
    if not isinstance(results, list):
        raise _misshapen(request, response, "results", f"a list, for its status is {word}", results)
    statements = [
        _read_statement(request, response, number, value) for number, value in enumerate(results, 1)
    ]
    return QueryResult(answer["worksheet_query_id"].lower(), word, error, tuple(statements))


def _is_of(request: Request, answer: Any) -> bool:
    query_id = answer.get("worksheet_query_id") if isinstance(answer, dict) else None
    return isinstance(query_id, str) and query_id.lower() == request.about


def _not_ended(
    request: Request, response: Response, word: str, known: bool, error: str | None
) -> RoeUnavailableError:
    cause = f"answered with a result that says that its query is still {word}"
    message = sentence(
        f"{request.method} {request.path} was {cause}, although a result is asked for once the query has"
        f" succeeded{f': {error}' if error else ''}"
    )
    if known:
        message += " Wait for the query's end first; if it has ended, tell Roe's support."
    else:
        message += " If this status means success, name it in the connection's extra.success_statuses."
    return RoeUnavailableError(
        message, status_code=response.status_code, request_id=response.request_id, cause=cause
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
        start_timestamp=read_number(value.get("start_timestamp")),
        end_timestamp=read_number(value.get("end_timestamp")),
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
        raise unusable(
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
    return unusable(request, response, f"{name} must be {expected}, and is {shown}")
