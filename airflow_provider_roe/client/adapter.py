"""The adapter of requests' sessions: blocking calls connect and are answered as those on a loop are."""

from __future__ import annotations

import io
import socket
import time
from http.client import HTTPResponse
from typing import TYPE_CHECKING, Any

import requests
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.util.connection import allowed_gai_family, create_connection

from airflow_provider_roe.client.heads import read_head
from airflow_provider_roe.client.transport import ProxyRefusal

if TYPE_CHECKING:
    from urllib3 import HTTPConnectionPool


class Adapter(requests.adapters.HTTPAdapter):
    """Sends requests over connections of our own kind, whatever else is special about them."""

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> HTTPConnectionPool:
        """Return the pool of connections for a request."""
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        kind = pool.ConnectionCls
        if not issubclass(kind, _Connection):
            pool.ConnectionCls = type(kind.__name__, (_Connection, kind), {})
        return pool  # type: ignore[no-any-return]

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Let certificates be verified, also that of an https proxy on the way to a plain http server."""
        super().cert_verify(conn, "https", verify, cert)  # type: ignore[no-untyped-call]


def prolong(answer: requests.Response, seconds: float) -> None:
    """Give the rest of an answer so many seconds from now on."""
    response: Any = answer.raw._original_response  # the one below, as urllib3 has it
    response.bounded.give_up_at = time.monotonic() + seconds


class _Bounded(io.RawIOBase):
    """Reads from a socket until its time-out has passed, for all reads together: urllib3 bounds each."""

    def __init__(self, sock: socket.socket, file: io.RawIOBase) -> None:
        self._sock = sock
        self._file = file
        self.give_up_at = time.monotonic() + (sock.gettimeout() or 0.0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self.give_up_at - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(left)
        return self._file.readinto(buffer)

    def close(self) -> None:
        self._file.close()
        super().close()


class _Response(HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.bounded = _Bounded(sock, self.fp.detach())
        self.fp = io.BufferedReader(self.bounded)

    def begin(self, **_: Any) -> None:  # newer Pythons say how many fields are borne
        if self.headers is not None:
            return
        file: Any = self.fp
        head = read_head(file)
        self.fp = io.BytesIO(head.framing())
        try:
            super().begin()
        finally:
            self.fp = file
        self.headers = self.msg = head.message()


class _Connection:
    """What is changed about urllib3's connections, with and without TLS or a proxy."""

    response_class = _Response

    def _new_conn(self: Any) -> socket.socket:
        # urllib3 would give each of a host's addresses the whole time.
        give_up_at = time.monotonic() + self.timeout
        try:
            found = socket.getaddrinfo(self._dns_host, self.port, allowed_gai_family(), socket.SOCK_STREAM)
        except socket.gaierror as e:
            raise NameResolutionError(self.host, self, e) from e
        failure: OSError = OSError(f"{self.host} has no address")
        waiting = len(found)
        for *_, (ip, port, *_) in found:
            left = give_up_at - time.monotonic()
            try:
                if left <= 0:
                    raise TimeoutError
                sock = create_connection(
                    (str(ip), int(port)), left / waiting, socket_options=self.socket_options
                )
            except OSError as e:
                failure, waiting = e, waiting - 1
            else:
                # What is left is for TLS, and for what a proxy has to say.
                sock.settimeout(max(give_up_at - time.monotonic(), 0.001))
                return sock
        if isinstance(failure, TimeoutError):
            raise ConnectTimeoutError(self, f"Connection to {self.host} timed out.") from failure
        raise NewConnectionError(self, f"Failed to establish a new connection: {failure}") from failure

    def _tunnel(self: Any) -> None:
        # Python's own would tell a proxy's refusal as text, and read its head another way in each version.
        host = self._tunnel_host.strip("[]")
        target = f"{f'[{host}]' if ':' in host else host}:{self._tunnel_port}"
        fields = self._tunnel_headers | {"Host": target}
        lines = [f"CONNECT {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
        self.send("\r\n".join([*lines, "", ""]).encode("latin-1"))
        with io.BufferedReader(_Bounded(self.sock, self.sock.makefile("rb").detach())) as file:
            head = read_head(file)
        if head.status != 200:
            headers = {name.lower(): value for name, value in head.message().items()}
            raise ProxyRefusal(head.status, head.reason.decode("utf-8", "replace"), headers)
