"""The work of one run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Work:
    """
    So many waits, each for something that ends at its last poll, or after a time.

    It is steady from when each wait has polled until the first of them ends.

    :param service: Who is polled.
    :param waits: How many wait at once.
    :param interval: Seconds between two polls of a wait.
    :param polls: Polls of each wait, the last of which finds the end.
    :param ends_after: Seconds after the first poll of a thing at which it ends, whatever the polls.
    """

    service: str
    waits: int
    interval: float = 1.0
    polls: int = 10
    ends_after: float | None = None

    @property
    def meter_seconds(self) -> float:
        """Seconds between two looks at the cost: one takes 0.2 ms, so they shall be rare among polls."""
        return min(50 * self.interval / self.waits, 0.5)
