"""A wait for a query, the same in every mode: when to poll next, what is told, and how it ends."""

from __future__ import annotations

import math
import random
import time
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from airflow.providers.common.compat.sdk import conf

from airflow_provider_roe.api.base import clip
from airflow_provider_roe.api.queries import QueryState, QueryStatus
from airflow_provider_roe.client.trouble import Troubles
from airflow_provider_roe.exceptions import RoeInputError, RoeUnavailableError

if TYPE_CHECKING:
    from airflow_provider_roe.exceptions import RoeError

#: Seconds that a task must stay away after it deferred or rescheduled itself. The supervisor that it left may
#: notice its end only when the next heartbeat is due, and the scheduler of Airflow 3.3.2 takes a task that is
#: back before it has heard of that for one that crashed; a busy one takes seconds to hear.
HAND_OVER: float = conf.getfloat("workers", "min_heartbeat_interval", fallback=5.0) + 10.0

#: How a wait ends: a plain dict, for a trigger's event is stored as JSON. Its "kind" is one of
#: success (with "query"), query_failed, timeout, error (with "error", the name of its class);
#: all but success have a "message".
Event = dict[str, Any]


@dataclass
class Wait:
    """
    A wait for one query.

    :param query_id: The query.
    :param started_at: Unix time at which the wait began, on whichever host.
    :param timeout: Seconds after which it ends, if the query has not ended by then.
    :param poke_interval: Seconds between two polls.
    :param exponential_backoff: Whether the interval keeps growing beyond ``poke_interval``.
    :param max_wait: Seconds beyond which it does not grow; None for no such bound.
    :param silent_fail: Whether to wait on when Roe cannot be asked.
    :param log: A logger. It is told what changes, not each poll.
    """

    query_id: Any
    started_at: float
    timeout: float
    poke_interval: float
    exponential_backoff: bool
    max_wait: float | None
    silent_fail: bool
    log: Any

    def __post_init__(self) -> None:
        if isinstance(self.query_id, UUID):
            self.query_id = str(self.query_id)
        self.troubles = Troubles(self.log)
        self._warned: set[str] = set()
        self._last: QueryStatus | None = None

    def arguments(self) -> dict[str, Any]:
        """Return what it takes to go on with this wait elsewhere, as plain values."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "log"}

    @property
    def deadline(self) -> float:
        """Unix time at which the wait ends."""
        return self.started_at + self.timeout

    @property
    def _elapsed(self) -> str:
        return in_words(time.time() - self.started_at)

    def tell_start(self, conn_id: str) -> None:
        """Tell what is waited for."""
        self.log.info(
            "Waiting for query %s on connection %s, for at most %s",
            self.query_id,
            conn_id,
            in_words(self.timeout),
        )

    def next_interval(self) -> float:
        """
        Return the seconds until the next poll, which is the last one if they lead to the deadline.

        It doubles the time waited so far: polls come after 1, 2, 4, … s, until they are ``poke_interval``
        apart, so that a short query is not waited for long, and whoever takes up a wait goes on as it was.
        It lies up to a tenth off, so that waits which began together do not poll together.
        """
        interval = max(time.time() - self.started_at, min(1.0, self.poke_interval))
        if not self.exponential_backoff:
            interval = min(interval, self.poke_interval)
        elif self.max_wait is not None:
            interval = min(interval, self.max_wait)
        interval *= random.uniform(0.9, 1.1)  # noqa: S311
        return max(min(interval, self.deadline - time.time()), 0)

    def saw(self, status: QueryStatus) -> Event | None:
        """Take note of a status; return the event that ends the wait, or None to wait on."""
        self._tell(status)
        self._last = status
        if status.state is QueryState.SUCCEEDED:
            return self._end({"kind": "success", "query": status.as_dict()})
        if status.state is QueryState.FAILED:
            return self._end({"kind": "query_failed", "message": _why_failed(status)})
        return self._timed_out() if time.time() >= self.deadline else None

    def failed(self, error: RoeError) -> Event | None:
        """Take note that Roe could not be asked; return the event that ends the wait, or None to wait on."""
        if time.time() >= self.deadline and (self.silent_fail or isinstance(error, RoeUnavailableError)):
            return self._timed_out(error)
        if self.silent_fail:
            self.troubles.met(error, "Waiting on, for silent_fail is set.")
            return None
        return self._end({"kind": "error", "error": type(error).__name__, "message": str(error)})

    def _timed_out(self, error: RoeError | None = None) -> Event:
        seen = f"is still {self._last.status}" if self._last else "was not seen to end"
        message = (
            f"Query {clip(str(self.query_id), 100)} {seen} after {self._elapsed}; the wait's timeout is"
            f" {self.timeout:g} s. It goes on at Roe, which has no call to cancel it."
        )
        if error:
            message += f" Last error: {error}"
        elif self._last:
            message += f" Request id: {self._last.request_id}."
        return self._end({"kind": "timeout", "message": message})

    def _end(self, event: Event) -> Event:
        self.troubles.sum_up()
        return event

    def _tell(self, status: QueryStatus) -> None:
        if not self._last:
            self.log.info("Query %s is %s after %s", self.query_id, status.status, self._elapsed)
        elif self._last.status != status.status:
            self.log.info(
                "Query %s: %s -> %s after %s", self.query_id, self._last.status, status.status, self._elapsed
            )
        if not status.known and status.state is QueryState.RUNNING:
            self._warn(f"Status {status.status} is unknown; without a finishing time it is taken to run.")
        if status.error and status.state is QueryState.FAILED:
            # Airflow's UI shows a failed task's errors first, and of an exception no more than its beginning.
            self.log.error("Roe says: %s", status.error)
        elif status.error:
            self._warn(f"Roe says of status {status.status}: {status.error}")

    def _warn(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            self.log.warning("%s", text)


def seconds(value: float | timedelta, argument: str) -> float:
    """
    Return a span of time in seconds.

    :param value: What the user gave: seconds, or a timedelta.
    :param argument: The argument it was given in, for the error.
    :raises RoeInputError: It is no span of time, negative, or without an end.
    """
    found = value.total_seconds() if isinstance(value, timedelta) else value
    if not isinstance(found, int | float) or isinstance(found, bool) or not 0 <= found < math.inf:
        raise RoeInputError(
            f"{argument} must be a number of seconds or a timedelta, 0 or more, not {clip(repr(value), 100)}."
        )
    return found


def in_words(seconds: float) -> str:
    """Return a span of time as one would say it: ``7.3 s``, ``2 hours 3 minutes 1 second``."""
    import pendulum

    if seconds < 60:
        return f"{max(seconds, 0):.1f} s"
    return pendulum.duration(seconds=round(seconds)).in_words()


def _why_failed(status: QueryStatus) -> str:
    duration = "" if status.duration is None else f" after {in_words(status.duration)}"
    message = (
        f"Query {status.query_id} ended as {status.status}{duration}: {status.error or 'Roe gave no reason'}"
    )
    if not status.known:
        message += (
            " (an unknown status; if it means success, name it in the connection's extra.success_statuses)"
        )
    if not message.endswith((".", "!", "?", "…")):
        message += "."
    return f"{message} Request id: {status.request_id}."
