"""
Interim answers (1xx), which are no answers: requests without this takes any but 100 for the answer itself.

A submit would then count as refused although Roe took it.
"""

from __future__ import annotations

import time
from http.client import HTTPResponse, UnknownProtocol, parse_headers
from typing import TYPE_CHECKING, Any

from requests.adapters import HTTPAdapter

if TYPE_CHECKING:
    import socket

    from urllib3 import HTTPConnectionPool


class FinalAnswerAdapter(HTTPAdapter):
    """Sends requests over connections that skip interim answers, whatever else is special about them."""

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> HTTPConnectionPool:
        """Return the pool of connections for a request."""
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        kind = pool.ConnectionCls
        if kind.response_class is not _FinalResponse:
            pool.ConnectionCls = type(kind.__name__, (kind,), {"response_class": _FinalResponse})
        return pool  # type: ignore[no-any-return]


class _FinalResponse(HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self._sock = sock

    def _read_status(self) -> tuple[str, int, str]:
        # What http.client reads an answer with, and urllib3 that of a proxy.
        timeout: Any = self._sock.gettimeout()
        give_up_at = time.monotonic() + timeout
        answer: tuple[str, int, str] = super()._read_status()  # type: ignore[misc]
        while 100 <= answer[1] < 200:
            if answer[1] == 101:
                raise UnknownProtocol("101 Switching Protocols")
            parse_headers(self.fp)
            # Interim answers do not prolong the wait for the final one.
            if (left := give_up_at - time.monotonic()) <= 0:
                raise TimeoutError
            self._sock.settimeout(left)
            answer = super()._read_status()  # type: ignore[misc]
        self._sock.settimeout(timeout)
        return answer
