from __future__ import annotations

import gzip
import json
import math
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone

import pytest
import requests

from airflow_provider_roe.testing import Fault, JobPlan, RoeSimulator
from dev.patience import patient

QUERY_ID = "00000000-0000-4000-8000-000000000000"


def exchange(roe: RoeSimulator, query_id: str) -> tuple[bytes, Exception | None]:
    """Read a status over a plain socket: what arrived, and how the connection broke."""
    address = roe.url.removeprefix("http://")
    host, _, port = address.partition(":")
    received = b""
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(
            f"GET /v1/database/query/{query_id}/status/ HTTP/1.1\r\nHost: {address}\r\n"
            f"Authorization: Bearer {roe.api_key}\r\nConnection: close\r\n\r\n".encode()
        )
        try:
            while data := connection.recv(65536):
                received += data
        except OSError as e:
            return received, e
    return received, None


class TestWhichRequestsMeetIt:
    def test_those_of_its_call(self, roe, client):
        roe.add_fault(Fault(call="result", status_code=500))
        query_id = roe.submit("SELECT 1")
        assert (client.status(query_id).status_code, client.result(query_id).status_code) == (200, 500)

    def test_those_of_its_query(self, roe, client):
        first, second = roe.submit("SELECT 1"), roe.submit("SELECT 2")
        roe.add_fault(Fault(query_id=second, status_code=500))
        assert [client.status(query_id).status_code for query_id in (first, second)] == [200, 500]

    def test_those_of_its_job(self, roe, client):
        first, second = roe.run_agent(), roe.run_agent()
        roe.add_fault(Fault(job_id=second, status_code=500))
        for call in (client.job_status, client.job_result, client.cancel_job):
            assert [call(job_id).status_code for job_id in (first, second)] == [call(first).status_code, 500]
        assert client.job_statuses([first, second]).status_code == 200

    @pytest.mark.parametrize(
        "call",
        [
            "run_agent",
            "run_agent_many",
            "job_status",
            "job_statuses",
            "job_result",
            "job_results",
            "cancel_job",
        ],
    )
    def test_those_of_its_call_of_agents(self, roe, client, call):
        roe.add_fault(Fault(call=call, status_code=503))
        job_id = roe.run_agent()
        answers = [
            client.run_agent(),
            client.run_many([{}]),
            client.job_status(job_id),
            client.job_statuses([job_id]),
            client.job_result(job_id),
            client.job_results([job_id]),
            client.cancel_job(job_id),
        ]
        assert [record.call for record in roe.requests if record.status_code == 503] == [call]
        assert [answer.status_code for answer in answers].count(503) == 1

    def test_any_without_further_words(self, roe, client):
        roe.add_fault(Fault(status_code=502))
        codes = [client.submit().status_code, client.run().status_code, client.status(QUERY_ID).status_code]
        assert [*codes, client.get(roe.url).status_code] == [502] * 4

    def test_so_many_times(self, roe, client):
        roe.add_fault(Fault(status_code=503, times=2))
        assert [client.submit().status_code for _ in range(3)] == [503, 503, 200]

    def test_for_so_long(self, roe, client, until):
        roe.add_fault(Fault(status_code=503, seconds=0.2))
        assert client.submit().status_code == 503
        until(lambda: client.submit().status_code == 200)

    def test_a_share_of_them(self, roe, client):
        roe.add_fault(Fault(status_code=503, probability=0.5))
        assert {client.status(QUERY_ID).status_code for _ in range(60)} == {503, 404}

    def test_none_at_probability_0(self, roe, client):
        roe.add_fault(Fault(status_code=503, probability=0))
        assert {client.status(QUERY_ID).status_code for _ in range(20)} == {404}

    def test_none_after_it_was_cleared(self, roe, client):
        roe.add_fault(Fault(status_code=503))
        roe.clear_faults()
        assert client.submit().status_code == 200

    def test_the_fault_that_was_added_first_comes_first(self, roe, client):
        roe.add_fault(Fault(status_code=503, times=1), Fault(status_code=429, times=1))
        assert [client.submit().status_code for _ in range(3)] == [503, 429, 200]

    def test_those_of_the_query_that_brought_it_in_a_comment(self, roe, client):
        faults = '{"faults": [{"call": "status", "status_code": 503, "times": 1, "retry_after": 1}]}'
        query_id = client.submit(f"/* simulate {faults} */ SELECT 1").json()["id"]
        assert client.status(roe.submit("SELECT 1")).status_code == 200
        response = client.status(query_id)
        assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
        assert client.status(query_id).status_code == 200


class TestAnotherAnswer:
    @pytest.mark.parametrize(
        ("fault", "body"),
        [
            (Fault(status_code=402), {"detail": "Payment Required."}),
            (Fault(status_code=503), {"detail": "Service Unavailable."}),
            (Fault(status_code=429), {"detail": "Request was throttled."}),
            (
                Fault(status_code=429, retry_after=30),
                {"detail": "Request was throttled. Expected available in 30 seconds."},
            ),
            (Fault(status_code=599), {"detail": "Error 599."}),
            (Fault(status_code=200, body=["a", 1]), ["a", 1]),
            (Fault(status_code=400, body={"message": "no"}), {"message": "no"}),
        ],
    )
    def test_is_json(self, roe, client, fault, body):
        roe.add_fault(fault)
        response = client.status(QUERY_ID)
        assert (response.status_code, response.json()) == (fault.status_code, body)
        assert response.headers["Content-Type"] == "application/json"
        assert roe.requests[-1].status_code == fault.status_code

    def test_is_html_if_it_is_text(self, roe, client):
        roe.add_fault(Fault(status_code=200, body="<h1>Maintenance</h1>"))
        response = client.status(QUERY_ID)
        assert (response.text, response.headers["Content-Type"]) == ("<h1>Maintenance</h1>", "text/html")

    @pytest.mark.parametrize("body", ["", b""])
    def test_can_be_empty(self, roe, client, body):
        roe.add_fault(Fault(status_code=200, body=body, content_type="application/json"))
        response = client.status(QUERY_ID)
        assert (response.content, response.headers["Content-Type"]) == (b"", "application/json")

    @pytest.mark.parametrize("code", [204, 304])
    def test_has_no_body_where_http_has_none(self, roe, client, code):
        roe.add_fault(Fault(status_code=code))
        assert client.status(QUERY_ID).content == b""

    def test_can_redirect(self, roe, client):
        roe.add_fault(Fault(status_code=302, headers={"Location": "https://example.com/"}))
        response = client.status(QUERY_ID, allow_redirects=False)
        assert (response.status_code, response.headers["Location"]) == (302, "https://example.com/")

    @pytest.mark.parametrize(
        ("retry_after", "header"),
        [
            (0, "0"),
            (7, "7"),
            (7.0, "7"),
            (0.5, "0.5"),
            (1_000_000, "1000000"),
            (datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC), "Wed, 02 Jan 2030 03:04:05 GMT"),
            (
                datetime(2030, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=2))),
                "Wed, 02 Jan 2030 01:04:05 GMT",
            ),
        ],
    )
    def test_can_say_when_to_retry(self, roe, client, retry_after, header):
        roe.add_fault(Fault(status_code=503, retry_after=retry_after))
        assert client.status(QUERY_ID).headers["Retry-After"] == header


OWN_HEAD = "HTTP/1.0 200\r\nX-City: K\xf6ln\0\nContent-Length : {length}\r\n\r\n"


class TestTheHead:
    def test_is_sent_as_it_is_before_the_answer_s_own_body(self, roe):
        roe.add_fault(Fault(head=OWN_HEAD))
        received, _ = exchange(roe, QUERY_ID)
        body = json.dumps({"detail": "Query not found."}).encode()
        length = str(len(body)).encode()
        assert received == OWN_HEAD.encode("latin-1").replace(b"{length}", length) + body
        assert roe.requests[0].status_code == 404

    def test_is_sent_as_it_is_before_another_body(self, roe):
        roe.add_fault(Fault(head=b"HTTP/1.1 200 OK\r\n\r\n", status_code=200, body=b"5\r\n"))
        assert exchange(roe, QUERY_ID) == (b"HTTP/1.1 200 OK\r\n\r\n5\r\n", None)

    @pytest.mark.parametrize(
        ("fields", "connections"),
        [
            ("Content-Length: {length}", 1),
            ("content-length: {length}", 1),
            ("Content-Length: {length}\r\nconnection:close", 2),
            ("X-Length: 7", 2),
        ],
    )
    def test_says_whether_the_connection_stays_open(self, roe, client, fields, connections):
        roe.add_fault(Fault(head=f"HTTP/1.1 200 OK\r\n{fields}\r\n\r\n"))
        bodies = [client.status(QUERY_ID).json() for _ in range(2)]
        assert bodies == [{"detail": "Query not found."}] * 2
        assert roe.connections == connections

    def test_can_come_from_a_comment_in_the_query(self, roe, client):
        fault = json.dumps({"faults": [{"head": "HTTP/1.1 299 \r\nContent-Length: {length}\r\n\r\n"}]})
        query_id = client.submit(f"/* simulate {fault} */ SELECT 1").json()["id"]
        response = client.status(query_id)
        assert (response.status_code, response.json()["worksheet_query_id"]) == (299, query_id)

    def test_comes_after_interim_answers(self, roe):
        roe.add_fault(Fault(interim=[100, 103, 199]))
        received, _ = exchange(roe, QUERY_ID)
        interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 199 \r\n\r\n"
        assert received.startswith(interim + b"HTTP/1.1 404 Not Found\r\n")
        assert roe.requests[0].status_code == 404

    @pytest.mark.parametrize("settings", [{"reset": "before"}, {"delay": 0.01, "status_code": 503}], ids=str)
    def test_comes_after_interim_answers_whatever_else_happens(self, roe, settings):
        roe.add_fault(Fault(interim=(102,), **settings))
        assert exchange(roe, QUERY_ID)[0].startswith(b"HTTP/1.1 102 Processing\r\n\r\n")


class TestABrokenAnswer:
    def test_reset_before_it(self, roe):
        roe.add_fault(Fault(reset="before"))
        received, error = exchange(roe, QUERY_ID)
        assert received == b""
        assert isinstance(error, ConnectionResetError)
        assert roe.requests[0].status_code is None

    def test_reset_in_the_middle_of_its_body(self, roe):
        roe.add_fault(Fault(reset="body"))
        received, error = exchange(roe, roe.submit("SELECT 1"))
        head, _, body = received.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK")
        assert body.startswith(b'{"worksheet_query_id"')
        assert isinstance(error, ConnectionResetError)
        assert roe.requests[0].status_code is None

    def test_closed_in_the_middle_of_its_body(self, roe):
        roe.add_fault(Fault(truncate=True))
        received, error = exchange(roe, roe.submit("SELECT 1"))
        head, _, body = received.partition(b"\r\n\r\n")
        assert error is None
        assert 0 < len(body) < int(head.lower().partition(b"content-length:")[2].split()[0])
        assert roe.requests[0].status_code is None

    @pytest.mark.parametrize("fault", [Fault(truncate=True), Fault(reset="body"), Fault(reset="before")])
    def test_is_an_error_to_an_http_client(self, roe, client, fault):
        roe.add_fault(fault)
        with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
            client.status(roe.submit("SELECT 1"))

    def test_that_never_comes(self, roe, client):
        roe.add_fault(Fault(hang=True))
        with pytest.raises(requests.ReadTimeout):
            client.status(QUERY_ID, timeout=0.1)
        assert roe.requests[0].status_code is None

    def test_that_never_comes_does_not_keep_the_simulator_from_stopping(self, roe, client, until):
        roe.add_fault(Fault(hang=True))
        with ThreadPoolExecutor() as pool:
            waiting = pool.submit(client.status, QUERY_ID)
            until(lambda: roe.requests)
            start = time.monotonic()
            roe.stop()
            assert time.monotonic() - start < patient(10)
            assert isinstance(waiting.exception(), requests.ConnectionError)

    def test_that_comes_late(self, roe, client):
        roe.add_fault(Fault(delay=0.1))
        response = client.status(QUERY_ID)
        assert response.elapsed >= timedelta(seconds=0.1)
        assert response.status_code == 404

    def test_that_is_another_and_comes_late(self, roe, client):
        roe.add_fault(Fault(delay=0.1, status_code=503))
        response = client.status(QUERY_ID)
        assert response.elapsed >= timedelta(seconds=0.1)
        assert response.status_code == 503

    def test_that_comes_byte_by_byte(self, roe, client):
        roe.add_fault(Fault(drip=0.005))
        start = time.monotonic()
        response = client.status(QUERY_ID)
        assert response.json() == {"detail": "Query not found."}
        assert time.monotonic() - start >= 0.005 * (len(response.content) - 1)
        assert roe.requests[0].status_code == 404

    def test_that_is_huge(self, roe, client):
        roe.add_fault(Fault(oversize=3_000_000))
        response = client.status(roe.submit("SELECT 1"))
        assert len(response.content) == 3_000_000
        assert response.json().keys() >= {"status"}

    def test_that_is_compressed(self, roe):
        roe.add_fault(Fault(gzip=True))
        received, _ = exchange(roe, QUERY_ID)
        head, _, body = received.partition(b"\r\n\r\n")
        assert b"content-encoding: gzip" in head.lower()
        assert json.loads(gzip.decompress(body)) == {"detail": "Query not found."}

    def test_that_is_small_but_huge_when_unpacked(self, roe, client):
        roe.add_fault(Fault(gzip=True, oversize=3_000_000))
        response = client.status(QUERY_ID)
        assert int(response.headers["Content-Length"]) < 10_000
        assert len(response.content) == 3_000_000


@pytest.mark.parametrize(
    ("settings", "executed"),
    [
        ({"status_code": 502}, False),
        ({"status_code": 502, "executed": True}, True),
        ({"reset": "before"}, False),
        ({"reset": "before", "executed": True}, True),
        ({"hang": True}, False),
        ({"hang": True, "executed": True}, True),
        ({"reset": "body"}, True),
        ({"truncate": True}, True),
        ({"delay": 0.01}, True),
        ({"delay": 0.01, "status_code": 502}, False),
        ({"drip": 0.0001}, True),
        ({"gzip": True}, True),
        ({"oversize": 1}, True),
        ({"head": "HTTP/1.1 200 OK\r\n\r\n"}, True),
        ({"head": "HTTP/1.1 200 OK\r\n\r\n", "status_code": 200}, False),
        ({"interim": [103]}, True),
    ],
    ids=str,
)
def test_a_submit_that_meets_a_fault_was_executed_or_not(roe, client, settings, executed):
    roe.add_fault(Fault(**settings))
    with suppress(requests.RequestException):
        client.submit(timeout=0.1 if "hang" in settings else 10)
    assert len(roe.queries) == executed
    assert bool(roe.requests[0].query_id) == executed


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "nothing to do"),
        ({"call": "status", "times": 1}, "nothing to do"),
        ({"status_code": 503, "reset": "before"}, "status_code and reset do not go together"),
        ({"hang": True, "drip": 1}, "hang and drip do not go together"),
        ({"gzip": True, "truncate": True}, "truncate and gzip do not go together"),
        ({"hang": True, "delay": 1}, "delay and hang do not go together"),
        ({"hang": True, "body": "x"}, "body needs a status_code"),
        ({"hang": True, "body": ""}, "body needs a status_code"),
        ({"delay": 1, "headers": {"A": "b"}}, "headers needs a status_code"),
        ({"delay": 1, "content_type": "text/html"}, "content_type needs a status_code"),
        ({"delay": 1, "retry_after": 0}, "retry_after needs a status_code"),
        ({"hang": True, "call": "submit", "query_id": QUERY_ID}, "a submit call has no query_id"),
        (
            {"hang": True, "call": "poll"},
            "call must be one of submit, status, result, run, run_agent, .*, cancel_job, other, not 'poll'",
        ),
        ({"hang": True, "query_id": 7}, "query_id must be a string, not 7"),
        ({"hang": True, "job_id": 7}, "job_id must be a string, not 7"),
        ({"hang": True, "call": "job_statuses", "job_id": QUERY_ID}, "a job_statuses call has no job_id"),
        ({"hang": True, "call": "job_status", "query_id": QUERY_ID}, "a job_status call has no query_id"),
        ({"hang": True, "query_id": "1", "job_id": "2"}, "query_id and job_id do not go together"),
        ({"hang": True, "times": 0}, "times must be a positive whole number, not 0"),
        ({"hang": True, "times": 1.5}, "times must be"),
        ({"hang": True, "times": True}, "times must be"),
        ({"hang": True, "seconds": -1}, "seconds must be"),
        ({"hang": True, "probability": 2}, "probability must be a number from 0 to 1, not 2"),
        ({"hang": "yes"}, "hang must be true or false, not 'yes'"),
        ({"status_code": 100}, "status_code must be an HTTP status from 200 to 599, not 100"),
        ({"status_code": "503"}, "status_code must be"),
        (
            {"status_code": 503, "headers": {"A": "b\r\nC: d"}},
            "headers must be a mapping of printable strings",
        ),
        ({"status_code": 503, "headers": ["A"]}, "headers must be a mapping"),
        ({"status_code": 503, "content_type": 1}, "content_type must be a string"),
        (
            {"status_code": 503, "retry_after": "soon"},
            "retry_after must be seconds or a datetime, not 'soon'",
        ),
        ({"status_code": 503, "retry_after": -1}, "retry_after must be"),
        (
            {"status_code": 503, "retry_after": datetime(2030, 1, 1)},
            "retry_after must be a datetime with a time zone",
        ),
        ({"status_code": 503, "body": object()}, "body cannot be sent"),
        ({"reset": "after"}, "reset must be 'before' or 'body', not 'after'"),
        ({"head": "HTTP/1.1 200 OK", "truncate": True}, "head and truncate do not go together"),
        ({"head": "HTTP/1.1 200 OK", "body": "x"}, "body needs a status_code"),
        (
            {"head": "HTTP/1.1 503 No", "status_code": 503, "retry_after": 1},
            "head and retry_after do not go together",
        ),
        ({"head": ["HTTP/1.1 200 OK"]}, "head must be a string of Latin-1, or bytes, not"),
        ({"head": "X-Price: 5 €"}, "head must be a string of Latin-1, or bytes, not"),
        ({"interim": 103}, "interim must be a list of HTTP statuses from 100 to 199, not 103"),
        ({"interim": [200]}, "interim must be a list of HTTP statuses from 100 to 199"),
        ({"interim": []}, "nothing to do"),
        ({"delay": math.nan}, "delay must be a number of seconds"),
        ({"drip": math.inf}, "drip must be a number of seconds"),
        ({"oversize": 1.5}, "oversize must be a number of bytes"),
    ],
)
def test_nonsense_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Fault(**settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"drip": 0.001},
        {"truncate": True},
        {"oversize": 100},
        {"gzip": True},
        {"reset": "body"},
        {"delay": 0.01},
    ],
    ids=str,
)
def test_an_answer_without_a_body_stays_without(roe, client, settings):
    roe.add_fault(Fault(call="cancel_job", **settings))
    job_id = roe.run_agent(plan=JobPlan(statuses=((1, math.inf),)))
    response = client.cancel_job(job_id)
    assert (response.status_code, response.content) == (204, b"")
    assert roe.jobs[job_id].cancelled
