"""The trigger that waits for agents' jobs in the triggerer, and cancels them when somebody ends the task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_roe.api.agents import AgentJobs
from airflow_provider_roe.client.client import AsyncClient
from airflow_provider_roe.client.shared import SharedConnection
from airflow_provider_roe.client.together import Repeat
from airflow_provider_roe.hooks.roe import RoeHook
from airflow_provider_roe.triggers._waiting import WaitingTrigger
from airflow_provider_roe.waiting import cancelling
from airflow_provider_roe.waiting.hand_over import HAND_OVER
from airflow_provider_roe.waiting.stored import WaitArguments  # noqa: TC001 - the documentation links it
from airflow_provider_roe.waiting.wait import Wait, the_jobs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Unpack

    from airflow_provider_roe.api.agents import AgentJobStatus
    from airflow_provider_roe.api.queries import QueryStatus
    from airflow_provider_roe.client.retry import Retries
    from airflow_provider_roe.waiting.stored import AgentJobTriggerArguments

#: States of a task that no try follows
ENDED = ("success", "failed", "skipped", "upstream_failed", "removed")


class RoeAgentJobTrigger(WaitingTrigger):
    """
    Waits for agents' jobs and fires one event when all have ended, the time is up, or Roe cannot be asked.

    All such triggers of a connection that are due within a moment ask Roe with one request. Airflow stores
    the parameters in clear: there is no secret among them.

    :param job_ids: The jobs' UUIDs.
    :param max_failed: How many of them may fail before the wait has failed. Default: none.
    :param cancel_on_kill: Whether to cancel what still runs when somebody ends the task in Airflow, which
        calls triggers then from 3.3 on. Default: not to.
    :param roe_conn_id: The Airflow connection of type ``roe``, which is looked up where the trigger runs.
    :param organization_id: UUID of the jobs' organization; by default the connection's.
    :param deferred_at: Unix time at which the task was deferred.
    :param hand_over: Seconds for which it must stay away after that. Default: 15.
    :param retry_window: The connection's, in seconds, as the task has read it. None if the task has not seen
        the connection.
    :param wait: As for :class:`~airflow_provider_roe.triggers.roe.RoeQueryStatusTrigger`.
    """

    def __init__(
        self,
        *,
        job_ids: Sequence[str],
        max_failed: int = 0,
        cancel_on_kill: bool = False,
        roe_conn_id: str = RoeHook.default_conn_name,
        organization_id: str | None = None,
        deferred_at: float,
        hand_over: float = HAND_OVER,
        retry_window: float | None = None,
        **wait: Unpack[WaitArguments],
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.job_ids = list(job_ids)
        self.max_failed = max_failed
        self.cancel_on_kill = cancel_on_kill
        self.roe_conn_id = roe_conn_id
        self.organization_id = organization_id
        self.deferred_at = deferred_at
        self.hand_over = hand_over
        self.retry_window = retry_window
        self._seen: Sequence[AgentJobStatus] = ()
        self.wait = Wait(subject=the_jobs(self.job_ids, cancelled=cancel_on_kill), log=self.log, **wait)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class's path and the arguments to make it anew."""
        arguments: AgentJobTriggerArguments = {
            "job_ids": self.job_ids,
            "max_failed": self.max_failed,
            "cancel_on_kill": self.cancel_on_kill,
            **self._arguments(),
        }
        return "airflow_provider_roe.triggers.roe_agent.RoeAgentJobTrigger", dict(arguments)

    async def on_kill(self) -> None:
        """
        Cancel the jobs, if somebody has ended the task.

        Airflow asks for it as soon as the trigger is not this triggerer's any more: also where another one
        has taken it over (3.3), has brought the task back, or where a new try already goes on with the jobs.
        """
        if not self.cancel_on_kill:
            return
        if await self._goes_on():
            self.log.info("The task has not ended: its jobs go on.")
            return
        async with SharedConnection.of(self.roe_conn_id, self.retry_window) as shared:
            await cancelling.acancel(AsyncClient(shared, self.organization_id), self.job_ids, self.log)

    async def _goes_on(self) -> bool:
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
        from asgiref.sync import sync_to_async

        ti: Any = self.task_instance
        states = await sync_to_async(RuntimeTaskInstance.get_task_states)(
            dag_id=ti.dag_id, task_ids=[ti.task_id], map_index=ti.map_index, run_ids=[ti.run_id]
        )
        return any(state not in ENDED for state in states.get(ti.run_id, {}).values())

    async def _ask(self, client: AsyncClient, retries: Retries) -> AgentJobs:
        return self._all(await client.job_statuses(retries, self.job_ids))

    async def _ask_again(self, client: AsyncClient, retries: Retries) -> QueryStatus | AgentJobs:
        if not self._seen:
            return await super()._ask_again(client, retries)
        wait = self.wait
        repeat = Repeat(self._seen, wait.next_interval, wait.deadline)
        return self._all(await client.job_statuses(retries, self.job_ids, repeat))

    def _all(self, statuses: Sequence[AgentJobStatus]) -> AgentJobs:
        self._seen = statuses
        return AgentJobs(tuple(statuses), self.max_failed)
