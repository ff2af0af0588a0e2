"""
What both ways of sending a request have in common: its headers, certificates and proxy, and what went wrong.

Neither follows redirects, keeps cookies or reads ``.netrc``; both heed the usual proxy environment variables,
verify certificates against the same bundle, read heads alike, and an answer to a bound. Both libraries are
imported where they are first used, for this module is imported wherever a DAG is parsed.
"""

from __future__ import annotations

import os
import socket
import ssl
import sys
from typing import TYPE_CHECKING

from airflow_provider_roe import __version__
from airflow_provider_roe.api.base import Request, Response, clip, redact
from airflow_provider_roe.exceptions import RoeInputError, RoeUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from airflow_provider_roe.client.connection import RoeConnection

#: What an answer may be compressed with. Both libraries unpack these in small steps, others only with the
#: right versions of further packages; and one within another makes gigabytes of a kilobyte.
ENCODINGS = ("gzip", "deflate")


def headers(connection: RoeConnection) -> dict[str, str]:
    """Return the headers of every request."""
    from airflow import __version__ as airflow_version

    python = ".".join(map(str, sys.version_info[:2]))
    return {
        "Authorization": f"Bearer {connection.api_key}",
        "Accept": "application/json",
        "Accept-Encoding": ", ".join(ENCODINGS),
        "User-Agent": f"airflow-provider-roe/{__version__} apache-airflow/{airflow_version} python/{python}",
    }


def ca_bundle(connection: RoeConnection) -> str | bool:
    """Return the path of the CA bundle that both transports verify certificates with; False for none."""
    from requests.utils import DEFAULT_CA_BUNDLE_PATH

    if connection.verify is not True:
        return connection.verify
    return (
        os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("SSL_CERT_FILE") or str(DEFAULT_CA_BUNDLE_PATH)
    )


def tls_context(connection: RoeConnection) -> ssl.SSLContext | bool:
    """Return what verifies certificates; False where the connection says not to."""
    bundle = ca_bundle(connection)
    if isinstance(bundle, bool):
        return bundle
    try:
        if os.path.isdir(bundle):  # noqa: PTH112 - the libraries take a str
            return ssl.create_default_context(capath=bundle)
        return ssl.create_default_context(cafile=bundle)
    except OSError as e:
        own = connection.verify is not True
        source = "field extra.verify" if own else "REQUESTS_CA_BUNDLE or SSL_CERT_FILE"
        raise RoeInputError(
            f"Connection {connection.conn_id!r}, {source}: {bundle!r} is no CA bundle ({e})."
        ) from None


def proxy_for(connection: RoeConnection) -> str | None:
    """Return the URL of the proxy that the environment names for a connection; None for none."""
    from urllib.request import getproxies, proxy_bypass

    scheme, _, host = connection.base_url.partition("://")
    if proxy_bypass(host):
        return None
    proxies = getproxies()
    proxy = proxies.get(scheme) or proxies.get("all")
    return f"http://{proxy}" if proxy and "://" not in proxy else proxy


def url_of(connection: RoeConnection, request: Request) -> str:
    """Return the URL of a request."""
    query = "&".join(f"{name}={value}" for name, value in request.params.items())
    return f"{connection.base_url}{request.path}{f'?{query}' if query else ''}"


def check_encoding(encoding: str) -> None:
    """Make sure that an answer is not compressed in a way that was not asked for."""
    if encoding.strip().lower() not in ("", "identity", *ENCODINGS):
        raise ConnectionError(f"it answers in Content-Encoding {encoding!r}, which was not asked for")


def make_response(
    connection: RoeConnection,
    request: Request,
    status_code: int,
    headers: Mapping[str, str],
    body: bytearray,
    request_id: str,
) -> Response:
    """Return an answer, with at most as much of its body as the request bears."""
    return Response(
        status_code,
        headers,
        bytes(memoryview(body)[: request.max_body]),
        request_id,
        overlong=len(body) > request.max_body,
        secret=connection.api_key,
    )


def unavailable(
    connection: RoeConnection, request: Request, request_id: str, error: Exception, *, connected: bool = True
) -> RoeUnavailableError:
    """Tell a network error in a sentence that says what to change."""
    url = connection.base_url
    causes = list(_causes(error))
    known = (
        socket.gaierror,
        ConnectionRefusedError,
        ssl.SSLCertVerificationError,
        ssl.SSLError,
        TimeoutError,
    )
    cause = next((cause for kind in known for cause in causes if isinstance(cause, kind)), causes[0])
    match cause:
        case _ if type(error).__name__ in ("ProxyError", "ClientProxyConnectionError"):
            trouble = "the proxy that HTTP_PROXY or HTTPS_PROXY names cannot be reached"
        case socket.gaierror():
            trouble = f"{url} has no address: check the connection's Base URL (host)"
        case ConnectionRefusedError():
            trouble = f"nothing listens at {url}: check the connection's Base URL (host) and port"
        case ssl.SSLCertVerificationError():
            trouble = (
                f"the certificate of {url} is not trusted ({cause.verify_message}): if the server is yours,"
                " set the connection's extra.verify to the path of its CA bundle"
            )
        case ssl.SSLError():
            trouble = f"TLS with {url} failed ({cause.reason}): check that it speaks https at this port"
        case TimeoutError():
            trouble = f"{url} did not answer within {connection.request_timeout:g} s"
        case _:
            words = getattr(cause, "message", None) or cause  # aiohttp's str() has a number that is not Roe's
            told = clip(redact(f"{type(cause).__name__}: {words}", connection.api_key), 200)
            trouble = f"the connection to {url} broke ({told})"
    return RoeUnavailableError(
        f"{request.method} {request.path} got no answer: {trouble}.",
        request_id=request_id,
        kind=trouble,
        repeatable=request.repeatable or not connected or isinstance(cause, known[:3]),
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    """
    Yield what led to an error, the first cause first.

    Both libraries keep that in ``__cause__`` or among the arguments. Not ``__context__``, which may lead to
    whatever the caller was handling.
    """
    for cause in (error.__cause__, getattr(error, "reason", None), *error.args):
        if isinstance(cause, BaseException):
            yield from _causes(cause)
    yield error
