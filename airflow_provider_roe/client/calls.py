"""The calls to Roe, by name: one attempt each, blocking and on an event loop. A new endpoint comes here."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, TypeVar

from airflow_provider_roe.api import agents, queries
from airflow_provider_roe.api.base import uuid
from airflow_provider_roe.client import blocking
from airflow_provider_roe.exceptions import RoeRequestError

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from typing import Any

    import requests

    from airflow_provider_roe.api.agents import AgentJobResult, AgentJobStatus
    from airflow_provider_roe.api.base import Request, Response
    from airflow_provider_roe.api.queries import QueryResult, QueryStatus, SubmittedQuery
    from airflow_provider_roe.client.connection import RoeConnection
    from airflow_provider_roe.client.shared import Turn
    from airflow_provider_roe.exceptions import RoeAuthenticationError, RoeError

T = TypeVar("T")


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

    def run_agent(self, agent_id: str, inputs: dict[str, Any], **options: Any) -> str:
        """Start a job of an agent; the options are those of :func:`~agents.run_request`."""
        request = agents.run_request(agent_id, inputs, self.organization_id, **options)
        return agents.read_job_id(request, self._send(request))

    def run_agent_many(self, agent_id: str, inputs: Sequence[dict[str, Any]], **options: Any) -> list[str]:
        """Start a job for each of some inputs; the options are those of :func:`~agents.run_many_request`."""
        request = agents.run_many_request(agent_id, inputs, self.organization_id, **options)
        return agents.read_job_ids(request, self._send(request))

    def job_statuses(self, job_ids: Sequence[str]) -> list[AgentJobStatus]:
        """Ask for the statuses of jobs."""
        ids = [uuid(job_id, "job_id") for job_id in job_ids]
        return agents.in_order(ids, self.find_jobs(ids))

    def find_jobs(self, job_ids: Sequence[str]) -> dict[str, AgentJobStatus | RoeError]:
        """Ask for the statuses of jobs, whose ids are in canonical form; of each it may be a refusal."""
        asking = agents.ask_statuses(job_ids, self.organization_id, **self.connection.statuses)
        return agents.not_unavailable(self._exchange(asking))

    def job_results(self, job_ids: Sequence[str]) -> list[AgentJobResult]:
        """Fetch the results of jobs."""
        ids = [uuid(job_id, "job_id") for job_id in job_ids]
        return agents.in_order(ids, self.find_results(ids))

    def find_results(self, job_ids: Sequence[str]) -> dict[str, AgentJobResult | RoeError]:
        """Fetch the results of jobs, whose ids are in canonical form; of each it may be an error."""
        asking = agents.ask_results(job_ids, self.organization_id, **self.connection.statuses)
        return agents.not_unavailable(self._exchange(asking))

    def cancel_job(self, job_id: str) -> None:
        """Cancel a job."""
        request = agents.cancel_request(job_id, self.organization_id)
        agents.read_cancelled(request, self._send(request))

    def _exchange(self, asking: Generator[Request, Response, T]) -> T:
        """Send the requests of a generator, each answer into it, and return what it makes of them."""
        try:
            request = next(asking)
            while True:
                try:
                    response = self._send(request)
                except RoeRequestError as e:
                    request = asking.throw(e)
                else:
                    request = asking.send(response)
        except StopIteration as e:
            return e.value  # type: ignore[no-any-return]

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
        return queries.read_status(request, await self._send(request), **self.connection.statuses)

    async def job_statuses(self, job_ids: Sequence[str]) -> dict[str, AgentJobStatus | RoeError]:
        """Ask for the statuses of jobs, whose ids are in canonical form; of each it may be an error."""
        asking = agents.ask_statuses(job_ids, self.organization_id, **self.connection.statuses)
        try:
            request = next(asking)
            while True:
                try:
                    response = await self._send(request)
                except RoeRequestError as e:
                    request = asking.throw(e)
                else:
                    request = asking.send(response)
        except StopIteration as e:
            return e.value  # type: ignore[no-any-return]

    async def cancel_job(self, job_id: str) -> None:
        """Cancel a job."""
        request = agents.cancel_request(job_id, self.organization_id)
        agents.read_cancelled(request, await self._send(request))

    async def _send(self, request: Request) -> Response:
        return await self._turn.session.send(request, self._turn.give_up_at)


def _organization(connection: RoeConnection, organization_id: str | None) -> str | None:
    if organization_id is None:
        return connection.organization_id
    return uuid(organization_id, "organization_id")
