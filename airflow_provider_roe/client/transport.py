"""
What both ways of sending a request have in common: its headers, certificates and proxy, and what went wrong.

Neither follows redirects, keeps cookies or reads ``.netrc``; both heed the usual proxy environment variables,
verify certificates against the same bundle, read heads alike, and an answer to a bound. Both libraries are
imported where they are first used, for this module is imported wherever a DAG is parsed.
"""

from __future__ import annotations

import os
import random
import re
import socket
import ssl
import sys
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote

from airflow_provider_roe import __version__
from airflow_provider_roe.api.base import Request, Response, clip, read_retry_after, redact
from airflow_provider_roe.exceptions import RoeInputError, RoeRequestError, RoeUnavailableError

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


def new_request_id() -> str:
    """Return an ``X-Request-ID``, by which Roe's support finds a request."""
    return f"{random.getrandbits(128):032x}"  # os.urandom would cost each poll a system call


def named_bundle(connection: RoeConnection) -> tuple[str, str] | None:
    """Return the place that names a CA bundle, and its path; None where none does."""
    if isinstance(connection.verify, str):
        return "field extra.verify", connection.verify
    for variable in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        if connection.verify and (path := os.environ.get(variable)):
            return f"environment variable {variable}", path
    return None


def ca_bundle(connection: RoeConnection) -> str | bool:
    """Return the path of the CA bundle that both transports verify certificates with; False for none."""
    # Not a module of it: of two threads that import one and the whole, one may get half of it.
    import requests

    named = named_bundle(connection)
    if named:
        return named[1]
    return connection.verify and str(requests.utils.DEFAULT_CA_BUNDLE_PATH)


def tls_context(connection: RoeConnection) -> ssl.SSLContext | bool:
    """
    Return the TLS context that verifies certificates; False where the connection says not to.

    :raises RoeInputError: The CA bundle that connection or environment name is none.
    """
    bundle = ca_bundle(connection)
    if isinstance(bundle, bool):
        return bundle
    try:
        if os.path.isdir(bundle):  # noqa: PTH112 - the libraries take a str
            # OpenSSL looks there for a name when it needs one, and says nothing of what it will not find.
            if not any(re.fullmatch(r"[0-9a-f]{8}\.\d+", name) for name in os.listdir(bundle)):  # noqa: PTH208
                raise OSError("it holds no certificate under its hash; openssl rehash names them so")
            return ssl.create_default_context(capath=bundle)
        context = ssl.create_default_context(cafile=bundle)
        if not context.cert_store_stats()["x509"]:
            raise OSError("it holds no certificate")
    except OSError as e:
        source, _ = named_bundle(connection) or ("requests", "")
        raise RoeInputError(
            f"Connection {connection.conn_id!r}, {source}: {clip(repr(bundle), 200)} is no CA bundle ({e})."
        ) from None
    return context


class Proxy(NamedTuple):
    """
    A proxy that the environment names.

    :param variable: Which environment variable does.
    :param url: May hold credentials, so it is not to be told.
    """

    variable: str
    url: str

    def __str__(self) -> str:
        scheme, _, rest = self.url.partition("://")
        return f"the proxy {scheme}://{rest.rpartition('@')[2]} that {self.variable} names"


def find_proxy(connection: RoeConnection) -> Proxy | None:
    """
    Return the proxy that the environment names for a connection, as requests understands it; None for none.

    :raises RoeInputError: It is none that both transports can use.
    """
    import requests
    from urllib3.exceptions import LocationParseError
    from urllib3.util import parse_url

    proxies = requests.utils.get_environ_proxies(connection.base_url)
    found = (requests.utils.select_proxy(connection.base_url, proxies) or "").strip()
    if not found:
        return None
    variable = _variable(found, (f"{connection.base_url.partition(':')[0]}_proxy", "all_proxy"))
    try:
        url = parse_url(found if "://" in found else f"http://{found}")
    except LocationParseError:
        raise _unusable_proxy(connection, variable, found, "that is no URL of a proxy") from None
    if url.scheme not in ("http", "https"):
        raise _unusable_proxy(
            connection, variable, found, f"proxies of the scheme {url.scheme} cannot be used"
        )
    is_host = re.fullmatch(r"[\w.-]+|\[[0-9a-f:.]+\]", url.host or "", re.ASCII | re.IGNORECASE)
    if not is_host or url.port == 0 or url.path not in (None, "/") or url.query or url.fragment is not None:
        raise _unusable_proxy(connection, variable, found, "that is no URL of a proxy")
    user, _, password = (url.auth or "").partition(":")
    name = unquote(user)
    if (url.auth and not name) or ":" in name or not _fits_a_header(name + unquote(password)):
        raise _unusable_proxy(connection, variable, found, "its user or password cannot be sent")
    # Both take that alike: requests would send no user without a password.
    auth = f"{user}:{password}" if user else None
    return Proxy(variable, url._replace(auth=auth, path=None, query=None).url)


def proxy_for(connection: RoeConnection) -> str | None:
    """Return the URL of the proxy that the environment names for a connection; None for none."""
    proxy = find_proxy(connection)
    return proxy.url if proxy else None


def _variable(value: str, names: tuple[str, ...]) -> str:
    """Return the name of the environment variable that names a proxy, as it is written there."""
    for name in names:
        for variable, set_to in os.environ.items():
            if variable.lower() == name and set_to.strip() == value:
                return variable
    return "the system"


def _fits_a_header(text: str) -> bool:
    try:
        text.encode("latin-1")
    except UnicodeEncodeError:
        return False
    return True


def _unusable_proxy(connection: RoeConnection, variable: str, found: str, problem: str) -> RoeInputError:
    # What may be a user or a password is left out: all before the last @, and a port that is no number.
    scheme, separator, rest = found.rpartition("://")
    shown = re.sub(r":(?!\d*/?$)[^\]]*$", ":…", rest.rpartition("@")[2])
    return RoeInputError(
        f"Connection {connection.conn_id!r}, environment variable {variable}: {problem};"
        f" it says {clip(repr(scheme + separator + shown), 100)}. Give the URL of an http or https proxy,"
        " such as http://proxy.example:3128, or name Roe's host in NO_PROXY."
    )


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


class ProxyRefusal(ConnectionError):
    """What a proxy says instead of passing a request on; named as aiohttp's own error names it."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str]) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers


def unavailable(
    connection: RoeConnection, request: Request, request_id: str, error: Exception, *, connected: bool = True
) -> RoeRequestError:
    """
    Tell a network error in a sentence that says what to change.

    :return: A :class:`RoeUnavailableError`, unless a proxy refuses for good to pass the request on.
    """
    url, proxy = connection.base_url, find_proxy(connection)
    found = list(causes(error))
    failures = {type(cause).__name__: cause for cause in found}
    refusal = failures.get("ProxyRefusal") or failures.get("ClientHttpProxyError")
    if refusal:
        return _refused_by_proxy(connection, request, request_id, proxy, refusal)
    known = (
        socket.gaierror,
        ConnectionRefusedError,
        ssl.SSLCertVerificationError,
        ssl.SSLError,
        TimeoutError,
    )
    first = next((error for one in known for error in found if isinstance(error, one)), found[0])
    unreached = {"ClientProxyConnectionError", "NewConnectionError"} & set(failures)
    cause = None
    match first:
        # Whoever has a proxy looks up and connects to nobody else.
        case socket.gaierror() if proxy:
            trouble = f"{proxy} cannot be reached"
        case _ if proxy and unreached and not isinstance(first, ssl.SSLError | TimeoutError):
            trouble = f"{proxy} cannot be reached"
        case socket.gaierror():
            trouble = f"{url} has no address: check the connection's Base URL (host)"
        case ConnectionRefusedError():
            trouble = f"nothing listens at {url}: check the connection's Base URL (host) and port"
        case ssl.SSLCertVerificationError():
            whose = f"{url}, or of {proxy}," if proxy and proxy.url.startswith("https:") else url
            trouble = (
                f"the certificate of {whose} is not trusted ({first.verify_message}): if the server is yours,"
                " set the connection's extra.verify to the path of its CA bundle"
            )
        case ssl.SSLError():
            trouble = f"TLS with {url} failed ({first.reason}): check that it speaks https at this port"
        # Where connecting has used the time up, urllib3 gives an error of its own, with no other behind it.
        case _ if isinstance(first, TimeoutError) or "ReadTimeoutError" in failures:
            trouble = f"{url} did not answer within {connection.request_timeout:g} s"
            if proxy:
                trouble += f", through {proxy}"
        case _:
            words = getattr(first, "message", None) or first  # aiohttp's str() has a number that is not Roe's
            told = clip(redact(f"{type(first).__name__}: {words}", connection.api_key), 200)
            trouble = f"the connection to {url} broke ({told})"
            # Not how many bytes had come, which differs each time.
            cause = f"the connection to {url} broke ({type(first).__name__})"
    return RoeUnavailableError(
        f"{request.method} {request.path} got no answer: {trouble}.",
        request_id=request_id,
        cause=cause or trouble,
        repeatable=request.repeatable or not connected or isinstance(first, known[:3]),
    )


def _refused_by_proxy(
    connection: RoeConnection, request: Request, request_id: str, proxy: Proxy | None, refusal: Any
) -> RoeRequestError:
    code, who = refusal.status, proxy or "a proxy"
    reason = clip(redact(refusal.message or "", connection.api_key), 100)
    message = f"{request.method} {request.path} did not reach Roe: {who} answered with {code}"
    message += f" ({reason})." if reason else "."
    cause = f"{who} answered with {code}"
    if code in (408, 425, 429) or not 400 <= code < 500:
        retry_after = read_retry_after(refusal.headers or {})
        return RoeUnavailableError(message, request_id=request_id, cause=cause, retry_after=retry_after)
    if code == 407:
        advice = "The proxy wants a user and a password: give them in its URL, as user:password@host."
    else:
        advice = (
            f"Have the proxy let requests through to {connection.base_url}, or name that host in NO_PROXY."
        )
    return RoeRequestError(f"{advice} {message}", request_id=request_id, cause=cause)


def causes(error: BaseException) -> Iterator[BaseException]:
    """
    Yield an error's causes and itself, the first cause first.

    Both libraries keep that in ``__cause__`` or among the arguments. Not ``__context__``, which may lead to
    whatever the caller was handling.
    """
    for cause in (error.__cause__, getattr(error, "reason", None), *error.args):
        if isinstance(cause, BaseException):
            yield from causes(cause)
    yield error
