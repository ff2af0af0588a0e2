"""HTTP for workers: blocking, with requests."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

from airflow_provider_roe.client.transport import (
    ProxyRefusal,
    ca_bundle,
    causes,
    check_encoding,
    headers,
    make_response,
    named_bundle,
    new_request_id,
    proxy_for,
    tls_context,
    unavailable,
    url_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    import requests

    from airflow_provider_roe.api.base import Request, Response
    from airflow_provider_roe.client.connection import RoeConnection


def open_session(connection: RoeConnection) -> requests.Session:
    """Return a session for blocking calls, with the connection's key, certificates and proxy."""
    from http.cookiejar import DefaultCookiePolicy

    import requests

    from airflow_provider_roe.client.adapter import Adapter

    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, Adapter())
    session.trust_env = False  # it would let .netrc replace our Authorization
    session.get_redirect_target = lambda resp: None  # type: ignore[method-assign]
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
    session.headers.update(headers(connection))
    session.verify = ca_bundle(connection)
    if named_bundle(connection):
        tls_context(connection)  # requests would take a bundle that is none for an outage
    if proxy := proxy_for(connection):
        session.proxies = {"http": proxy, "https": proxy}
    return session


def send(session: requests.Session, connection: RoeConnection, request: Request) -> Response:
    """
    Send a request and read the answer, whatever it says.

    The connection's ``request_timeout`` bounds the whole; with files, the wait for the answer, and for each
    block of a file to be taken.

    :raises RoeUnavailableError: There is no whole answer.
    :raises RoeRequestError: A proxy refuses to pass the request on.
    :raises RoeInputError: A file cannot be read.
    """
    request_id = new_request_id()
    with (
        _unavailability(connection, request, request_id),
        _answer(session, connection, request, request_id) as answer,
    ):
        check_encoding(answer.headers.get("Content-Encoding", ""))
        return _response(connection, request, answer, _start(answer, request), request_id)


def download(
    session: requests.Session, connection: RoeConnection, request: Request, file: BinaryIO
) -> Response:
    """
    Send a request and spool the body of a success, however long it is, to a file.

    The connection's ``request_timeout`` bounds the wait for the answer, and for each MiB of its body.

    :param file: Is emptied first.
    :return: The answer; its body is the start of what is in the file, or the whole of a refusal.
    :raises RoeUnavailableError: There is no whole answer.
    :raises RoeRequestError: A proxy refuses to pass the request on.
    :raises OSError: The file cannot be written.
    """
    from airflow_provider_roe.client.adapter import prolong

    request_id = new_request_id()
    start = bytearray()
    file.seek(0)
    file.truncate()
    with ExitStack() as stack:
        with _unavailability(connection, request, request_id):
            answer = stack.enter_context(_answer(session, connection, request, request_id))
            check_encoding(answer.headers.get("Content-Encoding", ""))
            if not 200 <= answer.status_code < 300:
                return _response(connection, request, answer, _start(answer, request), request_id)
        until = 1024 * 1024
        while True:
            with _unavailability(connection, request, request_id):
                chunk = answer.raw.read1(65536, decode_content=True)
            file.write(chunk)  # not within the above: a full disk is no trouble of Roe's
            start += chunk[: 1000 - len(start)]
            if not chunk:
                return _response(connection, request, answer, start, request_id)
            if file.tell() > until:
                until = file.tell() + 1024 * 1024
                prolong(answer, connection.request_timeout)


def _response(
    connection: RoeConnection, request: Request, answer: requests.Response, body: bytearray, request_id: str
) -> Response:
    import requests

    # The first of a repeated field counts, as on a loop; requests would join them.
    headers = requests.structures.CaseInsensitiveDict(reversed(list(answer.raw.headers.iteritems())))
    return make_response(connection, request, answer.status_code, headers, body, request_id)


@contextmanager
def _answer(
    session: requests.Session, connection: RoeConnection, request: Request, request_id: str
) -> Iterator[requests.Response]:
    from urllib3 import Timeout

    patience = connection.request_timeout
    timeout: Any = Timeout(total=patience)  # requests' types lack it
    headers = {"X-Request-ID": request_id, **request.headers}
    form: Any = None
    if request.form is not None:
        from airflow_provider_roe.client.multipart import Multipart

        form = Multipart(request.form)
        headers["Content-Type"] = form.content_type
        # Files take as long as they take: each piece of one is bounded, as is the wait for the answer.
        timeout = Timeout(connect=patience, read=patience)
    with session.request(
        request.method,
        url_of(connection, request),
        json=request.json,
        data=form,
        headers=headers,
        timeout=timeout,
        allow_redirects=False,
        stream=True,
    ) as answer:
        if answer.status_code == 407 and session.proxies and connection.base_url.startswith("http:"):
            raise ProxyRefusal(407, answer.reason, answer.headers)
        yield answer


def _start(answer: requests.Response, request: Request) -> bytearray:
    """Read a body to the request's bound, and a chunk more if there is more."""
    body = bytearray()
    while len(body) <= request.max_body and (chunk := answer.raw.read1(65536, decode_content=True)):
        body += chunk
    return body


@contextmanager
def _unavailability(connection: RoeConnection, request: Request, request_id: str) -> Iterator[None]:
    import requests
    import urllib3

    try:
        yield
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as e:
        unconnected = (urllib3.exceptions.ConnectTimeoutError, urllib3.exceptions.NewConnectionError)
        connected = not any(isinstance(cause, unconnected) for cause in causes(e))
        raise unavailable(connection, request, request_id, e, connected=connected) from e
