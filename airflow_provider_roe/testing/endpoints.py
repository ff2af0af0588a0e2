"""
The four calls of Roe's query API, as Django REST Framework would answer them.

What Roe does is not documented everywhere. Where it is not, this is what the simulator does:

- A path without its trailing slash is not redirected but not found, like any other unknown route.
  So is an id that is not a UUID in lower case.
- The key is checked before the method, the method before the parameters.
- The result of a query that has not ended, or has failed, is its status with an empty list of results.
- *Run and wait* holds the request until the query has ended, and answers 400 with its error if it failed.
- Any worksheet id is taken for an existing worksheet.
- What is wrong with a parameter is told with 400 and a ``message`` that begins with the parameter's name.
- Of the bodies that Roe takes, only JSON is taken; any other is refused with 415.
"""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any
from uuid import UUID

from aiohttp import web

if TYPE_CHECKING:
    from airflow_provider_roe.testing.query import Query
    from airflow_provider_roe.testing.recording import RecordedRequest
    from airflow_provider_roe.testing.simulator import RoeSimulator

_PATH = re.compile(
    r"/v1/database/query/(?:(?P<submit>async/)"
    r"|(?P<query_id>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/(?P<read>status|result)/)?"
)
_METHODS = {"submit": "POST", "run": "POST", "status": "GET", "result": "GET"}
_NOT_FOUND = """
<!doctype html>
<html lang="en">
<head>
  <title>Not Found</title>
</head>
<body>
  <h1>Not Found</h1><p>The requested resource was not found on this server.</p>
</body>
</html>
"""
_REQUIRED = "This field is required."
_NOT_A_UUID = "Must be a valid UUID."


class _Refusal(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, message: str, **headers: str) -> None:
        super().__init__(message)
        # Roe documents the former for its own 400, and the latter is how its framework words the others.
        self.answer = _json({"message" if status == 400 else "detail": message}, status, **headers)


def route(path: str) -> tuple[str, str | None]:
    """Return the call that a path stands for, or "other", and the query id in it."""
    if not (match := _PATH.fullmatch(path)):
        return "other", None
    return match["read"] or ("submit" if match["submit"] else "run"), match["query_id"]


async def answer(roe: RoeSimulator, record: RecordedRequest) -> web.Response:
    """
    Carry out a request.

    :param roe: the simulator that holds the queries.
    :param record: the request; gets the id of the query that it creates.
    """
    if record.call == "other":
        return web.Response(status=404, body=_NOT_FOUND.encode(), content_type="text/html", charset="utf-8")
    try:
        _authorize(roe, record)
        if record.method != (allowed := _METHODS[record.call]):
            raise _Refusal(405, f'Method "{record.method}" not allowed.', Allow=allowed)
        match record.call:
            case "submit":
                query = _create(roe, record, _json_body(record), record.query)
                return _json(query.as_worksheet_query(roe.organization_id))
            case "run":
                body = _json_body(record)
                return _json(await _run(_create(roe, record, body, body)))
            case "status":
                return _json(_find(roe, record).as_status())
            case _:
                return _json(await _result(_find(roe, record)))
    except _Refusal as refusal:
        return refusal.answer


def _authorize(roe: RoeSimulator, record: RecordedRequest) -> None:
    scheme, _, key = record.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        message = "Authentication credentials were not provided."
    elif key.strip() not in roe.api_keys:
        message = "Invalid API key."
    else:
        return
    raise _Refusal(401, message, **{"WWW-Authenticate": 'Bearer realm="api"'})


def _find(roe: RoeSimulator, record: RecordedRequest) -> Query:
    _check_organization(roe, record.query.get("organization_id"))
    if query := roe.queries.get(record.query_id or ""):
        return query
    raise _Refusal(404, "Query not found.")


def _create(roe: RoeSimulator, record: RecordedRequest, body: dict[str, Any], access: Any) -> Query:
    """Create a query; ``access`` is where this call expects the organization: body or query string."""
    given = body.get("worksheet_id") or access.get("worksheet_id")
    _check_organization(roe, access.get("organization_id"), required=not given)
    worksheet_id = _uuid(given)
    if given is not None and not worksheet_id:
        raise _Refusal(400, f"worksheet_id: {_NOT_A_UUID}")
    if not isinstance(body.get("use_admin", False), bool):
        raise _Refusal(400, "use_admin: Must be a valid boolean.")
    if "query" not in body:
        raise _Refusal(400, f"query: {_REQUIRED}")
    match body["query"]:
        case None:
            raise _Refusal(400, "query: This field may not be null.")
        case str(sql) if sql.strip():
            try:
                record.query_id = roe.submit(sql, worksheet_id=str(worksheet_id) if worksheet_id else None)
            except ValueError as e:
                raise _Refusal(400, f"query: {e}") from e
            return roe.queries[record.query_id]
        case str():
            raise _Refusal(400, "query: This field may not be blank.")
        case _:
            raise _Refusal(400, "query: Not a valid string.")


async def _result(query: Query) -> dict[str, Any]:
    if query.finished_at:
        # A plan can end a query before its SQL has run. Shielded: the SQL runs on if the client goes away.
        await asyncio.shield(asyncio.wrap_future(query.outcome))
    return query.as_result()


async def _run(query: Query) -> list[dict[str, Any]]:
    while query.finished_at is None:  # noqa: ASYNC110 - a matter of time, there is no event
        await asyncio.sleep(0.02)
    if query.failed:
        raise _Refusal(400, query.error or f"The query ended as {query.status}.")
    results: list[dict[str, Any]] = (await _result(query))["results"]
    return results


def _check_organization(roe: RoeSimulator, organization_id: object, required: bool = False) -> None:
    if organization_id in (None, ""):
        if required:
            raise _Refusal(400, f"organization_id: {_REQUIRED}")
    elif not (organization := _uuid(organization_id)):
        raise _Refusal(400, f"organization_id: {_NOT_A_UUID}")
    elif organization != UUID(roe.organization_id):
        raise _Refusal(403, "You do not have permission to perform this action.")


def _json_body(record: RecordedRequest) -> dict[str, Any]:
    content_type = record.headers.get("Content-Type", "")
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise _Refusal(415, f'Unsupported media type "{content_type}" in request.')
    try:
        body = json.loads(record.body)
    except (ValueError, RecursionError) as e:
        raise _Refusal(400, f"JSON parse error - {e}") from e
    if not isinstance(body, dict):
        raise _Refusal(400, f"Invalid data. Expected a dictionary, but got {type(body).__name__}.")
    return body


def _json(body: object, status: int = 200, **headers: str) -> web.Response:
    return web.Response(
        body=json.dumps(body).encode(), status=status, headers=headers, content_type="application/json"
    )


def _uuid(value: object) -> UUID | None:
    try:
        return UUID(value) if isinstance(value, str) else None
    except ValueError:
        return None
