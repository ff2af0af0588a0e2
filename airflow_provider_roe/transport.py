"""
HTTP, twice: blocking with requests for workers, on an event loop with aiohttp for triggerers.

Neither follows redirects, keeps cookies or reads ``.netrc``; both heed the usual proxy environment variables,
verify certificates against the same bundle, skip interim answers (1xx), and read an answer to a bound. Both
libraries are imported where they are first used, for this module is imported wherever a DAG is parsed.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import ssl
import sys
import time
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar
from weakref import WeakKeyDictionary

from airflow_provider_roe import __version__
from airflow_provider_roe.api import Request, Response, clip, redact
from airflow_provider_roe.exceptions import RoeInputError, RoeUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Self

    import aiohttp
    import requests

    from airflow_provider_roe.connection import RoeConnection

    _Sessions = WeakKeyDictionary[asyncio.AbstractEventLoop, dict[RoeConnection, "SharedSession"]]

#: Each takes 0.3 MB in asyncio. At a round trip of 0.1 s they carry 500 polls a second.
MAX_CONNECTIONS = 50
#: Seconds. aiohttp's own 15 would cost a handshake a poll at ordinary intervals.
KEEPALIVE = 75
#: What an answer may be compressed with. Both libraries unpack these in small steps, others only with the
#: right versions of further packages; and one within another makes gigabytes of a kilobyte.
ENCODINGS = ("gzip", "deflate")


def open_session(connection: RoeConnection) -> requests.Session:
    """Return a session for blocking calls, with the connection's key, certificates and proxy."""
    from http.cookiejar import DefaultCookiePolicy

    import requests

    from airflow_provider_roe.interim import FinalAnswerAdapter

    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, FinalAnswerAdapter())
    session.trust_env = False  # it would let .netrc replace our Authorization
    session.get_redirect_target = lambda resp: None  # type: ignore[method-assign]
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
    session.headers.update(_headers(connection))
    session.verify = _ca_bundle(connection)
    if isinstance(connection.verify, str):
        _tls(connection)  # requests would name neither connection nor field
    if proxy := _proxy(connection):
        session.proxies = {"http": proxy, "https": proxy}
    return session


def send(session: requests.Session, connection: RoeConnection, request: Request) -> Response:
    """
    Send a request and read the answer, whatever it says.

    The connection's ``request_timeout`` bounds the whole, but for a server that sends its headers byte by
    byte: requests has no bound for those.

    :raises RoeUnavailableError: There is no whole answer.
    """
    request_id = os.urandom(16).hex()
    give_up_at = time.monotonic() + connection.request_timeout
    with (
        _unavailability(connection, request, request_id),
        _answer(session, connection, request, request_id) as answer,
    ):
        _check_encoding(answer.headers.get("Content-Encoding", ""))
        body = _start(answer, request, give_up_at)
        return _response(connection, request, answer.status_code, answer.headers, body, request_id)


def download(
    session: requests.Session, connection: RoeConnection, request: Request, file: BinaryIO
) -> Response:
    """
    Send a request and spool the body of a success, however long it is, to a file.

    The connection's ``request_timeout`` bounds the wait for the answer, and for each MiB of its body.

    :param file: Is emptied first.
    :return: The answer; its body is the start of what is in the file, or the whole of a refusal.
    :raises RoeUnavailableError: There is no whole answer.
    :raises OSError: The file cannot be written.
    """
    request_id = os.urandom(16).hex()
    start = bytearray()
    file.seek(0)
    file.truncate()
    with ExitStack() as stack:
        give_up_at = time.monotonic() + connection.request_timeout
        with _unavailability(connection, request, request_id):
            answer = stack.enter_context(_answer(session, connection, request, request_id))
            _check_encoding(answer.headers.get("Content-Encoding", ""))
            if not 200 <= answer.status_code < 300:
                body = _start(answer, request, give_up_at)
                return _response(connection, request, answer.status_code, answer.headers, body, request_id)
        until = 1024 * 1024
        while True:
            with _unavailability(connection, request, request_id):
                chunk = answer.raw.read1(65536, decode_content=True)
                if time.monotonic() > give_up_at:
                    raise TimeoutError
            file.write(chunk)  # not within the above: a full disk is no trouble of Roe's
            start += chunk[: 1000 - len(start)]
            if not chunk:
                return _response(connection, request, answer.status_code, answer.headers, start, request_id)
            if file.tell() > until:
                until = file.tell() + 1024 * 1024
                give_up_at = time.monotonic() + connection.request_timeout


@contextmanager
def _answer(
    session: requests.Session, connection: RoeConnection, request: Request, request_id: str
) -> Iterator[requests.Response]:
    with session.request(
        request.method,
        _url(connection, request),
        json=request.json,
        headers={"X-Request-ID": request_id},
        timeout=connection.request_timeout,
        allow_redirects=False,
        stream=True,
    ) as answer:
        yield answer


def _start(answer: requests.Response, request: Request, give_up_at: float) -> bytearray:
    """Read a body to the request's bound, and a chunk more if there is more."""
    body = bytearray()
    # read1 returns what there is, so that a slow drip is seen to be one.
    while len(body) <= request.max_body and (chunk := answer.raw.read1(65536, decode_content=True)):
        body += chunk
        if time.monotonic() > give_up_at:
            raise TimeoutError
    return body


@contextmanager
def _unavailability(connection: RoeConnection, request: Request, request_id: str) -> Iterator[None]:
    import requests
    import urllib3

    try:
        yield
    except requests.exceptions.ConnectTimeout as e:
        raise _unavailable(connection, request, request_id, e, connected=False) from e
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as e:
        raise _unavailable(connection, request, request_id, e) from e


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

        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=MAX_CONNECTIONS, keepalive_timeout=KEEPALIVE, ssl=verify),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=_headers(self.connection),
            proxy=proxy,
            response_class=_final_answer(),
            timeout=aiohttp.ClientTimeout(total=self.connection.request_timeout),
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
                        URL(_url(self.connection, request), encoded=True),
                        json=request.json,
                        headers={"X-Request-ID": request_id},
                        allow_redirects=False,
                    ) as answer:
                        _check_encoding(", ".join(answer.headers.getall("Content-Encoding", ())))
                        body = bytearray()
                        while len(body) <= request.max_body and (chunk := await answer.content.readany()):
                            body += chunk
                        return _response(
                            self.connection, request, answer.status, answer.headers, body, request_id
                        )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as e:
            raise _unavailable(self.connection, request, request_id, e, connected=False) from e
        except (aiohttp.ClientError, OSError) as e:
            raise _unavailable(self.connection, request, request_id, e) from e
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
    import aiohttp  # noqa: F401 - imported here, off the event loop

    return _tls(connection), _proxy(connection)


@cache
def _final_answer() -> type[aiohttp.ClientResponse]:
    """Return a class of answers of which 101, the one interim answer that aiohttp does not skip, is none."""
    import aiohttp

    class FinalAnswer(aiohttp.ClientResponse):
        async def start(self, connection: Any) -> aiohttp.ClientResponse:
            protocol = connection.protocol  # which it may give back for other requests
            await super().start(connection)
            if self.status == 101:
                protocol.close()
                raise aiohttp.ClientConnectionError("101 Switching Protocols")
            return self

    return FinalAnswer


def _headers(connection: RoeConnection) -> dict[str, str]:
    from airflow import __version__ as airflow_version

    python = ".".join(map(str, sys.version_info[:2]))
    return {
        "Authorization": f"Bearer {connection.api_key}",
        "Accept": "application/json",
        "Accept-Encoding": ", ".join(ENCODINGS),
        "User-Agent": f"airflow-provider-roe/{__version__} apache-airflow/{airflow_version} python/{python}",
    }


def _ca_bundle(connection: RoeConnection) -> str | bool:
    """Return the path of the CA bundle that both transports verify certificates with; False for none."""
    from requests.utils import DEFAULT_CA_BUNDLE_PATH

    if connection.verify is not True:
        return connection.verify
    return (
        os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("SSL_CERT_FILE") or str(DEFAULT_CA_BUNDLE_PATH)
    )


def _tls(connection: RoeConnection) -> ssl.SSLContext | bool:
    bundle = _ca_bundle(connection)
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


def _proxy(connection: RoeConnection) -> str | None:
    from urllib.request import getproxies, proxy_bypass

    scheme, _, host = connection.base_url.partition("://")
    if proxy_bypass(host):
        return None
    proxies = getproxies()
    proxy = proxies.get(scheme) or proxies.get("all")
    return f"http://{proxy}" if proxy and "://" not in proxy else proxy


def _url(connection: RoeConnection, request: Request) -> str:
    query = "&".join(f"{name}={value}" for name, value in request.params.items())
    return f"{connection.base_url}{request.path}{f'?{query}' if query else ''}"


def _check_encoding(encoding: str) -> None:
    if encoding.strip().lower() not in ("", "identity", *ENCODINGS):
        raise ConnectionError(f"it answers in Content-Encoding {encoding!r}, which was not asked for")


def _response(
    connection: RoeConnection,
    request: Request,
    status_code: int,
    headers: Mapping[str, str],
    body: bytearray,
    request_id: str,
) -> Response:
    return Response(
        status_code,
        headers,
        bytes(memoryview(body)[: request.max_body]),
        request_id,
        overlong=len(body) > request.max_body,
        secret=connection.api_key,
    )


def _unavailable(
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
