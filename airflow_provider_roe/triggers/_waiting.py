"""What the triggers have in common: a wait on an event loop."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING

import psutil
from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_roe.client.client import AsyncClient
from airflow_provider_roe.client.retry import Retries
from airflow_provider_roe.client.shared import SharedConnection
from airflow_provider_roe.exceptions import RoeError
from airflow_provider_roe.metrics import OF_TRIGGERER

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from airflow_provider_roe.api.agents import AgentJobs
    from airflow_provider_roe.api.queries import QueryStatus
    from airflow_provider_roe.waiting.stored import Event, TriggerArguments
    from airflow_provider_roe.waiting.wait import Wait

#: Unix time at which this process began
STARTED_AT: float = psutil.Process().create_time()


class WaitingTrigger(BaseTrigger):
    """Base of the triggers: a subclass says what its wait is, and how to ask for what it waits for."""

    roe_conn_id: str
    organization_id: str | None
    deferred_at: float
    hand_over: float
    retry_window: float | None
    wait: Wait

    async def _ask(self, client: AsyncClient, retries: Retries) -> QueryStatus | AgentJobs:
        """Ask for the status of what is waited for."""
        raise NotImplementedError

    def _arguments(self) -> TriggerArguments:
        """Return the arguments that all triggers have."""
        return {
            "roe_conn_id": self.roe_conn_id,
            "organization_id": self.organization_id,
            "deferred_at": self.deferred_at,
            "hand_over": self.hand_over,
            "retry_window": self.retry_window,
            **self.wait.arguments(),
        }

    async def _ask_again(self, client: AsyncClient, retries: Retries) -> QueryStatus | AgentJobs:
        """Ask for the status once it is time, or once it is another."""
        await asyncio.sleep(self.wait.next_interval())
        return await self._ask(client, retries)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and fire the one event. Whatever goes wrong is told by it: an exception would tell nobody."""
        try:
            event = await self._watch()
        except Exception as e:
            self.log.exception("The wait for %s broke off", self.wait.subject.name)
            event = {
                "outcome": "error",
                "error": RoeError.__name__,
                "message": f"The wait broke off in the triggerer: {type(e).__name__}: {e}",
            }
        OF_TRIGGERER.time(
            "roe.wait.duration", self.wait.elapsed, conn_id=self.roe_conn_id, outcome=event["outcome"]
        )
        yield TriggerEvent(event)  # type: ignore[no-untyped-call]

    async def _watch(self) -> Event:
        wait = self.wait
        hand_over = max(0, min(self.deferred_at + self.hand_over - time.time(), self.hand_over))
        # A triggerer that starts takes up all its waits at once; their polls shall be as spread as before.
        # Those that were deferred since then are polled here for the first time, and have waited enough.
        spread = wait.next_interval() if self.deferred_at < STARTED_AT else 0
        await asyncio.sleep(hand_over + random.uniform(0, spread))  # noqa: S311
        async with SharedConnection.of(self.roe_conn_id, self.retry_window) as shared:
            client = AsyncClient(shared, self.organization_id)
            ask = self._ask
            while True:
                try:
                    event = wait.saw(await ask(client, Retries(wait.troubles, wait.deadline)))
                except RoeError as e:
                    event = wait.failed(e)
                if event:
                    return event
                ask = self._ask_again
