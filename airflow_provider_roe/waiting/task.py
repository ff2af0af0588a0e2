"""A task's part in a wait, the same for sensor and operator: it polls on the worker, defers, and finishes."""

from __future__ import annotations

import math
import time
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.providers.common.compat.sdk import AirflowTaskTimeout, BaseOperator

from airflow_provider_roe import exceptions
from airflow_provider_roe.exceptions import RoeError, RoeUnavailableError
from airflow_provider_roe.hooks.roe import RoeHook
from airflow_provider_roe.links.roe import RoeLink

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_roe.waiting.wait import Event, Wait

#: Seconds for which a deferrable task polls on the worker. A deferral costs about 20 s of hand-overs, which
#: is longer than many a query takes.
DEFER_AFTER = 10.0
#: Seconds that the trigger has to tell of a time-out itself before the scheduler ends the deferral, which is
#: what happens where no triggerer runs.
TRIGGER_GRACE = 300.0


class WaitingTask(BaseOperator):
    """
    Base of the tasks that wait for a query.

    A subclass says what its wait is, what is made of a query that succeeded, and what it raises otherwise.
    """

    operator_extra_links = (RoeLink(),)

    roe_conn_id: str
    organization_id: str | None
    deferrable: bool
    defer_after: float | None

    #: What it raises when the query failed, and when the wait lasted too long
    query_failed: type[Exception]
    timed_out: type[Exception]

    @cached_property
    def hook(self) -> RoeHook:
        """The hook that asks Roe on the worker."""
        return RoeHook(self.roe_conn_id, organization_id=self.organization_id)

    def _new_wait(self, context: Context, started_at: float) -> Wait:
        """Return this task's wait, which began at a Unix time."""
        raise NotImplementedError

    def _finish(self, query: dict[str, Any], context: Context) -> Any:
        """Return what the task returns once its query has succeeded."""
        return query

    def _failure(self, error: BaseException) -> BaseException:
        """Return what the task raises for an error."""
        return error

    def execute_complete(self, context: Context, event: Any = None) -> Any:
        """Finish the task after the trigger's event."""
        outcome = self._outcome(event)
        if isinstance(outcome, BaseException):
            raise outcome
        self.log.info("Query %s ended as %s", outcome["query_id"], outcome["status"])
        return self._finish(outcome, context)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Go on after a deferral; where Airflow broke it off, look at the query before giving up."""
        if next_method != "__fail__":
            # Not the sensor's own, which puts a skip of its own in the place of ours, that has a reason.
            return getattr(self, next_method)(context, **(next_kwargs or {}))
        start = context["ti"].start_date
        wait = self._new_wait(context, start.timestamp() if start else time.time())
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

    def _seconds_on_worker(self, context: Context) -> float:
        if not self.deferrable:
            return math.inf
        if self.defer_after is not None:
            return self.defer_after
        # A fan-out of a thousand must not hold the workers.
        mapped = context["ti"].map_index not in (None, -1)
        return 0 if mapped else DEFER_AFTER

    def _push_link(self, context: Context, query_id: object, worksheet_id: object = None) -> None:
        """Tell the task's link where the query is. No wait shall fail for a link."""
        try:
            url = self.hook.connection.link(query_id=query_id, worksheet_id=worksheet_id)
            context["ti"].xcom_push(key=RoeLink.xcom_key, value=url)
        except Exception as e:
            self.log.info("The task has no link to Roe (%s)", type(e).__name__)

    def _poll(self, wait: Wait, defer_at: float = math.inf) -> Event | None:
        """Ask once how far the query is; return the event that ends the wait, if it does."""
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

    def _outcome(self, event: Any) -> dict[str, Any] | BaseException:
        """
        Return the query that succeeded, or what the task raises.

        The methods that Airflow calls raise it, so a traceback in a task's log leads nobody through others.
        """
        match event:
            case {"kind": "success", "query": {"query_id": str(), "status": str()}}:
                return dict(event["query"])
            case {"kind": "query_failed", "message": str(message)}:
                return self._failure(self.query_failed(message))
            case {"kind": "timeout", "message": str(message)}:
                return self._failure(self.timed_out(message))
            case {"kind": "error", "error": str(name), "message": str(message)}:
                kind: Any = getattr(exceptions, name, None)
                if not (isinstance(kind, type) and issubclass(kind, RoeError)):
                    kind = RoeError
                return self._failure(kind(message))
        return self._failure(RoeError(f"The trigger sent an event that is not understood: {event!r}"))
