"""What requests sends through, so that blocking calls are connected and answered as those on a loop are."""

from __future__ import annotations

import io
from http.client import HTTPResponse
from typing import TYPE_CHECKING, Any

from requests.adapters import HTTPAdapter

from airflow_provider_roe.client.heads import read_head

if TYPE_CHECKING:
    import socket

    from urllib3 import HTTPConnectionPool


class Adapter(HTTPAdapter):
    """Sends requests over connections of our own kind, whatever else is special about them."""

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> HTTPConnectionPool:
        """Return the pool of connections for a request."""
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        kind = pool.ConnectionCls
        if not issubclass(kind, _Connection):
            pool.ConnectionCls = type(kind.__name__, (_Connection, kind), {})
        return pool  # type: ignore[no-any-return]


class _Response(HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self._sock = sock

    def begin(self) -> None:
        if self.headers is not None:
            return
        file: Any = self.fp
        head = read_head(self._sock, file)
        self.fp = io.BytesIO(head.framing())
        try:
            super().begin()
        finally:
            self.fp = file
        self.headers = self.msg = head.message()


class _Connection:
    response_class = _Response
