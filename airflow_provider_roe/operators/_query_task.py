"""What the tasks that wait for a query have in common."""

from __future__ import annotations

import json
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from airflow_provider_roe.api.base import clip, uuid
from airflow_provider_roe.client.calls import Calls
from airflow_provider_roe.exceptions import RoeNotFoundError
from airflow_provider_roe.hooks.roe import RoeHook
from airflow_provider_roe.operators._durable import DurableTask
from airflow_provider_roe.waiting.task import WaitingTask
from airflow_provider_roe.waiting.wait import Subject, Wait, the_query

if TYPE_CHECKING:
    from typing import Unpack

    from airflow.triggers.base import BaseTrigger

    from airflow_provider_roe.api.queries import QueryStatus
    from airflow_provider_roe.client.retry import Retries
    from airflow_provider_roe.waiting.stored import TriggerArguments, WaitArguments


class QueryTask(WaitingTask):
    """Base of the tasks that wait for a query."""

    query_id: Any

    ended = ("query_id", str)

    @cached_property
    def hook(self) -> RoeHook:
        """The hook that asks Roe on the worker."""
        return RoeHook(self.roe_conn_id, organization_id=self.organization_id)

    def _subject_of(self, ended: dict[str, Any]) -> Subject:
        return the_query(ended["query_id"])

    def _ask(self, retries: Retries) -> QueryStatus:
        return self.hook.client.call(retries, Calls.status, self.query_id)

    def _wait_for_query(self, **arguments: Unpack[WaitArguments]) -> Wait:
        return Wait(subject=the_query(self.query_id), log=self.log, **arguments)

    def _new_trigger(self, arguments: TriggerArguments) -> BaseTrigger:
        # Imported here, for Airflow's base class alone costs 10 ms, which every parse of a DAG would pay.
        from airflow_provider_roe.triggers.roe import RoeQueryStatusTrigger

        return RoeQueryStatusTrigger(query_id=str(self.query_id), **arguments)


class SubmittingTask(QueryTask, DurableTask):
    """
    Base of the tasks that submit queries, and find in a later try what an earlier one has submitted.

    Of each query, Airflow's store of the task's state (3.3 or newer) keeps a dict with its ``query_id``, and
    what it was submitted for.
    """

    def _asked(self, sql: object, *, worksheet_id: str | None = None, use_admin: bool = False) -> str:
        """Return a digest of all that makes a query another one than the next."""
        connection = self.hook.connection
        own = self.organization_id
        asked = {
            "sql": sql,
            "organization_id": connection.organization_id if own is None else uuid(own, "organization_id"),
            "worksheet_id": worksheet_id and uuid(worksheet_id, "worksheet_id"),
            "base_url": connection.base_url,
            "use_admin": use_admin,
        }
        return sha256(json.dumps(asked, default=str).encode()).hexdigest()

    def _state_of(self, kept: Any, asked: str) -> str:
        """
        Return the state of the query of an earlier try.

        :param kept: What is kept of it.
        :param asked: The digest of the query that is wanted now.
        """
        match kept:
            case {"query_id": str(query_id), "asked": before} if before == asked:
                try:
                    return self.hook.get_query_status(query_id).state.value
                except RoeNotFoundError:
                    return "unknown to Roe"
            case {"query_id": query_id}:
                self.log.warning(
                    "Query %s, which an earlier try has submitted, was for other SQL, another worksheet or"
                    " organization, or another Roe: it is left alone, and a new one is submitted.",
                    clip(str(query_id), 100),
                )
        return "not for this query"

    def on_kill(self) -> None:
        """Leave the query as it is, and say so."""
        if self.query_id:
            self.log.warning(
                "The task is killed. Query %s goes on at Roe, which has no call to cancel it.", self.query_id
            )
