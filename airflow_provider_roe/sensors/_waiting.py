"""What the sensors have in common: the arguments of all sensors, which mean the same in every mode."""

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
)

from airflow_provider_roe.waiting.hand_over import HAND_OVER
from airflow_provider_roe.waiting.task import WaitingTask
from airflow_provider_roe.waiting.wait import seconds

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime, timedelta

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_roe.waiting.stored import WaitArguments
    from airflow_provider_roe.waiting.wait import Wait

#: Of the time waited so far until a task that reschedules itself is back, which takes a process each time
RESCHEDULE_GROWTH = 0.25


class WaitingSensor(WaitingTask, BaseSensorOperator):
    """
    Base of the sensors: a subclass says what it waits for, and where people look at it.

    :param roe_conn_id: The Airflow connection of type ``roe``.
    :param organization_id: UUID of the organization; None for the connection's.
    :param deferrable: Whether to wait in the triggerer.
    :param defer_after: Seconds, or a timedelta, to poll on the worker before deferring.
    """

    has_failed = AirflowFailException
    timed_out = AirflowSensorTimeout

    def __init__(
        self,
        *,
        roe_conn_id: str,
        organization_id: str | None,
        deferrable: bool,
        defer_after: float | timedelta | None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.roe_conn_id = roe_conn_id
        self.organization_id = organization_id
        self.deferrable = deferrable
        self.defer_after = None if defer_after is None else seconds(defer_after, "defer_after")
        if deferrable:
            self.mode = "poke"
        self._wait: Wait | None = None

    def _link_ids(self) -> dict[str, object]:
        """Return the ids by which the task's link finds what is waited for."""
        raise NotImplementedError

    def execute(self, context: Context) -> Any:
        """Wait until that has ended which the sensor is for."""
        if self.reschedule:
            return super().execute(context)
        try:
            outcome = self._wait_for(self._begin(context), context)
        except AirflowTaskTimeout as e:
            self._given_up()
            outcome = self._failure(e)
        if isinstance(outcome, BaseException):
            raise outcome
        return self._finish(outcome, context)

    def poke(self, context: Context) -> bool | PokeReturnValue:
        """Ask once for the status."""
        wait = self._wait = self._wait or self._begin(context)
        event = self._poll(wait)
        if event is None:
            wait.troubles.sum_up()
            return False
        self._measure(wait, event)
        outcome = self._outcome(event, context)
        if isinstance(outcome, BaseException):
            raise outcome
        return PokeReturnValue(True, self._finish(outcome, context))

    def _begin(self, context: Context) -> Wait:
        wait = self._new_wait(self._first_start(context))
        wait.tell_start(self.roe_conn_id)
        self._push_link(context, **self._link_ids())
        return wait

    def _arguments(self, started_at: float) -> WaitArguments:
        """Return what the arguments of all sensors say of a wait."""
        return {
            "started_at": started_at,
            "timeout": self.timeout,
            "poke_interval": self.poke_interval,
            "exponential_backoff": self.exponential_backoff,
            "max_wait": self.max_wait.total_seconds() if self.max_wait else None,
            "silent_fail": self.silent_fail,
        }

    def _get_next_poke_interval(
        self, started_at: datetime | float, run_duration: Callable[[], float], poke_count: int
    ) -> float:
        interval = super()._get_next_poke_interval(started_at, run_duration, poke_count)
        if not self.exponential_backoff:
            interval = min(interval, RESCHEDULE_GROWTH * run_duration())
        return max(min(interval, self.timeout - run_duration()), HAND_OVER)

    def _failure(self, error: BaseException) -> BaseException:
        """Return the exception that fails the task for an error, or skips it."""
        final = isinstance(error, AirflowFailException | AirflowSensorTimeout | AirflowTaskTimeout)
        if self.never_fail or (self.soft_fail and final):
            return AirflowSkipException(str(error))
        return error

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
