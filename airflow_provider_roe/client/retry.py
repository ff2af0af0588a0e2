"""When a call is sent again: decided here without I/O, for both ways of sending it."""

from __future__ import annotations

import math
import random
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider_roe.client.trouble import Troubles
    from airflow_provider_roe.exceptions import RoeUnavailableError


class Retries:
    """
    Decides, after each failed attempt of one call, how long to pause before the next.

    The pauses grow exponentially, with jitter, and are never shorter than ``Retry-After``. The last attempt
    is at the end of the connection's ``retry_window``, or at the deadline if that comes first.

    :param troubles: Is told of each failure that another attempt follows, and of the recovery.
    :param deadline: Unix time after which there is no other attempt.
    """

    def __init__(self, troubles: Troubles, deadline: float = math.inf) -> None:
        self.troubles = troubles
        self._deadline = deadline
        self._begin()

    def _begin(self) -> None:
        self._began = time.monotonic()
        self._longest = max(self._deadline - time.time(), 0)
        self._failures = 0

    def due(self) -> None:
        """Begin the window now, after a pause between two polls, unless attempts have failed already."""
        if not self._failures:
            self._begin()

    def left(self, retry_window: float) -> float:
        """Return the seconds that are left of a window, 0 or more."""
        return max(min(retry_window, self._longest) - (time.monotonic() - self._began), 0)

    def pause(self, error: RoeUnavailableError, retry_window: float) -> float:
        """
        Return the seconds until the next attempt.

        :param error: Why the last one failed. It is raised, with how often and how long it was tried, if
            there is to be no other.
        :param retry_window: Seconds for which the connection lets a call be retried.
        """
        left = self.left(retry_window)
        self._failures += 1
        if not error.repeatable or left == 0:
            error.attempts, error.elapsed = self._failures, time.monotonic() - self._began
            raise error
        self.troubles.met(error, f"Retrying for up to {min(retry_window, self._longest):.0f} s.")
        # The jitter keeps those apart who were all told the same time to come back.
        wanted = (error.retry_after or 0) + random.random()  # noqa: S311
        return min(max(_backoff(self._failures), wanted), left)

    def over(self) -> None:
        """Take note of an answer: tell the log where attempts had failed, and begin anew."""
        if self._failures:
            self.troubles.over(self._failures + 1, time.monotonic() - self._began)
        self._begin()


def _backoff(failures: int) -> float:
    return min(2.0 ** min(failures - 1, 5) + random.random(), 30.0)  # noqa: S311
