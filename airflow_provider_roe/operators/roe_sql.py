"""Airflow's SQL operators, which wait for Roe as RoeQueryOperator does: in the triggerer, and over tries."""

from __future__ import annotations

import inspect
import time
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import conf
from airflow.providers.common.sql.operators import sql as common

from airflow_provider_roe.api.base import State
from airflow_provider_roe.exceptions import (
    RoeError,
    RoeNotFoundError,
    RoeQueryFailedError,
    RoeResultError,
    RoeTimeoutError,
)
from airflow_provider_roe.hooks.roe_sql import RoeSqlHook
from airflow_provider_roe.operators._query_task import SubmittingTask
from airflow_provider_roe.sql import dbapi
from airflow_provider_roe.waiting.blocking import FIRST_INTERVAL
from airflow_provider_roe.waiting.wait import seconds

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import timedelta

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_roe.hooks.roe import RoeHook
    from airflow_provider_roe.waiting.wait import Wait


class RoeSQLTask(SubmittingTask, common.BaseSQLOperator):
    """
    Base of the operators here: what each adds to the one of Airflow's that it derives from.

    The ids of its queries are pushed as XCom ``query_ids``, in their order. After a deferral the operator
    runs again from its start, and each query that it has submitted answers where it did before; so it does,
    on Airflow 3.3 or newer, after a crash, for as long as the SQL is the same. What comes after a query, such
    as a ``handler``, may thus run more than once for the same result.

    A query that failed is submitted anew by a retry, those before it are not. When the task fails though its
    queries succeeded, as after a failed check, a retry submits all of them anew.

    Roe has no call to cancel a query: when the task is killed, the waiting stops and the query goes on.

    :param conn_id: The Airflow connection of type ``roe``. (templated)
    :param hook_params: Parameters of :class:`~airflow_provider_roe.hooks.roe_sql.RoeSqlHook`: ``timeout`` and
        ``poll_interval`` for the wait for each query, ``organization_id``, …. (templated)
    :param deferrable: Whether to wait in the triggerer, where a wait occupies no worker slot. By default as
        ``[operators] default_deferrable`` says.
    :param defer_after: Seconds, or a timedelta, to poll on the worker before deferring, for each query. By
        default 10, or 0 (one poll) for a mapped task.
    :param durable: Whether a retry attaches to the queries of the try before. Airflow before 3.3 cannot.
    :param kwargs: Arguments of the operator that it derives from.
    """

    external_id_key = "queries"

    has_failed = RoeQueryFailedError
    timed_out = RoeTimeoutError

    def __init__(
        self,
        *,
        conn_id: str = RoeSqlHook.default_conn_name,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        defer_after: float | timedelta | None = None,
        durable: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(conn_id=conn_id, **kwargs)
        self.deferrable = deferrable
        self.defer_after = None if defer_after is None else seconds(defer_after, "defer_after")
        self.durable = durable
        self.query_id: str | None = None

    @property
    def roe_conn_id(self) -> str:  # type: ignore[override]
        """The connection, as the wait knows it."""
        return str(self.conn_id)

    @property
    def organization_id(self) -> str | None:  # type: ignore[override]
        """The organization, as the wait knows it."""
        return self.hook.organization_id

    @property
    def hook(self) -> RoeHook:
        """The hook that asks Roe on the worker."""
        return self._hook.roe

    @cached_property
    def _hook(self) -> RoeSqlHook:
        # Made without a look-up of the connection, which is to be retried as any other call.
        hook = RoeSqlHook(self.roe_conn_id, **self.hook_params)
        hook.schema = self.database
        return hook

    def execute(self, context: Context) -> Any:
        """Run the operator; its queries may be those of an earlier try."""
        return self._execute(_Queries(self, context))

    def execute_complete(self, context: Context, event: Any = None) -> Any:
        """Run the operator from its start, with the queries that it has submitted."""
        return self._execute(_Queries(self, context, self._submitted(context), event))

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Go on after a deferral, in a process that does not know the queries yet."""
        self.query_id = self._submitted(context)[-1]
        return super().resume_execution(next_method, next_kwargs, context)

    def _submitted(self, context: Context) -> list[str]:
        """Return the ids of the queries that this try has submitted before it was deferred."""
        ti: Any = context["ti"]
        ids = ti.xcom_pull(task_ids=self.task_id, key="query_ids", map_indexes=ti.map_index)
        return list(ids)

    def _execute(self, queries: _Queries) -> Any:
        context = queries.context
        self._forget_after_success(context)
        self._hook.connect = partial(_Connection, queries)
        try:
            # Airflow 2.11 would warn of an execute that another one calls.
            return inspect.unwrap(super().execute)(self, context)
        except RoeError as e:
            if isinstance(e.__cause__ or e, RoeResultError | RoeNotFoundError):
                # A try that attached to the query would end the same way, for ever.
                queries.forget_last()
            raise
        except Exception:
            self._forget(context)
            raise
        finally:
            self._hook.connect = dbapi.Connection

    def _new_wait(self, started_at: float) -> Wait:
        wait = self._wait_for_query(
            started_at=started_at, timeout=self._hook.timeout, poke_interval=self._hook.poll_interval
        )
        wait.first_interval = FIRST_INTERVAL
        return wait

    def _outcome(self, event: Any, context: Context) -> dict[str, Any] | BaseException:
        """Return what has ended well, or what the task raises; with Roe's reason, for DB-API errors."""
        outcome = super()._outcome(event, context)
        if isinstance(outcome, RoeQueryFailedError):
            outcome.status, outcome.reason = event.get("status"), event.get("reason")
        return outcome


class _Queries:
    """
    The queries of one execution of a task, in their order.

    :param task: The task.
    :param context: Its context.
    :param ids: Those that this try has submitted already; all but the last have succeeded.
    :param event: How the last of them has ended.
    """

    def __init__(self, task: RoeSQLTask, context: Context, ids: Iterable[str] = (), event: Any = None):
        self.task = task
        self.context = context
        self._ids = list(ids)
        self._ended = len(self._ids)
        self._event = event
        self._next = 0
        self._store = context.get("task_state_store") if task.durable else None
        self._kept: Any = (self._store.get(task.external_id_key) if self._store is not None else None) or []

    def submit(self, sql: str) -> str:
        """
        Return the id of the next query: of the one that was submitted before, or of a new one.

        :param sql: Its text.
        """
        task, place = self.task, self._next
        self._next += 1
        if place < len(self._ids):
            task.query_id = self._ids[place]
            return task.query_id
        asked = task._asked(sql)
        query_id = self._that_goes_on(place, asked)
        if query_id is None:
            query_id = task.hook.submit_query(sql).query_id
            task.log.info("Submitted query %s", query_id)
            self._kept[place:] = [{"query_id": query_id, "asked": asked}]
            if self._store is not None:
                self._store.set(task.external_id_key, self._kept)
        task.query_id = query_id
        self._ids.append(query_id)
        # Whatever do_xcom_push says: the way back from a deferral needs them.
        self.context["ti"].xcom_push(key="query_ids", value=self._ids)
        task._push_link(self.context, query_id=query_id)
        return query_id

    def _that_goes_on(self, place: int, asked: str) -> str | None:
        """Return the id of the query that an earlier try has submitted, unless it has failed."""
        for kept in self._kept[place : place + 1]:
            if self.task._state_of(kept, asked) in (State.RUNNING.value, State.SUCCEEDED.value):
                query_id: str = kept["query_id"]
                self.task.log.info("Attaching to query %s, which an earlier try has submitted", query_id)
                return query_id
        return None

    def forget_last(self) -> None:
        """Let a retry submit the last query anew, and none before it."""
        del self._kept[max(self._next - 1, 0) :]
        if self._store is not None:
            self._store.set(self.task.external_id_key, self._kept)

    def wait(self) -> None:
        """Wait until the query that was submitted last has succeeded, here or in the triggerer."""
        task = self.task
        if self._next < self._ended:
            return
        if self._next == self._ended:
            outcome = task._outcome(self._event, self.context)
        else:
            wait = task._new_wait(time.time())
            wait.tell_start(task.roe_conn_id)
            outcome = task._wait_for(wait, self.context)
        if isinstance(outcome, BaseException):
            raise outcome


class _Connection(dbapi.Connection):
    """
    A DB-API connection whose queries are those of a task.

    :param queries: The queries.
    :param arguments: As of all connections.
    """

    def __init__(self, queries: _Queries, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._queries = queries

    def _submit(self, sql: str) -> str:
        with dbapi.as_dbapi_errors():
            return self._queries.submit(sql)

    def _wait(self, query_id: str) -> None:
        with dbapi.as_dbapi_errors():
            self._queries.wait()


class RoeSQLExecuteQueryOperator(RoeSQLTask, common.SQLExecuteQueryOperator):
    """Runs SQL, as Airflow's ``SQLExecuteQueryOperator`` does, one wait for each text."""


class RoeSQLColumnCheckOperator(RoeSQLTask, common.SQLColumnCheckOperator):
    """Checks columns, as Airflow's ``SQLColumnCheckOperator`` does."""


class RoeSQLTableCheckOperator(RoeSQLTask, common.SQLTableCheckOperator):
    """Checks a table, as Airflow's ``SQLTableCheckOperator`` does."""


class RoeSQLCheckOperator(RoeSQLTask, common.SQLCheckOperator):
    """Checks that no value of a row is false, as Airflow's ``SQLCheckOperator`` does."""


class RoeSQLValueCheckOperator(RoeSQLTask, common.SQLValueCheckOperator):
    """Checks a value against another, as Airflow's ``SQLValueCheckOperator`` does."""


class RoeSQLIntervalCheckOperator(RoeSQLTask, common.SQLIntervalCheckOperator):
    """Checks metrics against those of days before, as Airflow's ``SQLIntervalCheckOperator`` does."""


class RoeSQLThresholdCheckOperator(RoeSQLTask, common.SQLThresholdCheckOperator):
    """Checks a value against bounds, as Airflow's ``SQLThresholdCheckOperator`` does."""


class RoeBranchSQLOperator(RoeSQLTask, common.BranchSQLOperator):
    """Follows one branch or another, as Airflow's ``BranchSQLOperator`` does."""
