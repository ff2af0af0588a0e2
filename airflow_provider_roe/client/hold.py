"""The hold after a 429: nobody asks until the service wants to be asked again."""

from __future__ import annotations

import asyncio
import math
from contextlib import suppress

from airflow_provider_roe.client.pace import Pace

#: Seconds. However long the service asks for, somebody looks whether it has changed its mind.
LONGEST_HOLD = 600.0
#: Requests a second at which those that have waited return: all at once, they would be refused again.
RETURN_RATE = 50.0


class Hold:
    """
    Holds requests back after a 429.

    It begins with a 429 and ends when the time is over, or with a success: of a request that was sent after
    it began, for those under way together are answered in any order.
    """

    def __init__(self) -> None:
        self._over = asyncio.Event()
        self._over.set()
        self._began = self._ends = -math.inf
        self._returning = Pace(RETURN_RATE)
        self._end: asyncio.TimerHandle | None = None
        self._strikes = 0

    @property
    def is_on(self) -> bool:
        """Whether requests are held back."""
        return not self._over.is_set()

    async def wait(self, seconds: float) -> None:
        """
        Hold a request back until the service wants to be asked again.

        :param seconds: How long to wait at most.
        """
        clock = asyncio.get_running_loop().time
        until = clock() + seconds
        while self.is_on and clock() < until:
            await self.end(until - clock())
            if not self.is_on:
                await self.return_in_turn(until - clock())

    async def end(self, seconds: float) -> None:
        """
        Wait until nobody is held back any more, to ask together with all others who do.

        :param seconds: How long to wait at most.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._over.wait()

    async def return_in_turn(self, seconds: float) -> None:
        """
        Return spread out with all others who do.

        :param seconds: How long to wait at most.
        """
        await self._returning.keep(seconds)

    def begin(self, retry_after: float | None, sent_at: float) -> None:
        """
        Hold all back: the service answered 429.

        :param retry_after: Seconds that it asked for; None takes 1 s, doubled each time up to 30 s.
        :param sent_at: Time of the event loop's clock at which it was sent what it refused.
        """
        loop = asyncio.get_running_loop()
        if retry_after is None:
            if sent_at < self._began:  # under way with the one that began the hold: the same strike
                return
            retry_after = min(2.0 ** min(self._strikes, 5), 30.0)
            self._strikes += 1
        if not self.is_on:
            self._began, self._ends = loop.time(), -math.inf
            self._over.clear()
        self._ends = max(self._ends, loop.time() + min(retry_after, LONGEST_HOLD))
        if self._end:
            self._end.cancel()
        self._end = loop.call_at(self._ends, self._over.set)

    def answered(self, sent_at: float) -> None:
        """
        Note a success, which ends the hold.

        :param sent_at: Time of the event loop's clock at which it was asked for.
        """
        if sent_at >= self._began:
            self._strikes = 0
            self._over.set()
