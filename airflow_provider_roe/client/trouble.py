"""Trouble that a wait comes through: told once, and counted."""

from __future__ import annotations

import math
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_roe.exceptions import RoeError

#: Seconds after which trouble of the same cause is told again: a log has to show why a wait lasts.
TELL_AGAIN = 3600.0
#: Causes that are told apart. A wait may last a week, and each poll may find words of its own.
MOST_CAUSES = 20
OTHER_CAUSES = "other causes"


class Troubles:
    """
    Tells a log of each cause of trouble when it comes, and after that only how often it came.

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
        if self.tell(error.cause, f"{error} {then}"):
            self._answer_is_news = True

    def tell(self, cause: str, text: str) -> bool:
        """
        Take note of something that may come at every poll; return whether the log was told of it.

        :param cause: What those that are alike have in common.
        :param text: What the log is told.
        """
        if cause not in self._counts and len(self._counts) >= MOST_CAUSES:
            cause = OTHER_CAUSES
        self._counts[cause] += 1
        now = time.monotonic()
        if now - self._told_at.get(cause, -math.inf) < TELL_AGAIN:
            return False
        self._told_at[cause] = now
        self._log.warning("%s", text)
        return True

    def note(self, text: str) -> None:
        """Tell the log how trouble goes on."""
        self._log.info("%s", text)

    def over(self, attempts: int, seconds: float) -> None:
        """Take note that Roe answers again."""
        if self._answer_is_news:
            self._answer_is_news = False
            self._log.info("Roe answers again, after %d attempts in %.0f s.", attempts, seconds)

    def sum_up(self) -> None:
        """Tell the log how often trouble of each cause came, if there was more than has been told."""
        if any(count > 1 for count in self._counts.values()):
            causes = (f"{cause} ({count} x)" for cause, count in self._counts.most_common())
            self._log.info("Trouble on the way: %s.", "; ".join(causes))
