"""HTTP for triggerers: on an event loop, with aiohttp, in a session that many waits share."""

from __future__ import annotations

import asyncio
import os
import random
from typing import TYPE_CHECKING, ClassVar
from weakref import WeakKeyDictionary

from airflow_provider_roe.client.transport import (
    check_encoding,
    headers,
    make_response,
    proxy_for,
    tls_context,
    unavailable,
    url_of,
)

if TYPE_CHECKING:
    import ssl
    from typing import Self

    import aiohttp

    from airflow_provider_roe.api.base import Request, Response
    from airflow_provider_roe.client.connection import RoeConnection

    _Sessions = WeakKeyDictionary[asyncio.AbstractEventLoop, dict[RoeConnection, "SharedSession"]]

#: Each takes 0.3 MB in asyncio. At a round trip of 0.1 s they carry 500 polls a second.
MAX_CONNECTIONS = 50
#: Seconds. aiohttp's own 15 would cost a handshake a poll at ordinary intervals.
KEEPALIVE = 75


class SharedSession:
    """
    One aiohttp session for all waits of an event loop that use the same connection.

    It is opened by the first that needs it and closed by the last. What one of them learns about the service,
    all know: after a 429 all hold back.
    """

    _open: ClassVar[_Sessions] = WeakKeyDictionary()

    def __init__(self, connection: RoeConnection) -> None:
        self.connection = connection
        self._users = 0
        self._opening = asyncio.ensure_future(self._open_session())
        # Counted here and not by aiohttp, whose time-out includes the wait for a free connection.
        self._slots = asyncio.Semaphore(MAX_CONNECTIONS)
        self._resume_at = 0.0
        self._strikes = 0

    @classmethod
    async def open(cls, connection: RoeConnection) -> SharedSession:
        """Share the session of this connection and event loop until :meth:`release`."""
        sessions = cls._open.setdefault(asyncio.get_running_loop(), {})
        if (shared := sessions.get(connection)) is None:
            shared = sessions[connection] = cls(connection)
        shared._users += 1
        try:
            await asyncio.shield(shared._opening)  # others wait for it, too
        except BaseException:
            await shared.release()
            raise
        return shared

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.release()

    async def release(self) -> None:
        """Give up the session; the last one closes it."""
        self._users -= 1
        if self._users == 0:
            del self._open[asyncio.get_running_loop()][self.connection]
            if self._opening.done() and not self._opening.exception():
                await self._opening.result().close()
            else:
                self._opening.cancel()

    async def _open_session(self) -> aiohttp.ClientSession:
        # Importing aiohttp and reading the certificates take long enough to be felt by everybody's triggers.
        verify, proxy = await asyncio.to_thread(_prepare, self.connection)
        import aiohttp

        from airflow_provider_roe.client.connector import HEAD_LIMITS, Answer, Connector, ProxiedAnswer

        return aiohttp.ClientSession(
            connector=Connector(limit=MAX_CONNECTIONS, keepalive_timeout=KEEPALIVE, ssl=verify),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=headers(self.connection),
            proxy=proxy,
            response_class=ProxiedAnswer if proxy else Answer,
            timeout=aiohttp.ClientTimeout(total=self.connection.request_timeout),
            **HEAD_LIMITS,
        )

    async def send(self, request: Request, until: float = 0.0) -> Response:
        """
        Do as the blocking :func:`send` does, once the service wants to be asked again.

        :param until: Time of the event loop's clock at which to ask in any case.
        """
        import aiohttp
        from yarl import URL

        request_id = os.urandom(16).hex()
        self._users += 1  # whoever lets go of the session meanwhile does not close it
        try:
            while True:
                if self._must_hold(until):
                    await self.wait_turn(until)
                async with self._slots:
                    if self._must_hold(until):  # others were told so while this waited for its slot
                        continue
                    async with self._opening.result().request(
                        request.method,
                        URL(url_of(self.connection, request), encoded=True),
                        json=request.json,
                        headers={"X-Request-ID": request_id},
                        allow_redirects=False,
                    ) as answer:
                        check_encoding(", ".join(answer.headers.getall("Content-Encoding", ())))
                        body = bytearray()
                        while len(body) <= request.max_body and (chunk := await answer.content.readany()):
                            body += chunk
                        return make_response(
                            self.connection, request, answer.status, answer.headers, body, request_id
                        )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as e:
            raise unavailable(self.connection, request, request_id, e, connected=False) from e
        except (aiohttp.ClientError, OSError) as e:
            raise unavailable(self.connection, request, request_id, e) from e
        finally:
            await self.release()

    def _must_hold(self, until: float) -> bool:
        return asyncio.get_running_loop().time() < min(self._resume_at, until)

    async def wait_turn(self, until: float) -> None:
        """Return when the service wants to be asked again, which is at once unless it said otherwise."""
        clock = asyncio.get_running_loop().time
        while self._must_hold(until):
            await asyncio.sleep(min(self._resume_at, until) - clock())
            # Back fifty a second, and not all at once.
            spread = random.uniform(0, max(1.0, self._users / 50))  # noqa: S311
            await asyncio.sleep(max(min(spread, until - clock()), 0))

    def hold_back(self, retry_after: float | None) -> None:
        """
        Let all who share the session wait: the service answered 429.

        :param retry_after: Seconds that it asked for; None takes 1 s, doubled each time up to 30 s.
        """
        now = asyncio.get_running_loop().time()
        if retry_after is None:
            if now < self._resume_at:  # sent before the first was answered: the same strike
                return
            retry_after = min(2.0**self._strikes, 30.0)
            self._strikes += 1
        self._resume_at = max(self._resume_at, now + retry_after)

    def carry_on(self) -> None:
        """Note that the service answered."""
        self._strikes = 0


def _prepare(connection: RoeConnection) -> tuple[ssl.SSLContext | bool, str | None]:
    import airflow_provider_roe.client.connector  # noqa: F401 - imported here, off the event loop

    return tls_context(connection), proxy_for(connection)
