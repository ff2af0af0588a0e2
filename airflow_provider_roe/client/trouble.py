"""Trouble that a wait comes through: told once, and counted."""

from __future__ import annotations

import math
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_roe.exceptions import RoeError

#: Seconds after which trouble of the same kind is told again: a log has to show why a wait lasts.
TELL_AGAIN = 3600.0


class Troubles:
    """
    Tells a log of each kind of trouble when it comes, and after that only how often it came.

    So a service that fails every third poll does not fill the log of a week's wait.

    :param log: A logger.
    """

    def __init__(self, log: Any) -> None:
        self._log = log
        self._counts: Counter[str] = Counter()
        self._told_at: dict[str, float] = {}
        self._answer_is_news = False

    def met(self, error: RoeError, then: str) -> None:
        """
        Take note of trouble.

        :param error: What went wrong.
        :param then: A sentence that says what is done about it.
        """
        self._counts[error.kind] += 1
        now = time.monotonic()
        if now - self._told_at.get(error.kind, -math.inf) >= TELL_AGAIN:
            self._told_at[error.kind] = now
            self._answer_is_news = True
            self._log.warning("%s %s", error, then)

    def over(self, attempts: int, seconds: float) -> None:
        """Take note that Roe answers again."""
        if self._answer_is_news:
            self._answer_is_news = False
            self._log.info("Roe answers again, after %d attempts in %.0f s.", attempts, seconds)

    def sum_up(self) -> None:
        """Tell how often each kind of trouble came, if there was more than has been told."""
        if any(count > 1 for count in self._counts.values()):
            kinds = (f"{kind} ({count} x)" for kind, count in self._counts.most_common())
            self._log.info("Trouble on the way: %s.", "; ".join(kinds))
