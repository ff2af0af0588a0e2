"""What the tasks that wait for a query have in common."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow_provider_roe.client.calls import Calls
from airflow_provider_roe.hooks.roe import RoeHook
from airflow_provider_roe.waiting.task import WaitingTask
from airflow_provider_roe.waiting.wait import Wait, the_query

if TYPE_CHECKING:
    from typing import Unpack

    from airflow.triggers.base import BaseTrigger

    from airflow_provider_roe.api.queries import QueryStatus
    from airflow_provider_roe.client.retry import Retries
    from airflow_provider_roe.waiting.stored import TriggerArguments, WaitArguments


class QueryTask(WaitingTask):
    """Base of the tasks that wait for a query."""

    query_id: Any

    @cached_property
    def hook(self) -> RoeHook:
        """The hook that asks Roe on the worker."""
        return RoeHook(self.roe_conn_id, organization_id=self.organization_id)

    def _ask(self, retries: Retries) -> QueryStatus:
        return self.hook.client.call(retries, Calls.status, self.query_id)

    def _wait_for_query(self, **arguments: Unpack[WaitArguments]) -> Wait:
        return Wait(subject=the_query(self.query_id), log=self.log, **arguments)

    def _new_trigger(self, arguments: TriggerArguments) -> BaseTrigger:
        # Imported here, for Airflow's base class alone costs 10 ms, which every parse of a DAG would pay.
        from airflow_provider_roe.triggers.roe import RoeQueryStatusTrigger

        return RoeQueryStatusTrigger(query_id=str(self.query_id), **arguments)
