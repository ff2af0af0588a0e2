"""What one fault, and one that lasts, does to a wait in each mode: the table in tests/faults.py."""

from __future__ import annotations

import re
import socket
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from airflow_provider_roe.testing import Fault, QueryPlan, RoeSimulator
from tests.faults import FAULTS, HEADS, HOSTILE, ITEMS, Item, Row, job_status, status_body
from tests.integration.running import Ending, each_mode, ending, midway
from tests.integration.things import JOB, QUERY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.integration.things import Thing

RUNS_ON = QueryPlan(statuses=[("STARTED", float("inf"))])
ENDS = {"SUCCESS": "success", "FAILURE": "failed"}
#: Those that only the client's patience ends.
SLOW = ("read time-out", "slow drip", "nothing after an interim answer")
BY_NAME = {row.name: row for row in FAULTS}
ANSWERS = [row for row in FAULTS + HEADS if row.make]


def may_meet_jobs(row: Row) -> bool:
    """Tell whether a row says nothing of a query, nor makes an answer longer than one for many may be."""
    fault = row.make and row.make("its-id", "SUCCESS")
    return bool(fault) and not fault.oversize and "its-id" not in str(fault) and "this query" not in row.says


#: What the bodies of answers for jobs may be is in TestAnswersAboutManyJobs.
FOR_JOBS = [row for row in FAULTS if may_meet_jobs(row)]
each_answer = pytest.mark.parametrize(
    ("thing", "row"),
    [(QUERY, row) for row in ANSWERS] + [(JOB, row) for row in FOR_JOBS],
    ids=lambda value: value.name,
)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def context(authority: trustme.CA) -> ssl.SSLContext:
    return server_context(authority)


@pytest.fixture
def endings(roe: RoeSimulator) -> Callable[..., dict[str, Ending]]:
    """
    Return a function that waits for two things, one that succeeds and one that fails.

    Midway it calls what it is given with their ids, then ends them.
    """

    def endings(
        mode: str, act: Callable[[dict[str, str]], None], thing: Thing = QUERY, **arguments: Any
    ) -> dict[str, Ending]:
        ids = {end: thing.start(roe) for end in ENDS}

        def strike() -> None:
            act(ids)
            for end, thing_id in ids.items():
                thing.finish(roe, thing_id, end, "Unknown table" if end == "FAILURE" else None)

        with ThreadPoolExecutor() as pool, midway(roe, ids.values(), strike, thing):
            waits = {
                end: pool.submit(ending, thing_id, mode, thing, **arguments) for end, thing_id in ids.items()
            }
            return {end: wait.result() for end, wait in waits.items()}

    return endings


def assert_as_the_queries(endings: dict[str, Ending]) -> None:
    assert {end: ending.kind for end, ending in endings.items()} == ENDS
    assert endings["SUCCESS"].value["status"].strip().upper() == "SUCCESS"
    assert re.search(r"ended as FAILURE", endings["FAILURE"].message, re.IGNORECASE)


def assert_as_the_row_says(ended: Ending, row: Row, roe: RoeSimulator, end: str = "SUCCESS") -> None:
    assert ended.kind == row.outcome(end), ended
    assert re.search(row.says, ended.message)
    if ended.error:
        assert ended.message.isprintable()
        assert len(ended.message) < 3000
        assert roe.api_key not in ended.printed


@pytest.mark.usefixtures("impatient")
@each_mode
@each_answer
def test_one_occurrence_changes_nothing(roe, connect, endings, thing: Thing, row: Row, mode):
    connect(roe, request_timeout=1 if row.name in SLOW else 30)

    def once(queries: dict[str, str]) -> None:
        roe.add_fault(*(thing.fault(row, thing_id, end, times=1) for end, thing_id in queries.items()))

    assert_as_the_queries(endings(mode, once, thing))


@pytest.mark.usefixtures("impatient")
@each_mode
@each_answer
def test_one_that_lasts_ends_the_wait_and_is_named(roe, connect, endings, thing: Thing, row: Row, mode):
    connect(roe, request_timeout=1 if row.name in SLOW else 30, retry_window=0.1)

    def for_good(queries: dict[str, str]) -> None:
        roe.add_fault(*(thing.fault(row, thing_id, end) for end, thing_id in queries.items()))

    ends = endings(mode, for_good, thing, timeout=3 if row.permanent == "timeout" else 60)
    for end, ended in ends.items():
        assert_as_the_row_says(ended, row, roe, end)


@pytest.mark.usefixtures("impatient")
@each_mode
@pytest.mark.parametrize("name", ["hostile error text", "500 with a hostile text"])
def test_a_hostile_text_is_harmless_in_the_log(roe, connect, mode, name, capsys):
    connect(roe, retry_window=3)
    query_id = roe.submit("SELECT 1")
    roe.add_fault(
        Fault(
            query_id=query_id, status_code=200, body=status_body(query_id, "RETRY", error=HOSTILE), times=1
        ),
        BY_NAME[name].fault(query_id, "SUCCESS"),
    )
    ending(query_id, mode)
    logged = capsys.readouterr().out
    assert logged.count("Task succeeded") >= 2
    assert roe.api_key not in logged
    for line in logged.splitlines():
        assert line.isprintable()
        assert len(line) < 3000
        assert not line.startswith("[2026-01-01")


@pytest.mark.usefixtures("impatient")
@each_mode
class TestAnswersAboutManyJobs:
    """One wait for two jobs: of one that has failed the answer says something odd, of the other the truth."""

    @pytest.fixture
    def jobs(self, roe: RoeSimulator) -> tuple[str, str]:
        odd, neighbour = JOB.start(roe), JOB.start(roe)
        JOB.finish(roe, odd, "FAILURE", "Unknown table")
        JOB.finish(roe, neighbour, "SUCCESS")
        return odd, neighbour

    @pytest.fixture
    def say(self, roe: RoeSimulator, jobs: tuple[str, str]) -> Callable[..., None]:
        """Return a function that lets Roe say so of the odd one in so many answers; None for all."""

        def say(*items: Any, times: int | None = None) -> None:
            body = [*items, job_status(jobs[1])]
            roe.add_fault(Fault(call=JOB.call, status_code=200, body=body, times=times))

        return say

    @pytest.mark.parametrize("item", ITEMS, ids=lambda item: item.name)
    def test_what_is_no_status_of_a_job_is_none_and_the_job_is_asked_for_alone(
        self, roe, connect, jobs, say, item: Item, mode
    ):
        connect(roe)
        odd, _ = jobs
        say(*item.make(odd))
        ended = ending([*jobs], mode, JOB)
        alone = [request.job_id for request in roe.requests_of("job_status")]
        if item.is_read:
            assert ended.kind == "success", ended
            assert [job["job_id"] for job in ended.value] == [*jobs]
            assert alone == []
        else:
            assert ended.kind == "failed"
            assert re.search(rf"index 0, job {odd} ended as FAILURE: Unknown table", ended.message)
            assert alone == [odd]

    @pytest.mark.parametrize("status", [None, "SUCCESS", True], ids=str)
    def test_one_that_is_no_status_either_is_asked_for_again(self, roe, connect, jobs, say, status, mode):
        connect(roe)
        odd, neighbour = jobs
        say()
        roe.add_fault(Fault(job_id=odd, status_code=200, body={"status": status}, times=1))
        assert ending([*jobs], mode, JOB).kind == "failed"
        assert len(roe.requests_of("job_status", job_id=odd)) == 2
        assert roe.requests_of("job_status", job_id=neighbour) == []

    def test_for_as_long_as_the_window_and_is_named(self, roe, connect, jobs, say, mode):
        connect(roe, retry_window=0.1)
        say()
        roe.add_fault(Fault(job_id=jobs[0], status_code=200, body={"status": "SUCCESS"}))
        ended = ending([*jobs], mode, JOB)
        assert ended.kind == "error"
        assert f"GET /v1/agents/jobs/{jobs[0]}/status/" in ended.message
        assert "a body that is not the status of a job" in ended.message

    def test_an_unknown_code_is_no_end(self, roe, connect, jobs, say, mode, capsys):
        connect(roe)
        say(job_status(jobs[0], 99), times=2)
        assert ending([*jobs], mode, JOB).kind == "failed"
        assert len(roe.requests_of(JOB.call)) == 3
        assert "is unknown" in capsys.readouterr().out

    def test_unless_the_connection_names_it(self, roe, connect, jobs, say, mode):
        connect(roe, success_statuses=["99"])
        say(job_status(jobs[0], 99))
        assert [job["status"] for job in ending([*jobs], mode, JOB).value] == ["99", "SUCCESS"]


@pytest.mark.usefixtures("impatient")
@each_mode
class TestNobodyThere:
    def test_a_refused_connection_changes_nothing(self, roe, connect, endings, mode):
        connect(roe)
        assert_as_the_queries(endings(mode, lambda _: restart(roe, after=0.2)))

    def test_a_name_that_is_not_found_once_changes_nothing(self, roe, connect, endings, mode, monkeypatch):
        connect(roe, url=roe.url.replace("127.0.0.1", "localhost"))
        find, failures = socket.getaddrinfo, []

        def find_the_second_time(host: Any, *arguments: Any, **options: Any) -> Any:
            if host == "localhost" and not failures:
                failures.append(host)
                raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
            return find(host, *arguments, **options)

        def forget(_: dict[str, str]) -> None:
            monkeypatch.setattr(socket, "getaddrinfo", find_the_second_time)
            restart(roe)  # whoever is connected needs no name

        assert_as_the_queries(endings(mode, forget))
        assert failures

    @pytest.mark.parametrize(
        ("name", "url"),
        [("connection refused", "http://127.0.0.1:{nobody}"), ("no such host", "https://nowhere.invalid")],
    )
    def test_what_lasts_is_named(self, roe, connect, mode, name, url):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            nobody = listener.getsockname()[1]
        connect(roe, url=url.format(nobody=nobody), retry_window=0.1)
        assert_as_the_row_says(ending(roe.submit("SELECT 1"), mode), BY_NAME[name], roe)


@pytest.mark.usefixtures("impatient")
@each_mode
class TestUntrustedCertificate:
    @pytest.fixture
    def roe(self, context: ssl.SSLContext) -> Iterator[RoeSimulator]:
        with RoeSimulator(ssl_context=context) as roe:
            yield roe

    def test_one_that_is_shown_once_changes_nothing(
        self, roe, connect, endings, mode, authority, context, tmp_path
    ):
        bundle = tmp_path / "ca.pem"
        authority.cert_pem.write_to_path(str(bundle))
        connect(roe, verify=str(bundle))
        untrusted = server_context(trustme.CA())
        shown = []

        def show_once(connection: ssl.SSLObject, *_: Any) -> None:
            if not shown:
                shown.append(untrusted)
                connection.context = untrusted

        def strike(_: dict[str, str]) -> None:
            context.sni_callback = show_once
            restart(roe)  # whoever is connected needs no handshake

        assert_as_the_queries(endings(mode, strike))
        assert shown

    def test_one_that_lasts_is_named_and_gets_no_request(self, roe, connect, mode):
        connect(roe, retry_window=0.1)
        assert_as_the_row_says(ending(roe.submit("SELECT 1"), mode), BY_NAME["untrusted certificate"], roe)
        assert roe.requests == []


def restart(roe: RoeSimulator, after: float = 0) -> None:
    roe.stop()
    time.sleep(after)
    roe.start()


def server_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context
