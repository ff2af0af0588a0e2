"""
The four calls of Roe's query API.

What Roe does is not documented everywhere. Where it is not, this is what the simulator does:

- The result of a query that has not ended, or has failed, is its status with an empty list of results.
- *Run and wait* holds the request until the query has ended, and answers 400 with its error if it failed.
- Any worksheet id is taken for an existing worksheet.
- What is wrong with a parameter is told with 400 and a ``message`` that begins with the parameter's name.
- Of the bodies that Roe takes, only JSON is taken; any other is refused with 415.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

from airflow_provider_roe.testing.rest import (
    NOT_A_UUID,
    REQUIRED,
    Refusal,
    as_uuid,
    check_organization,
    json_answer,
    json_object,
)

if TYPE_CHECKING:
    from aiohttp import web

    from airflow_provider_roe.testing.query import Query
    from airflow_provider_roe.testing.recording import RecordedRequest
    from airflow_provider_roe.testing.simulator import RoeSimulator

METHODS = {"submit": "POST", "run": "POST", "status": "GET", "result": "GET"}

_PATH = re.compile(
    r"/v1/database/query/(?:(?P<submit>async/)"
    r"|(?P<query_id>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/(?P<read>status|result)/)?"
)


def route(path: str) -> tuple[str, str | None] | None:
    """Return the call that a path stands for and the query id in it; None if there is no such call."""
    if not (match := _PATH.fullmatch(path)):
        return None
    return match["read"] or ("submit" if match["submit"] else "run"), match["query_id"]


def refusal_body(refusal: Refusal) -> object:
    """Return the body of an answer that is no success."""
    # Roe documents the former for its own 400, and the latter is how its framework words the others.
    if refusal.status == 400:
        return {"message": f"{refusal.field}: {refusal.message}" if refusal.field else refusal.message}
    return {"detail": refusal.message}


async def answer(roe: RoeSimulator, record: RecordedRequest) -> web.Response:
    """
    Carry out a request.

    :param roe: the simulator that holds the queries.
    :param record: the request; gets the id of the query that it creates.
    """
    match record.call:
        case "submit":
            query = _create(roe, record, json_object(record), record.query)
            return json_answer(query.as_worksheet_query(roe.organization_id))
        case "run":
            body = json_object(record)
            return json_answer(await _run(_create(roe, record, body, body)))
        case "status":
            return json_answer(_find(roe, record).as_status())
        case _:
            return json_answer(await _result(_find(roe, record)))


def _find(roe: RoeSimulator, record: RecordedRequest) -> Query:
    check_organization(roe, record.query.get("organization_id"))
    if query := roe.queries.get(record.query_id or ""):
        return query
    raise Refusal(404, "Query not found.")


def _create(roe: RoeSimulator, record: RecordedRequest, body: dict[str, Any], access: Any) -> Query:
    """Create a query; ``access`` is where this call expects the organization: body or query string."""
    given = body.get("worksheet_id") or access.get("worksheet_id")
    check_organization(roe, access.get("organization_id"), required=not given)
    worksheet_id = as_uuid(given)
    if given is not None and not worksheet_id:
        raise Refusal(400, NOT_A_UUID, "worksheet_id")
    if not isinstance(body.get("use_admin", False), bool):
        raise Refusal(400, "Must be a valid boolean.", "use_admin")
    if "query" not in body:
        raise Refusal(400, REQUIRED, "query")
    match body["query"]:
        case None:
            raise Refusal(400, "This field may not be null.", "query")
        case str(sql) if sql.strip():
            try:
                record.query_id = roe.submit(sql, worksheet_id=str(worksheet_id) if worksheet_id else None)
            except ValueError as e:
                raise Refusal(400, str(e), "query") from e
            return roe.queries[record.query_id]
        case str():
            raise Refusal(400, "This field may not be blank.", "query")
        case _:
            raise Refusal(400, "Not a valid string.", "query")


async def _result(query: Query) -> dict[str, Any]:
    if query.finished_at:
        # A plan can end a query before its SQL has run. Shielded: the SQL runs on if the client goes away.
        await asyncio.shield(asyncio.wrap_future(query.outcome))
    return query.as_result()


async def _run(query: Query) -> list[dict[str, Any]]:
    while query.finished_at is None:  # noqa: ASYNC110 - a matter of time, there is no event
        await asyncio.sleep(0.02)
    if query.failed:
        raise Refusal(400, query.error or f"The query ended as {query.status}.")
    results: list[dict[str, Any]] = (await _result(query))["results"]
    return results
