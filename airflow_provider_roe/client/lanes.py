"""How many requests are under way at once."""

from __future__ import annotations

import asyncio

#: Requests under way. At a round trip of 0.1 s these are 500 polls a second.
QUICK = 50
#: Seconds after which a request counts as slow: it leaves its place to another.
PATIENCE = 1.0
#: Slow requests besides: an open connection takes 0.3 MB in asyncio.
SLOW = 150


class Lanes:
    """Limits the requests that are under way, without letting the slow ones hold up the others."""

    def __init__(self) -> None:
        self.quick = asyncio.Semaphore(QUICK)
        self.slow = 0

    async def enter(self) -> Place:
        """Return a place in the quick lane, once there is one."""
        await self.quick.acquire()
        return Place(self)


class Place:
    """The place of one request from when it may be sent until it has its answer."""

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self._is_slow = False
        self._move_later()

    def leave(self) -> None:
        """Make room for another request."""
        self._moving.cancel()
        if self._is_slow:
            self._lanes.slow -= 1
        else:
            self._lanes.quick.release()

    def _move_later(self) -> None:
        self._moving = asyncio.get_running_loop().call_later(PATIENCE, self._move)

    def _move(self) -> None:
        if self._lanes.slow == SLOW:
            self._move_later()
            return
        self._is_slow = True
        self._lanes.slow += 1
        self._lanes.quick.release()
