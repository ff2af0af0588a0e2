"""HTTP for triggerers: on an event loop, with aiohttp. Is imported when it is first used, in a thread."""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import TYPE_CHECKING

import aiohttp
from yarl import URL

from airflow_provider_roe.api.base import MOST_WAITS
from airflow_provider_roe.client.connector import HEAD_LIMITS, Answer, Connector, ProxiedAnswer
from airflow_provider_roe.client.lanes import QUICK, SLOW
from airflow_provider_roe.client.transport import (
    check_encoding,
    headers,
    make_response,
    new_request_id,
    proxy_for,
    tls_context,
    unavailable,
    url_of,
)

if TYPE_CHECKING:
    import ssl
    from typing import Self

    from airflow_provider_roe.api.base import Request, Response
    from airflow_provider_roe.client.connection import RoeConnection

#: Seconds. aiohttp's own 15 would cost a handshake a poll at ordinary intervals.
KEEPALIVE = 75


class Session:
    """
    An aiohttp session with a connection's key, certificates and proxy.

    :param connection: The connection.
    :param http: The session.
    """

    def __init__(self, connection: RoeConnection, http: aiohttp.ClientSession) -> None:
        self.connection = connection
        self._http = http
        self._users = 0
        self._is_retired = False

    @classmethod
    async def open(cls, connection: RoeConnection) -> Self:
        """
        Open a session, without blocking the event loop.

        :raises RoeInputError: A field of the connection, or a variable of the environment, cannot be used.
        """
        # Reading the certificates takes long enough to be felt by everybody's triggers.
        verify, proxy = await asyncio.to_thread(_prepare, connection)
        http = aiohttp.ClientSession(
            connector=Connector(limit=QUICK + SLOW, keepalive_timeout=KEEPALIVE, ssl=verify),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=headers(connection),
            proxy=proxy,
            response_class=ProxiedAnswer if proxy else Answer,
            timeout=aiohttp.ClientTimeout(),  # whoever sends bounds the time, which begins before this has it
            **HEAD_LIMITS,
        )
        return cls(connection, http)

    async def send(self, request: Request, give_up_at: float) -> Response:
        """
        Send a request and read the answer, whatever it says.

        :param give_up_at: Time of the event loop's clock at which there has to be a whole answer.
        :raises RoeUnavailableError: There is no whole answer.
        """
        request_id = new_request_id()
        try:
            async with (
                asyncio.timeout_at(give_up_at),
                self._http.request(
                    request.method,
                    _url(url_of(self.connection, request)),
                    json=request.json,
                    headers={"X-Request-ID": request_id, **request.headers},
                    allow_redirects=False,
                ) as answer,
            ):
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

    def enter(self) -> None:
        """Keep the session open until it is left."""
        self._users += 1

    async def leave(self) -> None:
        """Let go of the session."""
        self._users -= 1
        await self._close_if_done()

    async def retire(self) -> None:
        """Close the session once the last who has entered it leaves."""
        self._is_retired = True
        await self._close_if_done()

    async def _close_if_done(self) -> None:
        if self._is_retired and not self._users:
            await self._http.close()


def _prepare(connection: RoeConnection) -> tuple[ssl.SSLContext | bool, str | None]:
    return tls_context(connection), proxy_for(connection)


@lru_cache(maxsize=MOST_WAITS)
def _url(text: str) -> URL:
    return URL(text, encoded=True)
