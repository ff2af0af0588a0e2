"""The calls to Roe, by name: one attempt each, blocking and on an event loop. A new endpoint comes here."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from airflow_provider_roe.api import queries
from airflow_provider_roe.api.base import uuid
from airflow_provider_roe.client import blocking

if TYPE_CHECKING:
    import requests

    from airflow_provider_roe.api.base import Request, Response
    from airflow_provider_roe.api.queries import QueryResult, QueryStatus, SubmittedQuery
    from airflow_provider_roe.client.connection import RoeConnection
    from airflow_provider_roe.client.shared import Turn
    from airflow_provider_roe.exceptions import RoeAuthenticationError


class Calls:
    """
    Blocking calls over one session.

    :param connection: The connection that the session is for.
    :param session: The session.
    :param organization_id: UUID of the organization that calls are for; by default the connection's.
    """

    def __init__(
        self, connection: RoeConnection, session: requests.Session, organization_id: str | None = None
    ) -> None:
        self.connection = connection
        self.session = session
        self.organization_id = _organization(connection, organization_id)
        self.refusal: RoeAuthenticationError | None = None

    def submit(self, sql: str, worksheet_id: str | None = None, use_admin: bool = False) -> SubmittedQuery:
        """Submit SQL to be run."""
        request = queries.submit_request(
            sql, self.organization_id, worksheet_id=worksheet_id, use_admin=use_admin
        )
        return queries.read_submitted(request, self._send(request))

    def status(self, query_id: str) -> QueryStatus:
        """Ask for a query's status; twice before an end with a status that is unknown is believed."""
        status = self._status(query_id)
        return self._status(query_id) if status.ended_unknown else status

    def result(self, query_id: str) -> QueryResult:
        """Fetch a query's result."""
        request = queries.result_request(query_id, self.organization_id)
        return queries.read_result(request, self._send(request), **self.connection.statuses)

    def download(self, query_id: str, file: BinaryIO) -> tuple[Request, Response]:
        """Fetch a query's result into a file, which the caller reads."""
        request = queries.result_request(query_id, self.organization_id)
        return request, blocking.download(self.session, self.connection, request, file)

    def _status(self, query_id: str) -> QueryStatus:
        request = queries.status_request(query_id, self.organization_id)
        return queries.read_status(request, self._send(request), **self.connection.statuses)

    def _send(self, request: Request) -> Response:
        return blocking.send(self.session, self.connection, request)


class AsyncCalls:
    """
    Calls on an event loop.

    :param turn: The turn of the request that is sent.
    :param organization_id: UUID of the organization that calls are for; by default the connection's.
    """

    def __init__(self, turn: Turn, organization_id: str | None = None) -> None:
        self._turn = turn
        self.connection = turn.session.connection
        self.organization_id = _organization(self.connection, organization_id)

    async def status(self, query_id: str) -> QueryStatus:
        """Ask for a query's status as :meth:`Calls.status` does."""
        status = await self._status(query_id)
        return await self._status(query_id) if status.ended_unknown else status

    async def _status(self, query_id: str) -> QueryStatus:
        request = queries.status_request(query_id, self.organization_id)
        response = await self._turn.session.send(request, self._turn.give_up_at)
        return queries.read_status(request, response, **self.connection.statuses)


def _organization(connection: RoeConnection, organization_id: str | None) -> str | None:
    if organization_id is None:
        return connection.organization_id
    return uuid(organization_id, "organization_id")
