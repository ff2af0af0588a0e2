"""A wait, the same in every mode: when to poll next, what is told, and how it ends."""

from __future__ import annotations

import math
import random
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_roe.api.base import State, clip, sentence
from airflow_provider_roe.client.connection import WEEK
from airflow_provider_roe.client.trouble import Troubles
from airflow_provider_roe.exceptions import RoeInputError, RoeUnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_roe.api.agents import AgentJobs
    from airflow_provider_roe.api.queries import QueryStatus
    from airflow_provider_roe.exceptions import RoeError
    from airflow_provider_roe.waiting.stored import Event, WaitArguments

#: Seconds. A wait may be told to last longer, but no clock, database or reader can do with more.
CENTURY = 100 * 365.25 * 24 * 60 * 60
#: Of the time waited so far: whoever polls that often is late by no more than that.
GROWTH = 0.1


@dataclass(frozen=True, slots=True)
class Subject:
    """
    What is waited for.

    :param name: In two words: ``query 7d9c…``.
    :param afterwards: A sentence on what becomes of it when the wait is given up.
    :param plural: Whether the name is one of several things.
    """

    name: str
    afterwards: str
    plural: bool = False

    @property
    def capitalized(self) -> str:
        """The name at the beginning of a sentence."""
        return self.name[:1].upper() + self.name[1:]


@dataclass(kw_only=True)
class Wait:
    """
    A wait for one thing that goes on at Roe.

    :param subject: What is waited for.
    :param log: A logger. It is told what changes, not each poll.
    :param started_at: Unix time at which the wait began, on whichever host.
    :param timeout: Seconds after which it ends, if what is waited for has not. Default: 7 days.
    :param poke_interval: Seconds between two polls. Default: 60.
    :param exponential_backoff: Whether the interval keeps growing beyond ``poke_interval``.
    :param max_wait: Seconds beyond which it does not grow; None for no such bound.
    :param silent_fail: Whether to wait on when Roe cannot be asked.
    :param first_interval: Seconds between two polls at first. Default: 1.
    """

    subject: Subject
    log: Any
    started_at: float
    timeout: float = WEEK
    poke_interval: float = 60.0
    exponential_backoff: bool = False
    max_wait: float | None = None
    silent_fail: bool = False
    first_interval: float = 1.0

    def __post_init__(self) -> None:
        self.troubles = Troubles(self.log)
        self._notices = Troubles(self.log)
        self._last: QueryStatus | AgentJobs | None = None

    def arguments(self) -> WaitArguments:
        """Return the arguments to go on with this wait elsewhere."""
        return {
            "started_at": self.started_at,
            "timeout": self.timeout,
            "poke_interval": self.poke_interval,
            "exponential_backoff": self.exponential_backoff,
            "max_wait": self.max_wait,
            "silent_fail": self.silent_fail,
        }

    @property
    def deadline(self) -> float:
        """Unix time at which the wait ends."""
        return self.started_at + self.timeout

    @property
    def elapsed(self) -> float:
        """Seconds for which the wait has lasted."""
        return time.time() - self.started_at

    def tell_start(self, conn_id: str) -> None:
        """Tell the log what is waited for."""
        self.log.info(
            "Waiting for %s on connection %s, for at most %s",
            self.subject.name,
            conn_id,
            in_words(self.timeout),
        )

    def next_interval(self) -> float:
        """
        Return the seconds until the next poll, which is the last one if they lead to the deadline.

        It is a tenth of the time waited so far, at least ``first_interval`` and at most ``poke_interval``. So
        no wait is late by more than a tenth of what it has lasted, and whoever takes it up goes on as it was.
        It may be up to a fifth shorter, so that waits which began together do not poll together.
        """
        interval = max(GROWTH * self.elapsed, min(self.first_interval, self.poke_interval))
        if not self.exponential_backoff:
            interval = min(interval, self.poke_interval)
        elif self.max_wait is not None:
            interval = min(interval, self.max_wait)
        interval *= random.uniform(0.8, 1.0)  # noqa: S311
        return max(min(interval, self.deadline - time.time()), 0)

    def saw(self, status: QueryStatus | AgentJobs) -> Event | None:
        """Take note of a status; return the event that ends the wait, or None to wait on."""
        self._tell(status)
        self._last = status
        if status.state is State.SUCCEEDED:
            return self._end({"outcome": "success", "ended": status.as_dict()})
        if status.state is State.FAILED:
            return self._end(
                {
                    "outcome": "failed",
                    "message": self._why_failed(status),
                    "status": status.status,
                    "reason": status.error or "",
                }
            )
        return self._timed_out() if time.time() >= self.deadline else None

    def failed(self, error: RoeError) -> Event | None:
        """Take note that Roe could not be asked; return the event that ends the wait, or None to wait on."""
        if time.time() >= self.deadline and (self.silent_fail or isinstance(error, RoeUnavailableError)):
            return self._timed_out(error)
        if self.silent_fail:
            self.troubles.met(error, "Waiting on, for silent_fail is set.")
            return None
        return self._end({"outcome": "error", "error": type(error).__name__, "message": str(error)})

    def _timed_out(self, error: RoeError | None = None) -> Event:
        be, was = ("are", "were") if self.subject.plural else ("is", "was")
        seen = f"{be} still {self._last.status}" if self._last else f"{was} not seen to end"
        message = (
            f"{self.subject.capitalized} {seen} after {in_words(self.elapsed)}; the wait's timeout is"
            f" {self.timeout:g} s. {self.subject.afterwards}"
        )
        if error:
            message += f" Last error: {error}"
        elif self._last:
            message += f" Request id: {self._last.request_id}."
        return self._end({"outcome": "timeout", "message": message})

    def _end(self, event: Event) -> Event:
        self.troubles.sum_up()
        return event

    def _tell(self, status: QueryStatus | AgentJobs) -> None:
        if not self._last:
            be = "are" if self.subject.plural else "is"
            self.log.info(
                "%s %s %s after %s", self.subject.capitalized, be, status.status, in_words(self.elapsed)
            )
        elif self._last.status != status.status:
            self.log.info(
                "%s: %s -> %s after %s",
                self.subject.capitalized,
                self._last.status,
                status.status,
                in_words(self.elapsed),
            )
        if not status.known and status.state is State.RUNNING:
            self._warn(f"Status {status.status} is unknown; without a finishing time it is taken to run.")
        if status.error and status.state is State.FAILED:
            # Airflow's UI shows a failed task's errors first, and of an exception no more than its beginning.
            self.log.error("Roe says: %s", status.error)
        elif status.error:
            self._warn(f"Roe says of status {status.status}: {status.error}")

    def _warn(self, text: str) -> None:
        self._notices.tell(clip(text, 200), text)

    def _why_failed(self, status: QueryStatus | AgentJobs) -> str:
        duration = "" if status.duration is None else f" after {in_words(status.duration)}"
        reason = status.error or "Roe gave no reason"
        message = f"{self.subject.capitalized} ended as {status.status}{duration}: {reason}"
        if not status.known:
            message += (
                " (an unknown status; if it means success, name it in the connection's"
                " extra.success_statuses)"
            )
        return f"{sentence(message)} Request id: {status.request_id}."


def the_query(query_id: object) -> Subject:
    """Return the subject of a wait for a query, whatever was given for its id."""
    return Subject(f"query {clip(str(query_id), 100)}", "It goes on at Roe, which has no call to cancel it.")


def the_jobs(job_ids: Sequence[object], *, cancelled: bool) -> Subject:
    """
    Return the subject of a wait for agents' jobs, whatever was given for their ids.

    :param cancelled: Whether they are cancelled when the wait is given up.
    """
    afterwards = f"What still runs {'is cancelled' if cancelled else 'goes on at Roe'}."
    if len(job_ids) == 1:
        return Subject(f"agent job {clip(str(job_ids[0]), 100)}", afterwards)
    return Subject(f"{len(job_ids):,} agent jobs", afterwards, plural=True)


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
    if seconds > CENTURY:
        return "100 years"
    return pendulum.duration(seconds=round(seconds)).in_words()
