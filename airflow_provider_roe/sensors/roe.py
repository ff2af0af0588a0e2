"""The sensor that waits for a query."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    BaseSensorOperator,
    PokeReturnValue,
    conf,
)

from airflow_provider_roe.hooks.roe import RoeHook
from airflow_provider_roe.operators._query_task import QueryTask
from airflow_provider_roe.waiting.wait import HAND_OVER, seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime, timedelta

    from airflow.providers.common.compat.sdk import Context, XComArg

    from airflow_provider_roe.waiting.wait import Wait


class RoeQueryStatusSensor(QueryTask, BaseSensorOperator):
    """
    Waits until a query on Roe ends, and ends as it did.

    Returns, as XCom, a dict of the query's ``query_id, status, error, created_at, finished_at, duration``,
    with times in RFC 3339, the duration in seconds, and None for what Roe did not tell.

    A query that failed fails the task without a retry, for the same query would not change; with
    ``soft_fail`` or ``never_fail`` it skips it. When Roe cannot be asked for longer than the connection's
    ``retry_window``, or refuses the request, the task fails and is retried as its ``retries`` say;
    ``soft_fail`` does not skip then, ``never_fail`` does, and ``silent_fail`` waits on.

    Roe has no call to cancel a query: when the task is killed, the waiting stops and the query goes on.

    :param query_id: The query's UUID, as :meth:`~airflow_provider_roe.hooks.roe.RoeHook.submit_query`
        returns it. (templated)
    :param roe_conn_id: The Airflow connection of type ``roe``. (templated)
    :param organization_id: UUID of the query's organization; by default the connection's. (templated)
    :param deferrable: Whether to wait in the triggerer, where a wait occupies no worker slot. By default as
        ``[operators] default_deferrable`` says. It wins over ``mode``.
    :param defer_after: Seconds, or a timedelta, to poll on the worker before deferring. By default 10, or 0
        (one poll) for a mapped task.
    :param kwargs: Arguments of all sensors. ``poke_interval``, ``exponential_backoff``, ``max_wait``,
        ``timeout`` and the fail flags mean the same in every mode. Polls come after 1, 2, 4, … s until
        ``poke_interval`` is reached; with ``mode="reschedule"`` they are always ``poke_interval`` apart, and
        no less than 15 s.
    """

    template_fields: Sequence[str] = ("query_id", "roe_conn_id", "organization_id")
    ui_color = "#d7e8f7"

    has_failed = AirflowFailException
    timed_out = AirflowSensorTimeout

    def __init__(
        self,
        *,
        query_id: str | XComArg,
        roe_conn_id: str = RoeHook.default_conn_name,
        organization_id: str | None = None,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        defer_after: float | timedelta | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.query_id = query_id
        self.roe_conn_id = roe_conn_id
        self.organization_id = organization_id
        self.deferrable = deferrable
        self.defer_after = None if defer_after is None else seconds(defer_after, "defer_after")
        if deferrable:
            self.mode = "poke"
        self._wait: Wait | None = None

    def execute(self, context: Context) -> Any:
        """Wait until the query ends."""
        if self.reschedule:
            return super().execute(context)
        try:
            outcome = self._wait_for(self._begin(context), context)
        except AirflowTaskTimeout as e:
            outcome = self._failure(e)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def poke(self, context: Context) -> bool | PokeReturnValue:
        """Ask once for the query's status."""
        wait = self._wait = self._wait or self._begin(context)
        event = self._poll(wait)
        if event is None:
            wait.troubles.sum_up()
            return False
        outcome = self._outcome(event)
        if isinstance(outcome, BaseException):
            raise outcome
        return PokeReturnValue(True, outcome)

    def _begin(self, context: Context) -> Wait:
        wait = self._new_wait(self._first_start(context))
        wait.tell_start(self.roe_conn_id)
        self._push_link(context, self.query_id)
        return wait

    def _get_next_poke_interval(
        self, started_at: datetime | float, run_duration: Callable[[], float], poke_count: int
    ) -> float:
        interval = super()._get_next_poke_interval(started_at, run_duration, poke_count)
        return max(min(interval, self.timeout - run_duration()), HAND_OVER)

    def _failure(self, error: BaseException) -> BaseException:
        """Return the exception that fails the task for an error, or skips it."""
        final = isinstance(error, AirflowFailException | AirflowSensorTimeout | AirflowTaskTimeout)
        if self.never_fail or (self.soft_fail and final):
            return AirflowSkipException(str(error))
        return error

    def _new_wait(self, started_at: float) -> Wait:
        return self._wait_for_query(
            started_at=started_at,
            timeout=self.timeout,
            poke_interval=self.poke_interval,
            exponential_backoff=self.exponential_backoff,
            max_wait=self.max_wait.total_seconds() if self.max_wait else None,
            silent_fail=self.silent_fail,
        )

    def _first_start(self, context: Context) -> float:
        """Return the Unix time at which the wait began: if rescheduled, in a process before this one."""
        if not self.reschedule:
            return time.time()
        ti = context["ti"]
        if hasattr(ti, "get_first_reschedule_date"):
            start = ti.get_first_reschedule_date(context)
        else:  # Airflow 2.11
            start = ti.start_date
        return start.timestamp() if start else time.time()
