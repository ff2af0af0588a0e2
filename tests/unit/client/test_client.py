"""Both clients against the simulator: what many callers of one of them cost, and how a key is replaced."""

from __future__ import annotations

import asyncio
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_roe.client.calls import AsyncCalls, Calls
from airflow_provider_roe.client.client import AsyncClient, Client
from airflow_provider_roe.client.retry import Retries
from airflow_provider_roe.client.shared import SharedConnection
from airflow_provider_roe.client.trouble import Troubles
from airflow_provider_roe.exceptions import (
    RoeAuthenticationError,
    RoeInputError,
    RoeRequestError,
    RoeUnavailableError,
)
from airflow_provider_roe.testing import Fault, RoeSimulator
from dev.patience import patient

if TYPE_CHECKING:
    from collections.abc import Iterator

LOG = logging.getLogger("roe.client")


def retries() -> Retries:
    return Retries(Troubles(LOG))


class Blocking:
    """A blocking client that threads call at the same time."""

    def __init__(self) -> None:
        self.client = Client("roe_default")

    def ask(self, query_id: str, times: int = 1) -> list[Any]:
        together = threading.Barrier(times)

        def ask() -> Any:
            together.wait(patient(10))
            try:
                return self.client.call(retries(), Calls.status, query_id)
            except RoeRequestError as e:
                return e

        with ThreadPoolExecutor(times) as threads:
            return [asking.result() for asking in [threads.submit(ask) for _ in range(times)]]


class Async:
    """A client on an event loop that coroutines call at the same time."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self.runner = runner
        self.sharing = SharedConnection.of("roe_default")
        self.client = AsyncClient(runner.run(self.sharing.__aenter__()))

    def ask(self, query_id: str, times: int = 1) -> list[Any]:
        async def ask() -> list[Any]:
            calls = (self.client.call(retries(), AsyncCalls.status, query_id) for _ in range(times))
            return await asyncio.gather(*calls, return_exceptions=True)

        return self.runner.run(ask())


@pytest.fixture(params=["blocking", "async"])
def client(request: pytest.FixtureRequest, roe: RoeSimulator, connect) -> Iterator[Blocking | Async]:
    connect(roe)
    if request.param == "blocking":
        yield Blocking()
        return
    with asyncio.Runner() as runner:
        client = Async(runner)
        yield client
        runner.run(client.sharing.__aexit__(None, None, None))


@pytest.fixture
def query(roe: RoeSimulator) -> str:
    return roe.submit("SELECT 1")


def codes(roe: RoeSimulator) -> list[int | None]:
    return sorted(request.status_code or 0 for request in roe.requests)


class TestTogether:
    def test_many_calls_look_the_connection_up_once(self, roe, client, query, look_ups):
        ends = client.ask(query, times=20)
        assert {end.status for end in ends} == {"SUCCESS"}
        assert look_ups == ["roe_default"]

    @pytest.mark.parametrize("rounds", range(3))
    def test_a_key_that_is_refused_and_has_not_changed_is_sent_once_by_each(
        self, roe, client, query, look_ups, rounds
    ):
        client.ask(query)
        roe.requests.clear()
        roe.revoke_key()
        ends = client.ask(query, times=5)
        assert {type(end) for end in ends} == {RoeAuthenticationError}
        assert codes(roe) == [401] * 5
        assert len(look_ups) <= 1 + 5

    @pytest.mark.parametrize("rounds", range(3))
    def test_a_key_that_was_rotated_is_looked_up_once_and_sent_once_by_each(
        self, roe, connect, client, query, look_ups, rounds
    ):
        client.ask(query)
        roe.requests.clear()
        roe.rotate_key("the-new-key")
        connect(roe)
        roe.add_fault(Fault(delay=1.5, times=5))  # so that all are under way before the first is answered
        ends = client.ask(query, times=5)
        assert {end.status for end in ends} == {"SUCCESS"}
        assert codes(roe) == [200] * 5 + [401] * 5
        assert len(look_ups) == 2

    def test_calls_that_meet_no_refusal_go_on_while_the_key_is_replaced(
        self, roe, connect, client, query, asked
    ):
        client.ask(query)
        slow = roe.submit("SELECT 1")
        roe.api_keys.add("the-new-key")
        roe.add_fault(Fault(query_id=slow, delay=1.5), Fault(query_id=query, status_code=401, times=1))
        if isinstance(client, Async):
            calls = [client.client.call(retries(), AsyncCalls.status, query_id) for query_id in [slow] * 5]

            async def replace() -> list[Any]:
                under_way = [asyncio.ensure_future(call) for call in calls]
                await asked(6)
                connect(roe, api_key="the-new-key")
                await client.client.call(retries(), AsyncCalls.status, query)
                return await asyncio.gather(*under_way)

            ends = client.runner.run(replace())
        else:
            with ThreadPoolExecutor(1) as thread:
                under_way = thread.submit(client.ask, slow, 5)
                asyncio.run(asked(6))
                connect(roe, api_key="the-new-key")
                client.ask(query)
                ends = under_way.result()
        assert {end.status for end in ends} == {"SUCCESS"}


class TestOneAfterAnother:
    def test_a_key_may_be_rotated_again_and_again(self, roe, connect, client, query, look_ups):
        for number in range(3):
            roe.rotate_key(f"key-number-{number}")
            connect(roe)
            assert [end.status for end in client.ask(query)] == ["SUCCESS"]
        assert codes(roe) == [200] * 3 + [401] * 2
        assert len(look_ups) == 3

    def test_one_that_was_refused_for_good_is_looked_up_again_by_the_next_call(
        self, roe, connect, client, query
    ):
        roe.rotate_key("the-new-key")
        (refused,) = client.ask(query)
        assert isinstance(refused, RoeAuthenticationError)
        connect(roe)
        assert [end.status for end in client.ask(query)] == ["SUCCESS"]
        assert codes(roe) == [200, 401, 401]

    def test_errors_name_the_connection_and_hold_nothing_of_the_http_library(self, roe, client, query):
        for fault in (Fault(status_code=503), Fault(status_code=401), Fault(reset="before")):
            roe.clear_faults()
            roe.add_fault(fault)
            (error,) = client.ask(query)
            assert "Connection: roe_default." in str(error)
            assert error.__cause__ is error.__context__ is None


def test_a_client_that_has_called_can_be_copied_as_airflow_copies_operators(roe, connect, query):
    connect(roe)
    client = Client("roe_default")
    client.call(retries(), Calls.status, query)
    assert deepcopy(client).call(retries(), Calls.status, query).status == "SUCCESS"


def test_a_connection_that_was_never_seen_is_an_input_error_at_once():
    with pytest.raises(RoeInputError, match="Airflow has no connection"):
        Client("roe_nowhere").call(retries(), Calls.status, "any")


def test_one_that_is_known_to_be_there_is_waited_for(roe, connect, query, monkeypatch):
    client = Client("roe_default")
    client.was_there = True

    def come_back(_: float) -> None:
        connect(roe)

    monkeypatch.setattr("airflow_provider_roe.client.client.time.sleep", come_back)
    assert client.call(retries(), Calls.status, query).status == "SUCCESS"


def test_but_not_by_an_attempt_that_is_not_to_be_repeated():
    client = Client("roe_nowhere")
    client.was_there = True
    with pytest.raises(RoeUnavailableError):
        client.attempt(client.calls, Calls.status, "any")
