"""The sensor that waits for a query."""

from __future__ import annotations

import math
import time
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    BaseSensorOperator,
    PokeReturnValue,
    conf,
)

from airflow_provider_roe import exceptions
from airflow_provider_roe.exceptions import RoeError, RoeUnavailableError
from airflow_provider_roe.hooks.roe import RoeHook
from airflow_provider_roe.waiting import HAND_OVER, Wait

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from airflow.providers.common.compat.sdk import Context, XComArg

    from airflow_provider_roe.waiting import Event

#: Seconds for which a deferrable sensor polls on the worker. A deferral costs about 17 s of hand-overs, which
#: is longer than many a query takes.
DEFER_AFTER = 10.0
#: Seconds that the trigger has to tell of a time-out itself before the scheduler ends the deferral, which is
#: what happens where no triggerer runs.
TRIGGER_GRACE = 300.0


class RoeQueryStatusSensor(BaseSensorOperator):
    """
    Waits until a query on Roe ends, and ends as it did.

    Returns, as XCom, a dict of the query's ``query_id, status, error, created_at, finished_at, duration``,
    with times in RFC 3339, the duration in seconds, and None for what Roe did not tell.

    A query that failed fails the task without a retry, for the same query would not change; with
    ``soft_fail`` or ``never_fail`` it skips it. When Roe cannot be asked for longer than the connection's
    ``retry_window``, or refuses the request, the task fails and is retried as its ``retries`` say;
    ``soft_fail`` does not skip then, ``never_fail`` does, and ``silent_fail`` waits on.

    Roe has no call to cancel a query: when the task is killed, the waiting stops and the query goes on.

    :param query_id: The query's UUID, as :meth:`RoeHook.submit_query` returns it. (templated)
    :param roe_conn_id: The Airflow connection of type ``roe``. (templated)
    :param organization_id: UUID of the query's organization; by default the connection's. (templated)
    :param deferrable: Whether to wait in the triggerer, where a wait occupies no worker slot. By default as
        ``[operators] default_deferrable`` says. It wins over ``mode``.
    :param defer_after: Seconds to poll on the worker before deferring. By default 10, or 0 (one poll) for a
        mapped task.
    :param kwargs: Arguments of all sensors. ``poke_interval``, ``exponential_backoff``, ``max_wait``,
        ``timeout`` and the fail flags mean the same in every mode. Polls start 1, 2, 4, … s apart until
        ``poke_interval`` is reached; with ``mode="reschedule"`` they are always ``poke_interval`` apart, and
        no less than 15 s.
    """

    template_fields: Sequence[str] = ("query_id", "roe_conn_id", "organization_id")
    ui_color = "#d7e8f7"

    def __init__(
        self,
        *,
        query_id: str | XComArg,
        roe_conn_id: str = RoeHook.default_conn_name,
        organization_id: str | None = None,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        defer_after: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.query_id = query_id
        self.roe_conn_id = roe_conn_id
        self.organization_id = organization_id
        self.deferrable = deferrable
        self.defer_after = defer_after
        if deferrable:
            self.mode = "poke"
        self._wait: Wait | None = None

    @cached_property
    def hook(self) -> RoeHook:
        """The hook that polls on the worker."""
        return RoeHook(self.roe_conn_id, organization_id=self.organization_id)

    def poke(self, context: Context) -> bool | PokeReturnValue:
        """Ask once how far the query is."""
        if self._wait is None:
            self._wait = self._new_wait(self._first_start(context))
            self._wait.tell_start(self.roe_conn_id)
            self._defer_at = time.time() + self._defer_after(context)
        if not (event := self._poll(self._wait, self._defer_at)):
            return False
        outcome = self._outcome(event)
        if isinstance(outcome, BaseException):
            raise outcome
        return PokeReturnValue(True, outcome)

    def _poll(self, wait: Wait, defer_at: float = math.inf) -> Event | None:
        try:
            status = self.hook.get_query_status(
                wait.query_id, deadline=min(wait.deadline, defer_at), troubles=wait.troubles
            )
        except RoeUnavailableError as e:
            if defer_at <= time.time() < wait.deadline:
                wait.troubles.met(e, "The triggerer goes on trying.")
                return None
            return wait.failed(e)
        except RoeError as e:
            return wait.failed(e)
        return wait.saw(status)

    def _get_next_poke_interval(
        self, started_at: datetime | float, run_duration: Callable[[], float], poke_count: int
    ) -> float:
        # Airflow asks this when a poll has not ended the wait and it is about to sleep or to reschedule.
        wait = self._wait
        assert wait is not None  # noqa: S101 - there was a poll
        if self.reschedule:
            wait.troubles.sum_up()
            interval = super()._get_next_poke_interval(started_at, run_duration, poke_count)
            return max(min(interval, wait.deadline - time.time()), HAND_OVER)
        left_on_worker = self._defer_at - time.time()
        if left_on_worker <= 0:
            self._defer(wait)
        return min(wait.next_interval(), left_on_worker)

    def _defer(self, wait: Wait) -> NoReturn:
        # Imported here, for Airflow's base class alone costs 10 ms, which every parse of a DAG would pay.
        from airflow_provider_roe.triggers.roe import RoeQueryStatusTrigger

        wait.troubles.sum_up()
        elapsed = time.time() - wait.started_at
        timeout = wait.timeout - elapsed + TRIGGER_GRACE
        if self.execution_timeout:
            timeout = min(timeout, self.execution_timeout.total_seconds() - elapsed)
        self.defer(
            trigger=RoeQueryStatusTrigger(
                roe_conn_id=self.roe_conn_id,
                organization_id=self.organization_id,
                deferred_at=time.time(),
                **wait.arguments(),
            ),
            method_name="execute_complete",
            timeout=timedelta(seconds=max(timeout, 0)),
        )

    def execute_complete(self, context: Context, event: Any = None) -> dict[str, Any]:
        """Finish the task after the trigger's event."""
        outcome = self._outcome(event)
        if isinstance(outcome, BaseException):
            raise outcome
        self.log.info("Query %s ended as %s", outcome["query_id"], outcome["status"])
        return outcome

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Go on after a deferral; where Airflow broke it off, look at the query before giving up."""
        if next_method != "__fail__":
            # Not super's, which puts a skip of its own in the place of ours, that has a reason.
            return getattr(self, next_method)(context, **(next_kwargs or {}))
        start = context["ti"].start_date
        wait = self._new_wait(start.timestamp() if start else time.time())
        limit = self.execution_timeout
        if limit and time.time() >= wait.started_at + limit.total_seconds():
            raise self._failure(AirflowTaskTimeout(f"The task's execution_timeout of {limit} is over."))
        reason = (next_kwargs or {}).get("error", "unknown")
        event = self._poll(wait) or {
            "kind": "error",
            "error": RoeError.__name__,
            "message": f"The trigger of this wait failed ({reason}): see the triggerer's log, and whether"
            " airflow-provider-roe is installed there.",
        }
        return self.execute_complete(context, event)

    def _outcome(self, event: Any) -> dict[str, Any] | BaseException:
        """
        Return what the task returns after an event, or what it raises.

        It is raised elsewhere, by a method of Airflow's own: the traceback in the task's log leads nobody
        through ours.
        """
        match event:
            case {"kind": "success", "query": {"query_id": str(), "status": str()}}:
                return dict(event["query"])
            case {"kind": "query_failed", "message": str(message)}:
                return self._failure(AirflowFailException(message))
            case {"kind": "timeout", "message": str(message)}:
                return self._failure(AirflowSensorTimeout(message))
            case {"kind": "error", "error": str(name), "message": str(message)}:
                kind: Any = getattr(exceptions, name, None)
                if not (isinstance(kind, type) and issubclass(kind, RoeError)):
                    kind = RoeError
                return self._failure(kind(message))
        return self._failure(RoeError(f"The trigger sent an event that is not understood: {event!r}"))

    def _failure(self, error: BaseException) -> BaseException:
        """Return what a task raises that is to fail, or to be skipped for this."""
        final = isinstance(error, AirflowFailException | AirflowSensorTimeout | AirflowTaskTimeout)
        if self.never_fail or (self.soft_fail and final):
            return AirflowSkipException(str(error))
        return error

    def _defer_after(self, context: Context) -> float:
        if not self.deferrable:
            return math.inf
        if self.defer_after is not None:
            return self.defer_after
        # A fan-out of a thousand must not hold the workers.
        mapped = context["ti"].map_index not in (None, -1)
        return 0 if mapped else DEFER_AFTER

    def _new_wait(self, started_at: float) -> Wait:
        return Wait(
            query_id=self.query_id,
            started_at=started_at,
            timeout=self.timeout,
            poke_interval=self.poke_interval,
            exponential_backoff=self.exponential_backoff,
            max_wait=self.max_wait.total_seconds() if self.max_wait else None,
            silent_fail=self.silent_fail,
            log=self.log,
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
