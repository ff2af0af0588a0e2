"""How fast requests may follow on each other."""

from __future__ import annotations

import asyncio
import math


class Pace:
    """
    Lets those who come go on in their order, evenly spread.

    :param rate: How many a second at most.
    """

    def __init__(self, rate: float) -> None:
        self._distance = 1 / rate
        self._next = -math.inf

    async def keep(self, seconds: float = math.inf) -> None:
        """
        Wait until it is one's turn.

        :param seconds: How long to wait at most. Default: as long as it takes.
        """
        now = asyncio.get_running_loop().time()
        turn = max(self._next, now)
        self._next = turn + self._distance
        if turn > now:
            await asyncio.sleep(min(turn - now, seconds))
