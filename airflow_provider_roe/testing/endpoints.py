"""
The calls of Roe's API, as Django REST Framework would answer them.

What Roe does is not documented everywhere. Where it is not, this is what the simulator does for all calls;
the modules of queries and of agents say what it does for theirs:

- A path without its trailing slash is not redirected but not found, like any other unknown route.
  So is an id that is not a UUID in lower case.
- The key is checked before the method, the method before the parameters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from airflow_provider_roe.testing import agent_endpoints, query_endpoints
from airflow_provider_roe.testing.rest import Refusal, authorize, json_answer

if TYPE_CHECKING:
    from airflow_provider_roe.testing.recording import RecordedRequest
    from airflow_provider_roe.testing.simulator import RoeSimulator

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


def route(path: str) -> tuple[str, str | None, str | None]:
    """Return the call that a path stands for, or "other", and the ids of query and job in it."""
    if found := query_endpoints.route(path):
        return *found, None
    if found := agent_endpoints.route(path):
        return found[0], None, found[1]
    return "other", None, None


async def answer(roe: RoeSimulator, record: RecordedRequest) -> web.Response:
    """
    Carry out a request.

    :param roe: the simulator that holds queries and jobs.
    :param record: the request; gets the ids of what it creates or asks for.
    """
    family = query_endpoints if record.call in query_endpoints.METHODS else agent_endpoints
    try:
        if record.call == "other":
            return _not_found(record.path)
        authorize(roe, record)
        if record.method != (allowed := family.METHODS[record.call]):
            raise Refusal(405, f'Method "{record.method}" not allowed.', Allow=allowed)
        answered: web.Response = await family.answer(roe, record)
        return answered
    except Refusal as refusal:
        return json_answer(family.refusal_body(refusal), refusal.status, **refusal.headers)


def _not_found(path: str) -> web.Response:
    if path.startswith("/v1/agents/"):  # of whose routes only some are here: as their own 404
        raise Refusal(404, "Not found.")
    return web.Response(status=404, body=_NOT_FOUND.encode(), content_type="text/html", charset="utf-8")
