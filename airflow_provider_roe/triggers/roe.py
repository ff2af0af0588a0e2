"""The trigger that waits for a query in the triggerer."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_roe.exceptions import RoeError
from airflow_provider_roe.hooks.roe import RoeHook
from airflow_provider_roe.waiting.wait import HAND_OVER, Wait

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from airflow_provider_roe.waiting.wait import Event

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
    :param started_at: Unix time at which the wait began.
    :param timeout: Seconds from then after which it ends.
    :param poke_interval: Seconds between two polls.
    :param exponential_backoff: Whether the interval keeps growing beyond ``poke_interval``.
    :param max_wait: Seconds beyond which it does not grow; None for no such bound.
    :param silent_fail: Whether to wait on when Roe cannot be asked.
    """

    def __init__(
        self,
        *,
        query_id: str,
        roe_conn_id: str = RoeHook.default_conn_name,
        organization_id: str | None = None,
        deferred_at: float,
        started_at: float,
        timeout: float,
        poke_interval: float = 60.0,
        exponential_backoff: bool = False,
        max_wait: float | None = None,
        silent_fail: bool = False,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.roe_conn_id = roe_conn_id
        self.organization_id = organization_id
        self.deferred_at = deferred_at
        self.wait = Wait(
            query_id=query_id,
            started_at=started_at,
            timeout=timeout,
            poke_interval=poke_interval,
            exponential_backoff=exponential_backoff,
            max_wait=max_wait,
            silent_fail=silent_fail,
            log=self.log,
        )

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class's path and the arguments to make it anew."""
        return (
            "airflow_provider_roe.triggers.roe.RoeQueryStatusTrigger",
            {
                "roe_conn_id": self.roe_conn_id,
                "organization_id": self.organization_id,
                "deferred_at": self.deferred_at,
                **self.wait.arguments(),
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and fire the one event. Whatever goes wrong is told by it: an exception would tell nobody."""
        try:
            event = await self._watch()
        except Exception as e:
            self.log.exception("The wait for query %s broke off", self.wait.query_id)
            event = {
                "kind": "error",
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
        async with RoeHook(self.roe_conn_id, organization_id=self.organization_id) as hook:
            while True:
                try:
                    status = await hook.aget_query_status(
                        wait.query_id, deadline=wait.deadline, troubles=wait.troubles
                    )
                    event = wait.saw(status)
                except RoeError as e:
                    event = wait.failed(e)
                if event:
                    return event
                await asyncio.sleep(wait.next_interval())
