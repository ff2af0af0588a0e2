"""The trigger that waits for a query in the triggerer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_roe.client.calls import AsyncCalls
from airflow_provider_roe.hooks.roe import RoeHook
from airflow_provider_roe.triggers._waiting import WaitingTrigger
from airflow_provider_roe.waiting.hand_over import HAND_OVER
from airflow_provider_roe.waiting.stored import WaitArguments  # noqa: TC001 - the documentation links it
from airflow_provider_roe.waiting.wait import Wait, the_query

if TYPE_CHECKING:
    from typing import Unpack

    from airflow_provider_roe.api.queries import QueryStatus
    from airflow_provider_roe.client.client import AsyncClient
    from airflow_provider_roe.client.retry import Retries
    from airflow_provider_roe.waiting.stored import QueryTriggerArguments


class RoeQueryStatusTrigger(WaitingTrigger):
    """
    Waits for a query and fires one event when it has ended, the time is up, or Roe cannot be asked.

    Airflow stores the parameters in clear: there is no secret among them.

    :param query_id: The query's UUID.
    :param roe_conn_id: The Airflow connection of type ``roe``, which is looked up where the trigger runs.
    :param organization_id: UUID of the query's organization; by default the connection's.
    :param deferred_at: Unix time at which the task was deferred.
    :param hand_over: Seconds for which it must stay away after that. Default: 15.
    :param retry_window: The connection's, in seconds, as the task has read it: a look-up of the connection
        that fails is retried for so long. None if the task has not seen the connection.
    :param wait: ``started_at``, the Unix time at which the wait began, and what it may be told besides:
        ``timeout`` (seconds, by default 7 days), ``poke_interval`` (seconds, by default 60),
        ``exponential_backoff``, ``max_wait`` (seconds) and ``silent_fail``.
    """

    def __init__(
        self,
        *,
        query_id: str,
        roe_conn_id: str = RoeHook.default_conn_name,
        organization_id: str | None = None,
        deferred_at: float,
        hand_over: float = HAND_OVER,
        retry_window: float | None = None,
        **wait: Unpack[WaitArguments],
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.query_id = query_id
        self.roe_conn_id = roe_conn_id
        self.organization_id = organization_id
        self.deferred_at = deferred_at
        self.hand_over = hand_over
        self.retry_window = retry_window
        self.wait = Wait(subject=the_query(query_id), log=self.log, **wait)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class's path and the arguments to make it anew."""
        arguments: QueryTriggerArguments = {"query_id": self.query_id, **self._arguments()}
        return "airflow_provider_roe.triggers.roe.RoeQueryStatusTrigger", dict(arguments)

    async def _ask(self, client: AsyncClient, retries: Retries) -> QueryStatus:
        return await client.call(retries, AsyncCalls.status, self.query_id)
