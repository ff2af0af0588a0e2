"""What the tasks that wait for agents' jobs have in common."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow_provider_roe.api.agents import AgentJobs
from airflow_provider_roe.client.calls import Calls
from airflow_provider_roe.hooks.roe import RoeHook
from airflow_provider_roe.waiting import cancelling
from airflow_provider_roe.waiting.task import WaitingTask
from airflow_provider_roe.waiting.wait import Wait, the_jobs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Unpack

    from airflow.triggers.base import BaseTrigger

    from airflow_provider_roe.client.retry import Retries
    from airflow_provider_roe.waiting.stored import TriggerArguments, WaitArguments
    from airflow_provider_roe.waiting.wait import Subject


class AgentJobTask(WaitingTask):
    """Base of the tasks that wait for agents' jobs."""

    max_failed: int
    cancel_on_kill: bool

    ended = ("jobs", list)

    @property
    def _job_ids(self) -> Sequence[str]:
        """The jobs that this task waits for, as far as it knows them."""
        raise NotImplementedError

    @cached_property
    def hook(self) -> RoeHook:
        """The hook that asks Roe on the worker."""
        return self._new_hook()

    def _new_hook(self) -> RoeHook:
        return RoeHook(self.roe_conn_id, organization_id=self.organization_id)

    def _subject_of(self, ended: dict[str, Any]) -> Subject:
        return the_jobs([job["job_id"] for job in ended["jobs"]], cancelled=self.cancel_on_kill)

    def _ask(self, retries: Retries) -> AgentJobs:
        jobs = self.hook.client.call(retries, Calls.job_statuses, self._job_ids)
        return AgentJobs(tuple(jobs), self.max_failed)

    def _wait_for_jobs(self, **arguments: Unpack[WaitArguments]) -> Wait:
        subject = the_jobs(self._job_ids, cancelled=self.cancel_on_kill)
        return Wait(subject=subject, log=self.log, **arguments)

    def _new_trigger(self, arguments: TriggerArguments) -> BaseTrigger:
        from airflow_provider_roe.triggers.roe_agent import RoeAgentJobTrigger

        return RoeAgentJobTrigger(
            job_ids=[str(job_id) for job_id in self._job_ids],
            max_failed=self.max_failed,
            cancel_on_kill=self.cancel_on_kill,
            **arguments,
        )

    def _given_up(self) -> None:
        self.on_kill()

    def on_kill(self) -> None:
        """Cancel the jobs that still run, unless they are to go on."""
        if not self._job_ids:
            return
        if self.cancel_on_kill:
            # With a hook of its own, for Airflow calls this in the midst of whatever the task does.
            cancelling.cancel(self._new_hook().client, self._job_ids, self.log)
        else:
            subject = the_jobs(self._job_ids, cancelled=False)
            self.log.warning("The task is ended; %s: what still runs goes on at Roe.", subject.name)
