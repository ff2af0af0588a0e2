from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import html
import json
import math
import re
import socket
import ssl
import struct
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
import trustme
from airflow import __version__ as airflow_version

from airflow_provider_roe import __version__
from airflow_provider_roe.api import queries
from airflow_provider_roe.api.base import State
from airflow_provider_roe.client.connection import RoeConnection
from airflow_provider_roe.exceptions import (
    RoeAuthenticationError,
    RoeError,
    RoeInputError,
    RoeNotFoundError,
    RoeRequestError,
    RoeUnavailableError,
)
from airflow_provider_roe.hooks.roe import RoeHook
from airflow_provider_roe.testing import Fault, QueryPlan, RoeSimulator
from dev.patience import patient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any

    from airflow_provider_roe.api.queries import QueryStatus

QUERY = "7d9c3b1e-52f4-4a8d-9e60-1b7f2c4d8a35"
ORGANIZATION = "3f0c7a52-8d1e-4b6f-9a27-5c1b0e84d6f3"
OTHER_ORGANIZATION = "11111111-2222-4333-8444-555555555555"
FAILED = QueryPlan(statuses=(), ends_as="FAILURE", error="Unknown table")


def id_of(value: Fault | str) -> str:
    """Return what a fault does, as the id of a test."""
    if not isinstance(value, Fault):
        return ""
    said = {f.name: getattr(value, f.name) for f in dataclasses.fields(Fault)}
    usual = vars(Fault(delay=1)) | {"delay": 0}
    return " ".join(f"{name}={text}" for name, text in said.items() if text != usual[name])[:60]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def bundle(authority: trustme.CA, tmp_path: Path) -> str:
    """Return the path of the certificate that the TLS server's is signed with."""
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


@pytest.fixture(scope="module")
def context(authority: trustme.CA) -> ssl.SSLContext:
    """Return what a server needs to speak https."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def tls_roe(context: ssl.SSLContext) -> Iterator[RoeSimulator]:
    """Return a simulator that speaks https with a certificate of an authority of its own."""
    with RoeSimulator(plan=QueryPlan(statuses=(), ends_as="SUCCESS"), ssl_context=context) as roe:
        yield roe


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[socket.socket], None]], str]]:
    """Return a function that starts a server which treats each connection as told, and returns its URL."""
    listeners = []

    def serve(treat: Callable[[socket.socket], None]) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=treat_one, args=(connection,), daemon=True).start()

        def treat_one(connection: socket.socket) -> None:
            with connection:
                connection.recv(65536)
                with contextlib.suppress(OSError):
                    treat(connection)

        threading.Thread(target=accept, daemon=True).start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield serve
    for listener in listeners:
        listener.close()


@pytest.fixture
def nobody() -> str:
    """Return the URL of a port at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def crowd() -> Iterator[str]:
    """Return the URL of a server that is too busy to accept a connection."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, contextlib.ExitStack() as waiting:
        for _ in range(2):
            client = waiting.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


class TestCalls:
    def test_a_query_is_submitted_seen_to_succeed_and_its_rows_fetched(self, roe, connect, ask):
        connect(roe)
        hook = RoeHook()
        submitted = hook.submit_query("SELECT 1 AS one; SELECT 'a' AS letter, 2 AS two")
        status = ask(hook, submitted.query_id)
        result = hook.get_query_result(submitted.query_id)
        assert submitted == queries.SubmittedQuery(
            submitted.query_id, roe.queries[submitted.query_id].worksheet_id, "SUCCESS"
        )
        assert (status.query_id, status.status) == (submitted.query_id, "SUCCESS")
        assert status.state is State.SUCCEEDED
        assert [(s.column_names, s.rows) for s in result.results] == [
            (("one",), (("1",),)),
            (("letter", "two"), (("a", "2"),)),
        ]

    def test_a_query_that_failed_is_no_error_of_the_hook(self, roe, connect, ask):
        connect(roe)
        status = ask(RoeHook(), roe.submit("SELECT 1", FAILED))
        assert (status.state, status.error) == (State.FAILED, "Unknown table")

    def test_a_query_that_runs_is_one(self, roe, connect, ask):
        connect(roe)
        query = roe.submit("SELECT 1", QueryPlan(statuses=[("STARTED", math.inf)]))
        assert ask(RoeHook(), query).state is State.RUNNING

    def test_statuses_that_the_connection_names_count(self, roe, connect, ask):
        connect(roe, success_statuses=["DONE"], failure_statuses=["LOST"])
        for word, state in (("Done", State.SUCCEEDED), ("LOST", State.FAILED)):
            query = roe.submit("SELECT 1", QueryPlan(statuses=(), ends_as=word))
            assert ask(RoeHook(), query).state is state

    def test_the_connection_s_organization_is_asked_for(self, roe, connect, ask):
        connect(roe)
        ask(RoeHook(), roe.submit("SELECT 1"))
        assert roe.requests[-1].query == {"organization_id": roe.organization_id}

    def test_an_organization_of_the_task_s_takes_its_place(self, roe, connect, ask):
        connect(roe, organization_id=OTHER_ORGANIZATION)
        ask(RoeHook(organization_id=roe.organization_id.upper()), roe.submit("SELECT 1"))
        assert roe.requests[-1].query == {"organization_id": roe.organization_id}

    def test_a_query_can_run_in_a_worksheet(self, roe, connect):
        connect(roe)
        submitted = RoeHook().submit_query("SELECT 1", worksheet_id=QUERY.upper(), use_admin=True)
        assert submitted.worksheet_id == QUERY
        assert json.loads(roe.requests[-1].body) == {
            "query": "SELECT 1",
            "use_admin": True,
            "worksheet_id": QUERY,
        }

    @pytest.mark.parametrize(
        "query_id", ["", None, "None", "../..", [QUERY], f"{{{QUERY}}}", QUERY[:-1]], ids=repr
    )
    def test_a_query_id_that_is_none_fails_before_any_request(self, roe, connect, ask, query_id):
        connect(roe)
        with pytest.raises(RoeInputError, match="query_id must be a UUID"):
            ask(RoeHook(), query_id)
        with pytest.raises(RoeInputError, match="query_id must be a UUID"):
            RoeHook().get_query_result(query_id)
        assert roe.requests == []

    @pytest.mark.parametrize("organization_id", ["", "acme", "../x", 7], ids=repr)
    def test_an_organization_id_that_is_none_fails_before_any_request(
        self, roe, connect, ask, organization_id
    ):
        connect(roe)
        with pytest.raises(RoeInputError, match="organization_id must be a UUID"):
            ask(RoeHook(organization_id=organization_id), QUERY)
        assert roe.requests == []


class TestRequests:
    def test_several_calls_use_one_tcp_connection(self, roe, connect):
        connect(roe)
        hook = RoeHook()
        query = hook.submit_query("SELECT 1").query_id
        hook.get_query_status(query)
        hook.get_query_result(query)
        assert (len(roe.requests), roe.connections) == (3, 1)
        assert hook.get_conn() is hook.get_conn()

    async def test_several_async_calls_within_the_hook_use_one_tcp_connection(self, roe, connect):
        connect(roe)
        query = roe.submit("SELECT 1")
        async with RoeHook() as hook:
            for _ in range(3):
                await hook.aget_query_status(query)
        assert (len(roe.requests), roe.connections) == (3, 1)

    @pytest.mark.usefixtures("impatient")
    def test_an_error_does_not_cost_the_tcp_connection(self, roe, connect):
        connect(roe, retry_window=30)
        roe.add_fault(Fault(status_code=503, times=1))
        hook, query = RoeHook(), roe.submit("SELECT 1")
        hook.get_query_status(query)
        assert (len(roe.requests), roe.connections) == (2, 1)

    def test_each_says_who_sends_it_and_for_whom(self, roe, connect, ask):
        connect(roe)
        ask(RoeHook(), roe.submit("SELECT 1"))
        headers = roe.requests[-1].headers
        assert headers["Authorization"] == f"Bearer {roe.api_key}"
        assert headers["Accept"] == "application/json"
        assert re.fullmatch(
            rf"airflow-provider-roe/{re.escape(__version__)}"
            rf" apache-airflow/{re.escape(airflow_version)} python/3\.\d+",
            headers["User-Agent"],
        )

    @pytest.mark.usefixtures("impatient")
    def test_each_attempt_has_an_id_of_its_own_and_the_error_names_the_last(self, roe, connect, ask):
        connect(roe, retry_window=30)
        roe.add_fault(Fault(status_code=500, times=1))
        with pytest.raises(RoeNotFoundError) as e:
            ask(RoeHook(), QUERY)
        ids = [request.headers["X-Request-ID"] for request in roe.requests]
        assert len(ids) == len(set(ids)) == 2
        assert e.value.request_id == ids[-1]
        assert f"Request id: {ids[-1]}." in str(e.value)

    def test_both_transports_send_the_same(self, roe, connect):
        connect(roe)
        hook, query = RoeHook(), roe.submit("SELECT 1")
        hook.get_query_status(query)
        asyncio.run(hook.aget_query_status(query))
        first, second = roe.requests
        assert (first.method, first.path, first.query, first.body) == (
            second.method,
            second.path,
            second.query,
            second.body,
        )
        for name in ("Authorization", "Accept", "User-Agent"):
            assert first.headers[name] == second.headers[name]

    @pytest.mark.usefixtures("impatient")
    def test_no_cookie_is_kept(self, roe, connect):
        connect(roe, retry_window=30)
        hook, query = RoeHook(), roe.submit("SELECT 1")

        async def twice() -> None:
            async with hook:
                for _ in range(2):
                    await hook.aget_query_status(query)

        for calls in (lambda: [hook.get_query_status(query) for _ in range(2)], lambda: asyncio.run(twice())):
            roe.add_fault(Fault(status_code=500, headers={"Set-Cookie": "session=x; Path=/"}, times=1))
            calls()
        assert len(roe.requests) == 6
        assert not any("Cookie" in request.headers for request in roe.requests)

    def test_a_netrc_file_does_not_replace_the_key(self, roe, connect, ask, tmp_path, monkeypatch):
        netrc = tmp_path / "netrc"
        netrc.write_text("machine 127.0.0.1 login someone password else\n")
        monkeypatch.setenv("NETRC", str(netrc))
        connect(roe)
        assert ask(RoeHook(), roe.submit("SELECT 1")).status == "SUCCESS"

    def test_an_answer_may_be_compressed(self, roe, connect, ask):
        connect(roe)
        roe.add_fault(Fault(gzip=True))
        assert ask(RoeHook(), roe.submit("SELECT 1")).status == "SUCCESS"

    @pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
    def test_the_usual_variables_name_the_proxy(self, roe, connect, ask, monkeypatch, name):
        monkeypatch.setenv(name, roe.url)
        connect(
            "http://roe.invalid", api_key=roe.api_key, organization_id=roe.organization_id, allow_http=True
        )
        assert ask(RoeHook(), roe.submit("SELECT 1")).status == "SUCCESS"
        assert roe.requests[-1].headers["Host"] == "roe.invalid"

    def test_no_proxy_exempts_a_host(self, roe, connect, ask, monkeypatch, nobody):
        monkeypatch.setenv("HTTP_PROXY", nobody)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        connect(roe)
        assert ask(RoeHook(), roe.submit("SELECT 1")).status == "SUCCESS"

    @pytest.mark.usefixtures("impatient")
    @pytest.mark.parametrize("to_https", [False, True], ids=["to http", "to https"])
    @pytest.mark.parametrize("from_https", [False, True], ids=["from http", "from https"])
    def test_a_redirect_is_refused_and_the_key_does_not_travel(
        self, roe, tls_roe, context, connect, ask, bundle, from_https, to_https
    ):
        asked = tls_roe if from_https else roe
        connect(asked, retry_window=1, verify=bundle)
        with RoeSimulator(ssl_context=context if to_https else None) as elsewhere:
            for code in (301, 302, 303, 307, 308):
                asked.add_fault(
                    Fault(status_code=code, headers={"Location": f"{elsewhere.url}/v1/"}, times=1)
                )
                with pytest.raises(RoeRequestError, match="Redirects are not followed") as e:
                    ask(RoeHook(), QUERY)
                assert (e.value.status_code, asked.requests.pop().status_code) == (code, code)
            assert (asked.requests, elsewhere.requests, elsewhere.connections) == ([], [], 0)


class TestRefusals:
    def test_a_query_that_roe_does_not_know(self, roe, connect, ask):
        connect(roe, retry_window=60)
        with pytest.raises(RoeNotFoundError, match=r"^Roe knows no such query.* 404: Query not found\.") as e:
            ask(RoeHook(), QUERY)
        assert "Connection: roe_default." in str(e.value)
        assert len(roe.requests) == 1

    def test_an_organization_that_the_key_has_no_access_to(self, roe, connect, ask):
        connect(roe, organization_id=OTHER_ORGANIZATION, retry_window=60)
        with pytest.raises(RoeRequestError, match=r"\(login\).* 403: You do not have permission"):
            ask(RoeHook(), roe.submit("SELECT 1"))
        assert len(roe.requests) == 1

    @pytest.mark.parametrize(("code", "words"), [(400, "was answered with 400"), (402, "out of credits")])
    def test_another_refusal_is_not_repeated(self, roe, connect, ask, code, words):
        connect(roe, retry_window=60)
        roe.add_fault(Fault(status_code=code))
        with pytest.raises(RoeRequestError, match=words):
            ask(RoeHook(), QUERY)
        assert len(roe.requests) == 1

    def test_sql_that_roe_refuses(self, roe, connect):
        connect(roe, retry_window=60)
        roe.add_fault(Fault(call="submit", status_code=400, body={"query": ["This field may not be blank."]}))
        with pytest.raises(RoeRequestError, match=r"400: query: This field may not be blank\."):
            RoeHook().submit_query("SELECT 1")

    @pytest.mark.parametrize("code", [400, 401, 403, 500, 200])
    def test_a_server_that_echoes_the_key_does_not_make_us_print_it(self, roe, connect, ask, code, caplog):
        connect(roe)
        roe.add_fault(
            Fault(
                status_code=code,
                body={"detail": f"Bearer {roe.api_key} was seen", "headers": [roe.api_key] * 9},
            )
        )
        with pytest.raises(RoeRequestError, match=r"Bearer \*\*\*") as e:
            ask(RoeHook(), QUERY)
        cause: BaseException | None = e.value
        while cause:
            assert roe.api_key not in f"{cause!r} {cause}"
            cause = cause.__cause__ or cause.__context__
        assert roe.api_key not in caplog.text


#: How a text that was sent may come back.
ECHOES: dict[str, Callable[[str], bytes]] = {
    "in HTML": lambda key: f"<p>Authorization: Bearer {key}</p>".encode(),
    "in HTML, escaped": lambda key: f"<p>{html.escape(key)}</p>".encode(),
    "in a URL": lambda key: f"<a href='/login?key={quote(key, safe='')}'>".encode(),
    "in a URL in lower case": lambda key: re.sub(
        "%..", lambda code: code[0].lower(), f"/login?key={quote(key, safe='')}"
    ).encode(),
    "in JSON": lambda key: json.dumps({"detail": [f"Bearer {key}"], "seen": {key: key}}).encode(),
    "in what is nearly JSON": lambda key: json.dumps(key).encode() + b"}",
    "in JSON of PHP": lambda key: json.dumps([key]).replace("/", "\\/").encode() + b"}",
    "in UTF-16": lambda key: f"<p>{key}</p>".encode("utf-16"),
    "cut off": lambda key: (b" " * 990 + key.encode())[:1000] + b" " * 2**21,
    "cut off after 200 characters": lambda key: b"x" * 180 + key.encode(),
    "as a status": lambda key: json.dumps(
        {"worksheet_query_id": QUERY, "status": f"Bearer {key}", "error": f"Bearer {key}"}
    ).encode(),
    "in an error text": lambda key: json.dumps(
        {"worksheet_query_id": QUERY, "status": "FAILURE", "error": "x" * 1980 + key}
    ).encode(),
}  # fmt: skip
#: A start of the server's answer in which the key stands, and which is no answer.
BAD_HEADS: dict[str, Callable[[str], str]] = {
    "another protocol": "Authorization: Bearer {}\r\n\r\n".format,
    "bad version": "HTTP/x Bearer {}\r\n\r\n".format,
    "bad header": "HTTP/1.1 200 OK\r\nBearer {}\r\n\r\n".format,
    "bad length": "HTTP/1.1 200 OK\r\nContent-Length: Bearer {}\r\n\r\n".format,
    "bad encoding": "HTTP/1.1 200 OK\r\nContent-Encoding: Bearer {}\r\nContent-Length: 2\r\n\r\n{{}}".format,
}


class TestNoEcho:
    @pytest.mark.parametrize("code", [200, 401, 404, 500])
    @pytest.mark.parametrize(
        "key", ["roe-Test/Key+9fWm2Qz7Lx4Tn8Vb", 'a"b\\c<&>9fWm2Qz7'], ids=["usual", "odd"]
    )
    @pytest.mark.parametrize("echo", ECHOES)
    def test_the_key_is_in_nothing_that_is_told(self, roe, connect, ask, caplog, echo, key, code):
        roe.rotate_key(key)
        connect(roe)
        roe.add_fault(Fault(status_code=code, body=ECHOES[echo](key)))
        told = [caplog.text]
        try:
            told.append(str(ask(RoeHook(), QUERY).as_dict()))
        except RoeRequestError as e:
            told += printed(e)
        assert_untold(key, "".join(told))

    @pytest.mark.parametrize("head", BAD_HEADS)
    def test_nor_is_one_that_stands_where_no_answer_begins(self, connect, ask, serve, head):
        key = "roe-Test/Key+9fWm2Qz7Lx4Tn8Vb"
        answer = BAD_HEADS[head](key).encode()
        connect(serve(lambda connection: connection.sendall(answer)), api_key=key, request_timeout=1)
        with pytest.raises(RoeUnavailableError) as e:
            ask(RoeHook(), QUERY)
        assert_untold(key, "".join(printed(e.value)))

    def test_a_result_s_error_text_is_told_without_it(self, roe, connect):
        connect(roe)
        plan = QueryPlan(statuses=(), ends_as="SUCCESS", error=f"Bearer {roe.api_key}")
        assert RoeHook().get_query_result(roe.submit("SELECT 1", plan)).error == "Bearer ***"

    @pytest.mark.parametrize("key", ["status", "SUCCESS", "200"])
    def test_a_key_that_is_an_ordinary_word_does_not_spoil_what_is_data(self, roe, connect, ask, key):
        roe.rotate_key(key)
        connect(roe)
        assert ask(RoeHook(), roe.submit("SELECT 1")).status == "SUCCESS"


def printed(error: BaseException | None) -> Iterator[str]:
    """Yield what a log may show of an error and of what led to it."""
    while error:
        yield f"{error!r} {error} {vars(error)} "
        error = error.__cause__ or error.__context__


def assert_untold(key: str, text: str) -> None:
    """Make sure that no part of a key worth the name is in a text, in whichever way it is escaped."""
    for part in (key[:9], key[-9:]):
        for way in (part, html.escape(part), quote(part, safe=""), json.dumps(part)[1:-1], repr(part)[1:-1]):
            assert way.lower() not in text.lower()


def http_answer(body: bytes, *headers: str, code: str = "200 OK") -> bytes:
    head = "\r\n".join([f"HTTP/1.1 {code}", "Content-Type: application/json", *headers, "", ""])
    return head.encode() + body


def drip(connection: socket.socket, data: bytes) -> None:
    for i in range(len(data)):
        connection.sendall(data[i : i + 1])
        time.sleep(0.05)


STATUS_BODY = json.dumps({"worksheet_query_id": QUERY, "status": "SUCCESS"}).encode()
WHOLE = http_answer(STATUS_BODY, f"Content-Length: {len(STATUS_BODY)}")

NO_ANSWER = [
    (Fault(reset="before"), "broke|reset"),
    (Fault(reset="body"), "broke|reset"),
    (Fault(truncate=True), "broke"),
    (Fault(hang=True), "did not answer within 0.5 s"),
    (Fault(drip=0.05), "did not answer within 0.5 s"),
    (Fault(oversize=2**20 + 1), "not within 1,048,576 bytes"),
    (Fault(oversize=2**24, gzip=True), "not within 1,048,576 bytes"),
    (Fault(status_code=200, body="<html>Log in</html>"), "not JSON; it starts with '<html>Log in"),
    (Fault(status_code=200, body={"status": "SUCCESS"}), "not the status of this query"),
    (Fault(status_code=200, body=b""), "not JSON"),
    (Fault(status_code=429), "429: Request was throttled"),
    (Fault(status_code=500, body="<h1>Server Error</h1>"), "500: <h1>Server Error</h1>"),
    (Fault(status_code=502, body=b""), "was answered with 502"),
    (Fault(status_code=503, retry_after=0), "was answered with 503"),
    (Fault(status_code=503, retry_after=datetime(2020, 1, 1, tzinfo=UTC)), "was answered with 503"),
    (Fault(status_code=504), "was answered with 504"),
]


class TestTrouble:
    @pytest.mark.parametrize(("fault", "words"), NO_ANSWER, ids=id_of)
    def test_it_is_told_in_a_sentence(self, roe, connect, ask, fault, words):
        connect(roe, request_timeout=0.5 if fault.hang or fault.drip else 30)
        roe.add_fault(fault)
        began = time.monotonic()
        with pytest.raises(RoeUnavailableError, match=words) as e:
            ask(RoeHook(), roe.submit("SELECT 1"))
        assert time.monotonic() - began < patient(10)
        assert "Connection: roe_default." in str(e.value)
        # aiohttp repeats a GET once by itself when the connection breaks before the answer.
        assert {request.headers["X-Request-ID"] for request in roe.requests} == {e.value.request_id}
        assert e.value.repeatable

    @pytest.mark.usefixtures("impatient")
    @pytest.mark.parametrize(
        "fault", [fault for fault, _ in NO_ANSWER if not (fault.hang or fault.drip)], ids=id_of
    )
    def test_a_status_is_asked_for_again(self, roe, connect, ask, fault):
        connect(roe, retry_window=30)
        roe.add_fault(Fault(**{**vars(fault), "times": 1}))
        assert ask(RoeHook(), roe.submit("SELECT 1")).status == "SUCCESS"
        assert len(roe.requests) == 2

    @pytest.mark.usefixtures("impatient")
    def test_a_time_out_is_followed_by_another_attempt(self, roe, connect, ask):
        connect(roe, request_timeout=1, retry_window=30)
        roe.add_fault(Fault(hang=True, times=1))
        assert ask(RoeHook(), roe.submit("SELECT 1")).status == "SUCCESS"

    def test_an_answer_just_within_the_bound_is_read(self, roe, connect, ask):
        connect(roe)
        roe.add_fault(Fault(oversize=2**20))
        assert ask(RoeHook(), roe.submit("SELECT 1")).status == "SUCCESS"

    def test_an_answer_that_is_late_but_in_time_is_read(self, roe, connect, ask):
        connect(roe, request_timeout=10)
        roe.add_fault(Fault(delay=0.3))
        assert ask(RoeHook(), roe.submit("SELECT 1")).status == "SUCCESS"

    @pytest.mark.parametrize("as_date", [False, True], ids=["seconds", "date"])
    def test_both_forms_of_retry_after_are_found(self, roe, connect, ask, as_date):
        connect(roe)
        retry_after = datetime.now(UTC) + timedelta(hours=1) if as_date else 3600
        roe.add_fault(Fault(status_code=503, retry_after=retry_after))
        with pytest.raises(RoeUnavailableError) as e:
            ask(RoeHook(), QUERY)
        assert e.value.retry_after == pytest.approx(3600, abs=30)

    @pytest.mark.parametrize("as_date", [False, True], ids=["seconds", "date"])
    def test_a_retry_after_beyond_the_window_is_capped_by_it(self, roe, connect, ask, as_date):
        connect(roe, retry_window=2)
        retry_after = datetime.now(UTC) + timedelta(hours=1) if as_date else 3600
        roe.add_fault(Fault(status_code=429, retry_after=retry_after))
        began = time.monotonic()
        with pytest.raises(RoeUnavailableError, match="Gave up after 2 attempts in"):
            ask(RoeHook(), QUERY)
        assert time.monotonic() - began < patient(10)

    async def test_in_a_triggerer_a_slow_answer_is_bounded_from_its_first_byte_on(self, connect, serve):
        connect(serve(lambda connection: drip(connection, WHOLE)), request_timeout=0.5)
        began = time.monotonic()
        with pytest.raises(RoeUnavailableError, match=r"did not answer within 0\.5 s"):
            await RoeHook().aget_query_status(QUERY)
        assert time.monotonic() - began < patient(10)

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"SSH-2.0-OpenSSH_9.6\r\n",
            b"HTTP/1.1 200 OK\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n" + b"X: " + b"x" * 100_000 + b"\r\n\r\n",
            http_answer(b"5\r\nhello", "Transfer-Encoding: chunked"),
            http_answer(b"zz\r\nhello\r\n", "Transfer-Encoding: chunked"),
            http_answer(b"not gzip", "Content-Encoding: gzip", "Content-Length: 8"),
            http_answer(STATUS_BODY, f"Content-Length: {len(STATUS_BODY) + 1}"),
        ],
        ids=[
            "nothing",
            "another protocol",
            "half a head",
            "bad length",
            "huge header",
            "half a chunk",
            "bad chunk",
            "bad gzip",
            "short",
        ],
    )
    def test_whatever_the_server_sends_is_an_error_of_ours(self, connect, ask, serve, data):
        connect(serve(lambda connection: connection.sendall(data)), request_timeout=1)
        with pytest.raises(RoeUnavailableError, match=r"got no answer|is not JSON"):
            ask(RoeHook(), QUERY)

    def test_a_chunked_answer_is_read(self, connect, ask, serve):
        half = len(STATUS_BODY) // 2
        chunks = b"".join(
            b"%x\r\n%b\r\n" % (len(part), part) for part in (STATUS_BODY[:half], STATUS_BODY[half:])
        )
        answer = http_answer(chunks + b"0\r\n\r\n", "Transfer-Encoding: chunked", "Connection: close")
        connect(serve(lambda connection: connection.sendall(answer)))
        assert ask(RoeHook(), QUERY).status == "SUCCESS"

    def test_nothing_listens(self, connect, ask, nobody):
        connect(nobody)
        with pytest.raises(
            RoeUnavailableError, match=r"nothing listens at http://127.*Base URL \(host\) and port"
        ):
            ask(RoeHook(), QUERY)

    def test_the_host_has_no_address(self, connect, ask):
        connect("https://nonexistent.invalid")
        with pytest.raises(
            RoeUnavailableError, match=r"nonexistent\.invalid has no address.*Base URL \(host\)"
        ):
            ask(RoeHook(), QUERY)

    def test_the_proxy_is_named_where_it_is_the_one_that_does_not_listen(
        self, connect, ask, monkeypatch, nobody
    ):
        monkeypatch.setenv("HTTP_PROXY", nobody)
        connect("http://roe.invalid", allow_http=True)
        with pytest.raises(RoeUnavailableError, match="proxy"):
            ask(RoeHook(), QUERY)

    def test_a_password_of_the_proxy_is_not_printed(self, connect, ask, monkeypatch, nobody):
        monkeypatch.setenv("HTTP_PROXY", nobody.replace("://", "://me:pr0xyS3cret@"))
        connect("http://roe.invalid", allow_http=True)
        with pytest.raises(RoeUnavailableError) as e:
            ask(RoeHook(), QUERY)
        assert "pr0xyS3cret" not in str(e.value)

    @pytest.mark.usefixtures("impatient")
    def test_an_outage_shorter_than_the_window_is_waited_out(self, roe, connect, ask):
        connect(roe, retry_window=30)
        query = roe.submit("SELECT 1")
        roe.stop()
        timer = threading.Timer(0.4, roe.start)
        timer.start()
        try:
            assert ask(RoeHook(), query).status == "SUCCESS"
        finally:
            timer.join()


def read_rest(connection: socket.socket) -> None:
    """Read what there is of a request whose body may follow its headers in a packet of its own."""
    connection.settimeout(0.1)
    with contextlib.suppress(TimeoutError):
        connection.recv(65536)
    connection.settimeout(None)


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


EARLY_HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"
SUBMITTED = json.dumps({"id": QUERY}).encode()
#: What a server still does before it breaks off a submit.
BROKEN_OFF: dict[str, Callable[[socket.socket], object]] = {
    "sending": lambda connection: None,
    "before the answer": lambda connection: time.sleep(0.1),
    "after an interim answer": lambda connection: connection.sendall(EARLY_HINTS),
    "in an interim answer": lambda connection: connection.sendall(EARLY_HINTS[:-2]),
    "after a change of protocols": lambda connection: connection.sendall(b"HTTP/1.1 101 Upgrade\r\n\r\n"),
    "in the first line": lambda connection: connection.sendall(b"HTTP/1.1 20"),
    "in the headers": lambda connection: connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Ty"),
    "in the body": lambda connection: connection.sendall(http_answer(SUBMITTED, "Content-Length: 999")),
    "in a chunk": lambda connection: connection.sendall(http_answer(b"5\r\n{", "Transfer-Encoding: chunked")),
}
HANDSHAKES: dict[str, Callable[[socket.socket], object]] = {
    "reset": reset,
    "without an answer": lambda connection: None,
    "with an answer in plain text": lambda connection: connection.sendall(WHOLE),
}


class TestSubmittingOnce:
    @pytest.mark.parametrize(
        "fault",
        [
            Fault(reset="before", executed=True),
            Fault(reset="body"),
            Fault(truncate=True),
            Fault(hang=True, executed=True),
            Fault(drip=0.05),
            Fault(status_code=500, executed=True),
            Fault(status_code=502),
            Fault(status_code=503),
            Fault(status_code=504),
            Fault(status_code=200, body="<html>Log in</html>"),
            Fault(oversize=2**20 + 1),
        ],
        ids=id_of,
    )
    def test_it_is_not_sent_again_where_the_server_may_have_acted(self, roe, connect, fault):
        connect(roe, request_timeout=0.3, retry_window=30)
        roe.add_fault(fault)
        with pytest.raises(RoeUnavailableError) as e:
            RoeHook().submit_query("SELECT 1")
        assert (len(roe.requests), e.value.repeatable) == (1, False)

    @pytest.mark.usefixtures("impatient")
    @pytest.mark.parametrize(
        "fault",
        [Fault(status_code=429, times=1), Fault(status_code=503, retry_after=0, times=1)],
        ids=["429", "503 with Retry-After"],
    )
    def test_it_is_sent_again_where_the_server_says_that_it_did_nothing(self, roe, connect, fault):
        connect(roe, retry_window=30)
        roe.add_fault(fault)
        submitted = RoeHook().submit_query("SELECT 1")
        assert list(roe.queries) == [submitted.query_id]
        assert len(roe.requests) == 2

    @pytest.mark.parametrize("stage", BROKEN_OFF)
    def test_it_is_not_sent_again_once_it_is_under_way(self, connect, serve, stage):
        seen = []

        def treat(connection: socket.socket) -> None:
            seen.append(connection)
            BROKEN_OFF[stage](connection)
            reset(connection)

        connect(serve(treat), organization_id=ORGANIZATION, request_timeout=30, retry_window=30)
        with pytest.raises(RoeUnavailableError) as e:
            # Too long for what two sockets hold: it is still being sent when the server has read its start.
            RoeHook().submit_query("SELECT 1 -- " + "x" * 10_000_000 * (stage == "sending"))
        assert (len(seen), e.value.attempts, e.value.repeatable) == (1, 1, False)

    @pytest.mark.parametrize("handshake", HANDSHAKES)
    def test_nothing_but_a_handshake_is_sent_where_that_fails(self, connect, serve, handshake):
        seen = []

        def treat(connection: socket.socket) -> None:
            HANDSHAKES[handshake](connection)
            connection.settimeout(1)
            with contextlib.suppress(OSError):
                while data := connection.recv(65536):
                    seen.append(data)

        url = serve(treat).replace("http:", "https:")
        connect(url, organization_id=ORGANIZATION, request_timeout=0.3, retry_window=1)
        with pytest.raises(RoeUnavailableError):
            RoeHook().submit_query("SELECT 1")
        assert len(b"".join(seen)) < 100  # an alert, at most

    @pytest.mark.usefixtures("impatient")
    def test_it_is_sent_again_where_the_certificate_was_not_trusted(self, tls_roe, connect):
        connect(tls_roe, retry_window=1)
        with pytest.raises(RoeUnavailableError, match="not trusted") as e:
            RoeHook().submit_query("SELECT 1")
        assert e.value.attempts > 1
        assert tls_roe.requests == []

    @pytest.mark.usefixtures("impatient")
    @pytest.mark.parametrize(
        ("where", "words"),
        [
            ("https://nowhere.invalid", "has no address"),
            ("nobody", "nothing listens"),
            ("crowd", "did not answer within"),
        ],
        ids=["no address", "refused", "connect time-out"],
    )
    def test_it_is_sent_again_where_no_server_was_reached(self, request, connect, where, words):
        url = where if "://" in where else request.getfixturevalue(where)
        connect(url, organization_id=ORGANIZATION, request_timeout=0.3, retry_window=1)
        with pytest.raises(RoeUnavailableError, match=words) as e:
            RoeHook().submit_query("SELECT 1")
        assert e.value.attempts > 1

    def test_it_is_not_sent_again_where_a_connection_that_was_kept_breaks(self, connect, serve):
        seen = []

        def treat(connection: socket.socket) -> None:
            seen.append("first")
            read_rest(connection)
            connection.sendall(http_answer(SUBMITTED, f"Content-Length: {len(SUBMITTED)}"))
            connection.recv(65536)
            seen.append("second")
            reset(connection)

        connect(serve(treat), organization_id=ORGANIZATION, retry_window=30)
        hook = RoeHook()
        assert hook.submit_query("SELECT 1").query_id == QUERY
        with pytest.raises(RoeUnavailableError) as e:
            hook.submit_query("SELECT 2")
        assert (seen, e.value.repeatable) == (["first", "second"], False)

    def test_an_answer_counts_though_the_connection_breaks_after_it(self, connect, serve):
        read, broken = threading.Event(), threading.Event()
        seen = []

        def treat(connection: socket.socket) -> None:
            seen.append(connection)
            connection.sendall(http_answer(SUBMITTED, f"Content-Length: {len(SUBMITTED)}"))
            read.wait(patient(30))  # a reset would overtake it
            reset(connection)
            broken.set()

        connect(serve(treat), organization_id=ORGANIZATION, retry_window=30)
        hook = RoeHook()
        for sql in ("SELECT 1", "SELECT 2"):
            assert hook.submit_query(sql).query_id == QUERY
            read.set()
            assert broken.wait(patient(30))
            read.clear()
            broken.clear()
        assert len(seen) == 2

    @pytest.mark.usefixtures("impatient")
    def test_it_is_sent_again_where_no_connection_came_about(self, roe, connect):
        connect(roe, retry_window=30)
        roe.stop()
        timer = threading.Timer(0.4, roe.start)
        timer.start()
        try:
            RoeHook().submit_query("SELECT 1")
        finally:
            timer.join()
        assert len(roe.queries) == 1


class TestTls:
    def test_a_certificate_that_nobody_vouches_for_is_refused(self, tls_roe, connect, ask):
        connect(tls_roe)
        with pytest.raises(
            RoeUnavailableError, match=r"the certificate of https://127.* is not trusted.*extra\.verify"
        ):
            ask(RoeHook(), QUERY)
        assert tls_roe.requests == []

    def test_it_is_accepted_with_the_authority_s_certificate(self, tls_roe, connect, ask, bundle):
        connect(tls_roe, verify=bundle)
        assert ask(RoeHook(), tls_roe.submit("SELECT 1")).status == "SUCCESS"

    @pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
    def test_it_is_accepted_unverified(self, tls_roe, connect, ask):
        connect(tls_roe, verify=False)
        assert ask(RoeHook(), tls_roe.submit("SELECT 1")).status == "SUCCESS"

    @pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
    def test_the_usual_variables_name_a_bundle(self, tls_roe, connect, ask, bundle, monkeypatch, name):
        monkeypatch.setenv(name, bundle)
        connect(tls_roe)
        assert ask(RoeHook(), tls_roe.submit("SELECT 1")).status == "SUCCESS"

    def test_a_variable_does_not_override_the_connection(self, tls_roe, connect, ask, bundle, monkeypatch):
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such/bundle.pem")
        connect(tls_roe, verify=bundle)
        assert ask(RoeHook(), tls_roe.submit("SELECT 1")).status == "SUCCESS"

    def test_a_certificate_for_another_host_is_refused(self, tls_roe, connect, ask, bundle):
        connect(tls_roe.url.replace("127.0.0.1", "localhost"), verify=bundle)
        with pytest.raises(RoeUnavailableError, match=r"is not trusted.*extra\.verify"):
            ask(RoeHook(), QUERY)

    def test_a_file_that_is_no_bundle_is_named(self, tls_roe, connect, ask, tmp_path):
        path = tmp_path / "empty.pem"
        path.write_text("not a certificate")
        connect(tls_roe, verify=str(path))
        with pytest.raises(
            RoeInputError, match=r"'roe_default', field extra\.verify: .*empty\.pem' is no CA bundle"
        ):
            ask(RoeHook(), QUERY)

    def test_a_server_that_does_not_speak_it_is_told_in_a_sentence(self, roe, connect, ask):
        connect(roe.url.replace("http:", "https:"))
        with pytest.raises(RoeUnavailableError, match=r"TLS with https://127.*https at this port|broke"):
            ask(RoeHook(), QUERY)

    def test_plain_http_to_another_host_is_refused_before_any_request(self, connect, ask):
        connect("http://roe.invalid")
        with pytest.raises(RoeInputError, match="plain http would show the API key"):
            ask(RoeHook(), QUERY)


@pytest.fixture(params=["blocking", "async"])
def keep_asking(request: pytest.FixtureRequest) -> Iterator[Callable[[RoeHook, Any], QueryStatus]]:
    """Return what asks a hook again and again; on an event loop within the hook."""
    if request.param == "blocking":
        yield RoeHook.get_query_status
        return
    entered: list[RoeHook] = []
    with asyncio.Runner() as runner:

        def ask(hook: RoeHook, query_id: Any) -> QueryStatus:
            if hook not in entered:
                entered.append(runner.run(hook.__aenter__()))
            return runner.run(hook.aget_query_status(query_id))

        yield ask
        for hook in entered:
            runner.run(hook.__aexit__())


class TestRotatedKey:
    def test_the_connection_is_read_again(self, roe, connect, keep_asking):
        connect(roe)
        hook, query = RoeHook(), roe.submit("SELECT 1")
        keep_asking(hook, query)
        roe.rotate_key("the-new-key")
        connect(roe)
        assert keep_asking(hook, query).status == "SUCCESS"
        assert [request.status_code for request in roe.requests] == [200, 401, 200]

    def test_a_key_that_stays_refused_is_not_sent_again(self, roe, connect, ask):
        connect(roe, api_key="not-the-key", retry_window=60)
        with pytest.raises(RoeAuthenticationError, match=r"API Key \(password\).* 401: Invalid API key\."):
            ask(RoeHook(), QUERY)
        assert len(roe.requests) == 1

    def test_a_new_key_that_is_refused_too_is_the_end(self, roe, connect, keep_asking):
        connect(roe, retry_window=60)
        hook, query = RoeHook(), roe.submit("SELECT 1")
        keep_asking(hook, query)
        roe.revoke_key()
        connect(roe, api_key="another-wrong-key", retry_window=60)
        with pytest.raises(RoeAuthenticationError):
            keep_asking(hook, query)
        assert [request.status_code for request in roe.requests] == [200, 401, 401]

    def test_a_connection_that_is_gone_may_come_back_and_is_waited_for(
        self, roe, connect, keep_asking, monkeypatch
    ):
        connect(roe, retry_window=1)
        hook = RoeHook()
        keep_asking(hook, roe.submit("SELECT 1"))
        roe.revoke_key()
        monkeypatch.delenv("AIRFLOW_CONN_ROE_DEFAULT")
        with pytest.raises(RoeUnavailableError, match=r"not find connection 'roe_default'.* Gave up after"):
            keep_asking(hook, QUERY)

    @pytest.mark.parametrize(("changed", "requests"), [(False, 5), (True, 10)], ids=["the same", "another"])
    async def test_coroutines_that_share_a_hook_send_no_key_more_often_than_once_each(
        self, roe, connect, look_ups, asked, let_go, changed, requests
    ):
        connect(roe, api_key="the-old-key")
        query = roe.submit("SELECT 1")
        hook = RoeHook()
        roe.add_fault(Fault(delay=1, times=5))
        asking = [asyncio.create_task(hook.aget_query_status(query)) for _ in range(5)]
        await asked(5)
        if changed:
            connect(roe)
        let_go()
        ends = await asyncio.gather(*asking, return_exceptions=True)
        assert {isinstance(end, RoeAuthenticationError) for end in ends} == {not changed}
        assert len(roe.requests) == requests
        assert len(look_ups) == 2

    def test_it_is_looked_up_once_for_many_calls(self, roe, connect, keep_asking, monkeypatch):
        connect(roe)
        looked_up = []
        read = RoeConnection.read
        monkeypatch.setattr(RoeConnection, "read", lambda conn: looked_up.append(conn.conn_id) or read(conn))
        hook = RoeHook()
        for _ in range(3):
            keep_asking(hook, roe.submit("SELECT 1"))
        assert looked_up == ["roe_default"]


class TestUnusableConnections:
    def test_one_that_airflow_does_not_have_is_named(self, ask):
        with pytest.raises(RoeInputError, match="Airflow has no connection 'roe_nowhere'"):
            ask(RoeHook("roe_nowhere"), QUERY)

    @pytest.mark.parametrize(
        "uri",
        [
            "roe://:s3cretKey@roe.test:port",
            "roe://:s3cretKey@[roe.test",
            "roe://org:s3cretKey/with/slashes@roe.test",
            "roe://org:s3cretKey@roe.test:99999",
            '{"conn_type": "roe", "password": "s3cretKey"',
            '{"conn_type": "roe", "password": "s3cretKey", "port": "x"}',
            '{"conn_type": "roe", "password": "s3cretKey", "extra": "no json"}',
            '{"conn_type": "roe", "password": "s3cretKey with spaces"}',
        ],
    )
    def test_one_that_is_malformed_is_named_and_the_key_is_not_printed(self, ask, monkeypatch, uri):
        monkeypatch.setenv("AIRFLOW_CONN_ROE_BAD", uri)
        with pytest.raises(RoeError, match="roe_bad") as e:
            ask(RoeHook("roe_bad"), QUERY)
        cause: BaseException | None = e.value
        while cause:
            assert "s3cretKey" not in f"{cause!r} {cause}"
            cause = cause.__cause__

    @pytest.mark.parametrize("host", ["x" * 64 + ".example", "a..b", "1.2.3.4.5"])
    def test_a_host_that_cannot_be_one_is_an_error_of_ours(self, connect, ask, host):
        connect(f"https://{host}")
        with pytest.raises(RoeError, match="roe_default"):
            ask(RoeHook(), QUERY)

    @pytest.mark.parametrize("seconds", [1, 86400, 1e9, 1e10])
    def test_a_request_timeout_is_refused_or_can_be_used(self, roe, connect, ask, seconds):
        connect(roe, request_timeout=seconds)
        with contextlib.suppress(RoeInputError):
            assert ask(RoeHook(), roe.submit("SELECT 1")).status == "SUCCESS"


class TestTestButton:
    @pytest.fixture
    def outcome(self) -> Callable[[], tuple[bool, str]]:
        return lambda: RoeHook().test_connection()

    def test_key_and_organization_are_accepted(self, roe, connect, outcome):
        connect(roe)
        assert outcome() == (True, f"{roe.url} accepts the API key for organization {roe.organization_id}.")
        assert roe.requests[0].path.endswith("/00000000-0000-0000-0000-000000000000/status/")

    def test_no_organization_is_set(self, roe, connect, outcome):
        connect(roe.url, api_key=roe.api_key)
        assert outcome() == (True, f"{roe.url} accepts the API key; no organization is set.")

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (
                {"api_key": "not-the-key"},
                r"^Roe did not accept.* connection's API Key \(password\)\..* 401: Invalid API key\.",
            ),
            (
                {"organization_id": OTHER_ORGANIZATION},
                r"check the connection's Organization ID \(login\).* 403: ",
            ),
            ({"api_key": "two words"}, r"^The connection, field password \(API Key\)"),
            ({"organization_id": "acme"}, r"^The connection: login \(Organization ID\) must be a UUID"),
        ],
        ids=["wrong key", "wrong organization", "malformed key", "malformed organization"],
    )
    def test_what_is_not_accepted_is_told_in_a_sentence(self, roe, connect, outcome, arguments, words):
        connect(roe, **arguments)
        works, sentence = outcome()
        assert not works
        assert re.search(words, sentence)
        assert "roe_default" not in sentence  # which Airflow has made up

    def test_a_server_that_is_not_roe(self, serve, connect, outcome):
        page = http_answer(b"<html>Not Found</html>", "Content-Length: 22", code="404 Not Found")
        connect(serve(lambda connection: connection.sendall(page)))
        works, sentence = outcome()
        assert not works
        assert "This is not Roe's API: check the connection's Base URL (host)" in sentence

    def test_nothing_listens(self, connect, outcome, nobody):
        connect(nobody)
        works, sentence = outcome()
        assert not works
        assert f"nothing listens at {nobody}: check the connection's Base URL (host) and port" in sentence

    def test_the_certificate_is_not_trusted(self, tls_roe, connect, outcome):
        connect(tls_roe)
        works, sentence = outcome()
        assert not works
        assert "set the connection's extra.verify to the path of its CA bundle" in sentence

    def test_airflow_has_no_such_connection(self, outcome, monkeypatch):
        monkeypatch.delenv("AIRFLOW_CONN_ROE_DEFAULT", raising=False)
        works, sentence = outcome()
        assert not works
        assert "Airflow has no connection 'roe_default'" in sentence

    def test_it_asks_once_however_long_the_window(self, roe, connect, outcome):
        connect(roe, retry_window=300)
        roe.add_fault(Fault(status_code=503))
        began = time.monotonic()
        assert not outcome()[0]
        assert time.monotonic() - began < patient(30)
