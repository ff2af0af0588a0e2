"""What aiohttp sends through and answers with, so that calls on a loop are answered as blocking ones are."""

from __future__ import annotations

from inspect import signature
from typing import Any

import aiohttp

from airflow_provider_roe.client.heads import MAX_FIELDS, MAX_LINE, Head, check_head

#: Arguments of a session. Before 3.14, aiohttp does not count fields.
HEAD_LIMITS: dict[str, Any] = {"max_line_size": MAX_LINE, "max_field_size": MAX_LINE}
if "max_headers" in signature(aiohttp.ClientSession).parameters:
    HEAD_LIMITS["max_headers"] = MAX_FIELDS


class Answer(aiohttp.ClientResponse):
    """An answer with a head that can be understood in one way only; 101 is none."""

    async def start(self, connection: Any) -> aiohttp.ClientResponse:
        """Read the head."""
        protocol = connection.protocol  # which it may give back for other requests
        await super().start(connection)
        assert self.version is not None  # noqa: S101 - there is a head
        try:
            check_head(Head(self.version, self.status, b"", self.raw_headers))
        except ConnectionError as e:
            protocol.close()
            raise aiohttp.ClientConnectionError(str(e)) from None
        return self


class ProxiedAnswer(Answer):
    """An answer that came through a proxy: without a tunnel, 407 is the proxy's."""

    async def start(self, connection: Any) -> aiohttp.ClientResponse:
        """Read the head."""
        await super().start(connection)
        if self.status == 407 and self.url.scheme == "http":
            raise aiohttp.ClientHttpProxyError(
                self.request_info, (), status=407, message=self.reason or "", headers=self.headers
            )
        return self


class Connector(aiohttp.TCPConnector):
    """Hands out no connection that has got what nobody asked for: it would be taken for the next answer."""

    async def connect(self, *args: Any, **kwargs: Any) -> Any:
        """Return a connection, kept or new."""
        for _ in range(self.limit or 100):  # so many may have got it
            connection = await super().connect(*args, **kwargs)
            if connection.protocol is not None and not connection.protocol.should_close:
                return connection
            connection.close()
        raise aiohttp.ServerDisconnectedError("it answers before it is asked")
