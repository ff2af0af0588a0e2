"""A task's part in a wait, the same for all of them: it polls on the worker, defers, and finishes."""

from __future__ import annotations

import math
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow import __version__ as AIRFLOW_VERSION
from airflow.providers.common.compat.sdk import AirflowTaskTimeout, BaseOperator

from airflow_provider_roe import exceptions
from airflow_provider_roe.api.base import read_time
from airflow_provider_roe.client.retry import Retries
from airflow_provider_roe.exceptions import RoeError, RoeUnavailableError
from airflow_provider_roe.links.roe import RoeLink
from airflow_provider_roe.metrics import OF_TASK
from airflow_provider_roe.waiting.hand_over import executor_of, hand_over
from airflow_provider_roe.waiting.supervisor import Supervisor
from airflow_provider_roe.waiting.wait import CENTURY

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context
    from airflow.triggers.base import BaseTrigger

    from airflow_provider_roe.api.agents import AgentJobs
    from airflow_provider_roe.api.queries import QueryStatus
    from airflow_provider_roe.hooks.roe import RoeHook
    from airflow_provider_roe.waiting.stored import Event, TriggerArguments
    from airflow_provider_roe.waiting.wait import Subject, Wait

#: Seconds for which a deferrable task polls on the worker. A deferral costs from 4 s to 20 s of hand-overs,
#: which is longer than many a query takes.
DEFER_AFTER = 10.0
#: Seconds that the trigger has to tell of a time-out itself before the scheduler ends the deferral, which is
#: what happens where no triggerer runs.
TRIGGER_GRACE = 300.0


class WaitingTask(BaseOperator):
    """
    Base of the tasks that wait for something at Roe.

    A subclass says what its wait is, how to ask for what it waits for, which trigger goes on with it, what is
    made of a success, and what it raises otherwise.
    """

    operator_extra_links = (RoeLink(),)

    roe_conn_id: str
    organization_id: str | None
    deferrable: bool
    defer_after: float | None

    #: Key and type of what names in an event's success what has ended
    ended: tuple[str, type]
    #: What it raises when what it waited for has failed, and when the wait lasted too long
    has_failed: type[Exception]
    timed_out: type[Exception]

    @property
    def hook(self) -> RoeHook:
        """The hook that asks Roe on the worker."""
        raise NotImplementedError

    def _subject_of(self, ended: dict[str, Any]) -> Subject:
        """Return what an event's success is about."""
        raise NotImplementedError

    def _new_wait(self, started_at: float) -> Wait:
        """Return this task's wait, which began at a Unix time."""
        raise NotImplementedError

    def _ask(self, retries: Retries) -> QueryStatus | AgentJobs:
        """Ask for the status of what is waited for."""
        raise NotImplementedError

    def _new_trigger(self, arguments: TriggerArguments) -> BaseTrigger:
        """Return the trigger that goes on with the wait."""
        raise NotImplementedError

    def _finish(self, ended: dict[str, Any], context: Context) -> Any:
        """Return the task's value once there is a success."""
        return ended

    def _failure(self, error: BaseException) -> BaseException:
        """Return the exception that the task raises for an error."""
        return error

    def _given_up(self) -> None:
        """Do what is to be done when the time is up before what is waited for has ended."""

    def execute_complete(self, context: Context, event: Any = None) -> Any:
        """Finish the task after the trigger's event."""
        outcome = self._outcome(event, context)
        if isinstance(outcome, BaseException):
            raise outcome
        self.log.info("%s ended as %s", self._subject_of(outcome).capitalized, outcome["status"])
        return self._finish(outcome, context)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Go on after a deferral; where Airflow broke it off, look at Roe before giving up."""
        self.hook.client.was_there = True
        if next_method != "__fail__":
            # Not the sensor's own, which puts a skip of its own in the place of ours, that has a reason.
            return getattr(self, next_method)(context, **(next_kwargs or {}))
        start = context["ti"].start_date
        wait = self._new_wait(start.timestamp() if start else time.time())
        limit = self.execution_timeout
        if limit and wait.elapsed >= limit.total_seconds():
            self._given_up()
            raise self._failure(AirflowTaskTimeout(f"The task's execution_timeout of {limit} is over."))
        reason = (next_kwargs or {}).get("error", "unknown")
        try:
            ended = self._poll(wait)
        except AirflowTaskTimeout as e:
            self._given_up()
            raise self._failure(e) from None
        event = ended or {
            "outcome": "error",
            "error": RoeError.__name__,
            "message": f"The trigger of this wait failed ({reason}): see the triggerer's log, and whether"
            " airflow-provider-roe is installed there.",
        }
        return self.execute_complete(context, event)

    def _wait_for(self, wait: Wait, context: Context) -> dict[str, Any] | BaseException:
        """Wait on the worker, or leave for the triggerer; return what has ended well, or what to raise."""
        defer_at = time.time() + self._seconds_on_worker(context)
        supervisor = Supervisor(context["ti"])
        while not (event := self._poll(wait, defer_at)):
            left_on_worker = defer_at - time.time()
            if left_on_worker <= 0:
                self._defer(wait)
            time.sleep(min(wait.next_interval(), left_on_worker))
            supervisor.end_if_gone(self.log)
        supervisor.end_if_gone(self.log)
        self._measure(wait, event)
        return self._outcome(event, context)

    def _measure(self, wait: Wait, event: Event) -> None:
        """Tell operators of Airflow how long a wait was that has ended on the worker."""
        OF_TASK.time("roe.wait.duration", wait.elapsed, conn_id=self.roe_conn_id, outcome=event["outcome"])

    def _measure_lateness(self, ended: dict[str, Any], context: Context) -> None:
        """Tell how long ago that ended which was waited for, or the task began, if that was later."""
        times = [read_time(each.get("finished_at")) for each in ended.get("jobs", [ended])]
        known = [moment.timestamp() for moment in times if moment]
        began = getattr(context["ti"], "start_date", None)
        if known:
            end = max(*known, began.timestamp() if began else 0)
            OF_TASK.time("roe.wait.lateness", time.time() - end, conn_id=self.roe_conn_id)

    def _seconds_on_worker(self, context: Context) -> float:
        if not self.deferrable:
            return math.inf
        if self.defer_after is not None:
            return self.defer_after
        # A fan-out of a thousand must not hold the workers.
        mapped = context["ti"].map_index not in (None, -1)
        return 0 if mapped else DEFER_AFTER

    def _push_link(self, context: Context, **ids: object) -> None:
        """Tell the task's link where people look at what is waited for. No wait shall fail for a link."""
        try:
            url = self.hook.connection.link(**ids)
            context["ti"].xcom_push(key=RoeLink.xcom_key, value=url)
        except Exception as e:
            self.log.info("The task has no link to Roe (%s)", type(e).__name__)

    def _poll(self, wait: Wait, defer_at: float = math.inf) -> Event | None:
        """Ask once how far it is; return the event that ends the wait, if it does."""
        try:
            status = self._ask(Retries(wait.troubles, min(wait.deadline, defer_at)))
        except RoeUnavailableError as e:
            if defer_at <= time.time() < wait.deadline:
                wait.troubles.met(e, "The triggerer goes on trying.")
                return None
            return wait.failed(e)
        except RoeError as e:
            return wait.failed(e)
        return wait.saw(status)

    def _defer(self, wait: Wait) -> NoReturn:
        wait.troubles.sum_up()
        elapsed = wait.elapsed
        timeout = min(wait.timeout, CENTURY) - elapsed + TRIGGER_GRACE
        if self.execution_timeout:
            timeout = min(timeout, self.execution_timeout.total_seconds() - elapsed)
        client = self.hook.client
        arguments: TriggerArguments = {
            "roe_conn_id": self.roe_conn_id,
            "organization_id": self.organization_id,
            "deferred_at": time.time(),
            "hand_over": hand_over(executor_of(self.executor), AIRFLOW_VERSION),
            "retry_window": client.retry_window if client.was_there else None,
            **wait.arguments(),
        }
        self.defer(
            trigger=self._new_trigger(arguments),
            method_name="execute_complete",
            timeout=timedelta(seconds=max(timeout, 0)),
        )

    def _names_it(self, ended: dict[str, Any]) -> bool:
        key, kind = self.ended
        return isinstance(ended.get(key), kind)

    def _outcome(self, event: Any, context: Context) -> dict[str, Any] | BaseException:
        """
        Return what has ended well, or what the task raises.

        The methods that Airflow calls raise it, so a traceback in a task's log leads nobody through others.
        """
        match event:
            case {"outcome": "success", "ended": {"status": str()} as ended} if self._names_it(ended):
                self._measure_lateness(ended, context)
                return dict(ended)
            case {"outcome": "failed", "message": str(message)}:
                return self._failure(self.has_failed(message))
            case {"outcome": "timeout", "message": str(message)}:
                self._given_up()
                return self._failure(self.timed_out(message))
            case {"outcome": "error", "error": str(name), "message": str(message)}:
                error_class: Any = getattr(exceptions, name, None)
                if not (isinstance(error_class, type) and issubclass(error_class, RoeError)):
                    error_class = RoeError
                return self._failure(error_class(message))
        return self._failure(RoeError(f"The trigger sent an event that is not understood: {event!r}"))
