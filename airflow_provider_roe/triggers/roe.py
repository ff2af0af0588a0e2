"""The trigger that waits for a query in the triggerer."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_roe.client.calls import AsyncCalls
from airflow_provider_roe.client.client import AsyncClient
from airflow_provider_roe.client.retry import Retries
from airflow_provider_roe.client.shared import SharedConnection
from airflow_provider_roe.exceptions import RoeError
from airflow_provider_roe.hooks.roe import RoeHook
from airflow_provider_roe.waiting.stored import WaitArguments  # noqa: TC001 - the documentation links it
from airflow_provider_roe.waiting.wait import HAND_OVER, Wait, the_query

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from typing import Unpack

    from airflow_provider_roe.waiting.stored import Event, QueryTriggerArguments

#: Seconds over which the first polls of tasks that deferred together are spread.
FIRST_POLL_SPREAD = 2.0


class RoeQueryStatusTrigger(BaseTrigger):
    """
    Waits for a query and fires one event when it has ended, the time is up, or Roe cannot be asked.

    Airflow stores the parameters in clear: there is no secret among them.

    :param query_id: The query's UUID.
    :param roe_conn_id: The Airflow connection of type ``roe``, which is looked up where the trigger runs.
    :param organization_id: UUID of the query's organization; by default the connection's.
    :param deferred_at: Unix time at which the task was deferred.
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
        retry_window: float | None = None,
        **wait: Unpack[WaitArguments],
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.query_id = query_id
        self.roe_conn_id = roe_conn_id
        self.organization_id = organization_id
        self.deferred_at = deferred_at
        self.retry_window = retry_window
        self.wait = Wait(subject=the_query(query_id), log=self.log, **wait)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class's path and the arguments to make it anew."""
        arguments: QueryTriggerArguments = {
            "query_id": self.query_id,
            "roe_conn_id": self.roe_conn_id,
            "organization_id": self.organization_id,
            "deferred_at": self.deferred_at,
            "retry_window": self.retry_window,
            **self.wait.arguments(),
        }
        return "airflow_provider_roe.triggers.roe.RoeQueryStatusTrigger", dict(arguments)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and fire the one event. Whatever goes wrong is told by it: an exception would tell nobody."""
        try:
            event = await self._watch()
        except Exception as e:
            self.log.exception("The wait for %s broke off", self.wait.subject)
            event = {
                "outcome": "error",
                "error": RoeError.__name__,
                "message": f"The wait broke off in the triggerer: {type(e).__name__}: {e}",
            }
        yield TriggerEvent(event)  # type: ignore[no-untyped-call]

    async def _watch(self) -> Event:
        wait = self.wait
        hand_over = min(self.deferred_at + HAND_OVER - time.time(), HAND_OVER)
        # A triggerer that starts takes up all its waits at once; their polls shall be as spread as before.
        spread = FIRST_POLL_SPREAD if hand_over > 0 else wait.next_interval()
        await asyncio.sleep(max(hand_over, 0) + random.uniform(0, spread))  # noqa: S311
        async with SharedConnection.of(self.roe_conn_id, self.retry_window) as shared:
            client = AsyncClient(shared, self.organization_id)
            while True:
                retries = Retries(wait.troubles, wait.deadline)
                try:
                    event = wait.saw(await client.call(retries, AsyncCalls.status, self.query_id))
                except RoeError as e:
                    event = wait.failed(e)
                if event:
                    return event
                await asyncio.sleep(wait.next_interval())
