"""What waits of one event loop share: look-up, session, hold and room. Real requests to the simulator."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import time
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_roe.client import lookup, session
from airflow_provider_roe.client import shared as module
from airflow_provider_roe.client.calls import AsyncCalls
from airflow_provider_roe.client.client import AsyncClient
from airflow_provider_roe.client.retry import Retries
from airflow_provider_roe.client.shared import SharedConnection
from airflow_provider_roe.client.trouble import Troubles
from airflow_provider_roe.exceptions import (
    RoeAuthenticationError,
    RoeInputError,
    RoeRequestError,
    RoeUnavailableError,
)
from airflow_provider_roe.hooks.roe import RoeHook
from airflow_provider_roe.testing import Fault, QueryPlan, RoeSimulator
from dev.patience import patient

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from airflow_provider_roe.api.queries import QueryStatus

LOG = logging.getLogger("roe.shared")
CONN_ID = "roe_default"
VANISHES = QueryPlan(statuses=(), ends_as="VANISHED")


@pytest.fixture
def query(roe: RoeSimulator) -> str:
    return roe.submit("SELECT 1")


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return what lets it be so many seconds later for the event loop."""

    def later(seconds: float) -> None:
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "time", lambda: type(loop).time(loop) + seconds)

    return later


async def status(shared: SharedConnection, query_id: str) -> QueryStatus:
    """Ask how far a query is, as a trigger does."""
    return await AsyncClient(shared).call(Retries(Troubles(LOG)), AsyncCalls.status, query_id)


async def status_alone(query_id: str, **known: Any) -> QueryStatus:
    async with SharedConnection.of(CONN_ID, **known) as shared:
        return await status(shared, query_id)


def codes(roe: RoeSimulator) -> list[int | None]:
    return [request.status_code for request in roe.requests]


class TestSharing:
    async def test_those_that_name_the_same_connection_share_it(self):
        async with SharedConnection.of(CONN_ID) as first, SharedConnection.of(CONN_ID) as second:
            assert first is second

    async def test_those_that_name_different_ones_do_not(self):
        async with SharedConnection.of(CONN_ID) as first, SharedConnection.of("roe_other") as second:
            assert first is not second

    def test_nor_do_event_loops(self, roe, connect, query):
        connect(roe)

        async def ask() -> SharedConnection:
            async with SharedConnection.of(CONN_ID) as shared:
                assert (await status(shared, query)).status == "SUCCESS"
                return shared

        assert asyncio.run(ask()) is not asyncio.run(ask())

    async def test_the_last_who_leaves_closes_it(self, roe, connect, query, none_open):
        connect(roe)
        async with SharedConnection.of(CONN_ID) as shared:
            async with SharedConnection.of(CONN_ID) as same:
                await status(same, query)
            await status(shared, query)
        assert roe.connections == 1
        assert await none_open()
        async with SharedConnection.of(CONN_ID) as another:
            assert another is not shared

    async def test_nothing_is_left_unclosed(self, roe, connect, query):
        connect(roe)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(3):
                await status_alone(query)
            gc.collect()
        assert [str(warning.message) for warning in caught if "nclosed" in str(warning.message)] == []

    @pytest.mark.parametrize(("kept", "connections"), [(75, 1), (0.2, 2)])
    async def test_an_idle_tcp_connection_is_kept_for_75_s(
        self, roe, connect, query, monkeypatch, kept, connections
    ):
        assert session.KEEPALIVE == 75
        monkeypatch.setattr(session, "KEEPALIVE", kept)
        connect(roe)
        async with SharedConnection.of(CONN_ID) as shared:
            await status(shared, query)
            await asyncio.sleep(1)
            await status(shared, query)
        assert roe.connections == connections

    async def test_hooks_share_it_between_their_calls(self, roe, connect, query):
        connect(roe)
        async with RoeHook() as first, RoeHook(organization_id=roe.organization_id) as second:
            await first.aget_query_status(query)
            await second.aget_query_status(query)
            await first.aget_query_status(query)
        assert roe.connections == 1

    async def test_a_hook_that_is_left_lets_go_of_it(self, roe, connect, query, none_open):
        connect(roe)
        async with RoeHook() as hook:
            await hook.aget_query_status(query)
        assert await none_open()


class TestRoom:
    async def test_many_quick_requests_use_at_most_50_tcp_connections(self, roe, connect, query):
        connect(roe, request_timeout=30)
        roe.add_fault(Fault(delay=0.1))
        async with SharedConnection.of(CONN_ID) as shared:
            await asyncio.gather(*(status(shared, query) for _ in range(300)))
        assert codes(roe) == [200] * 300
        assert 20 < roe.connections <= 50

    async def test_the_time_in_which_a_request_waits_for_room_counts(self, roe, connect, query, monkeypatch):
        monkeypatch.setattr(module, "MOST_A_SECOND", math.inf)
        connect(roe, request_timeout=0.7)
        roe.add_fault(Fault(hang=True))
        async with SharedConnection.of(CONN_ID) as shared:
            began = time.monotonic()
            ends = await asyncio.gather(*(status(shared, query) for _ in range(200)), return_exceptions=True)
            took = time.monotonic() - began
        assert {type(end) for end in ends} == {RoeUnavailableError}
        assert {end.cause for end in ends} == {
            "no room beside unanswered requests",
            f"{roe.url} did not answer within 0.7 s",
        }
        assert all("Connection: roe_default." in str(end) for end in ends)
        assert took < patient(15)


class TestLookingUp:
    async def test_hundreds_look_it_up_once(self, roe, connect, query, look_ups):
        connect(roe, request_timeout=60)
        ends = await asyncio.gather(*(status_alone(query) for _ in range(300)))
        assert {end.status for end in ends} == {"SUCCESS"}
        assert look_ups == [CONN_ID]

    async def test_cancelling_the_one_that_looks_up_does_not_break_the_others(self, roe, connect, query):
        connect(roe)
        first = asyncio.create_task(status_alone(query))
        others = [asyncio.create_task(status_alone(query)) for _ in range(5)]
        await asyncio.sleep(0)
        first.cancel()
        assert [end.status for end in await asyncio.gather(*others)] == ["SUCCESS"] * 5
        with pytest.raises(asyncio.CancelledError):
            await first

    @pytest.mark.parametrize("pauses", [0, 1, 3, 10], ids=lambda pauses: f"after {pauses} turns of the loop")
    async def test_cancelling_all_leaves_nothing_open(self, roe, connect, query, none_open, pauses):
        connect(roe)
        waits = [asyncio.create_task(status_alone(query)) for _ in range(5)]
        for _ in range(pauses):
            await asyncio.sleep(0)
        for wait in waits:
            wait.cancel()
        ends = await asyncio.gather(*waits, return_exceptions=True)
        assert {type(end) for end in ends} == {asyncio.CancelledError}
        assert await none_open()
        assert (await status_alone(query)).status == "SUCCESS"

    async def test_all_are_told_why_it_cannot_be_used_and_the_next_tries_again(
        self, roe, connect, query, tmp_path
    ):
        bundle = tmp_path / "ca.pem"
        bundle.write_text("not a certificate")
        connect(roe, verify=str(bundle))
        ends = await asyncio.gather(*(status_alone(query) for _ in range(3)), return_exceptions=True)
        assert {type(end) for end in ends} == {RoeInputError}
        assert {"extra.verify" in str(end) for end in ends} == {True}
        connect(roe)
        assert (await status_alone(query)).status == "SUCCESS"

    async def test_the_event_loop_is_not_blocked_meanwhile(self, roe, connect, query):
        connect(roe)
        longest, last = 0.0, time.monotonic()
        asking = asyncio.create_task(status_alone(query))
        while not asking.done():
            await asyncio.sleep(0)
            longest, last = max(longest, time.monotonic() - last), time.monotonic()
        assert (await asking).status == "SUCCESS"
        assert longest < patient(3)

    async def test_a_look_up_that_hangs_is_given_up(self, roe, connect, query, monkeypatch):
        async def hang(_: str) -> None:
            await asyncio.sleep(3600)

        connect(roe)
        monkeypatch.setattr(lookup, "LONGEST_LOOK_UP", 0.3)
        monkeypatch.setattr(lookup, "get_async_connection", hang)
        began = time.monotonic()
        ends = await asyncio.gather(
            *(status_alone(query, retry_window=0) for _ in range(20)), return_exceptions=True
        )
        assert {type(end) for end in ends} == {RoeUnavailableError}
        assert {"could not look up connection 'roe_default'" in str(end) for end in ends} == {True}
        assert time.monotonic() - began < patient(15)

    async def test_waits_that_ask_within_a_second_share_a_failure(self, roe, query, look_ups):
        began = time.monotonic()
        ends = await asyncio.gather(
            *(status_alone(query, retry_window=0) for _ in range(300)), return_exceptions=True
        )
        assert {type(end) for end in ends} == {RoeUnavailableError}
        assert len(look_ups) <= time.monotonic() - began + 1

    async def test_how_often_one_has_tried_is_not_told_of_another(self, query, monkeypatch, caplog):
        monkeypatch.setattr(module, "LOOK_AGAIN_AFTER", 0.5)
        async with SharedConnection.of(CONN_ID, retry_window=1.0) as shared:
            for _ in range(2):  # the second meets at once what ended the first
                with pytest.raises(RoeUnavailableError, match="Gave up after"):
                    await status(shared, query)
        told = [record.getMessage() for record in caplog.records if record.name == LOG.name]
        assert len(told) == 2
        assert not any("Gave up" in message for message in told)

    async def test_one_who_knows_the_connection_does_not_get_the_error_of_one_who_does_not(
        self, roe, connect, query, monkeypatch
    ):
        look_up = lookup.get_async_connection
        begun, go = asyncio.Event(), asyncio.Event()

        async def slow(conn_id: str) -> Any:
            begun.set()
            await go.wait()
            return await look_up(conn_id)

        monkeypatch.setattr(lookup, "get_async_connection", slow)
        new = asyncio.create_task(status_alone(query))
        await begun.wait()
        known = asyncio.create_task(status_alone(query, retry_window=30))
        await asyncio.sleep(0.1)  # it waits for the look-up that has begun
        go.set()
        with pytest.raises(RoeInputError, match="Airflow has no connection"):
            await new
        connect(roe)
        assert (await known).status == "SUCCESS"


class TestLookingUpAgain:
    async def test_it_is_looked_up_again_after_five_minutes(self, roe, connect, query, look_ups, later):
        assert module.RENEW_AFTER == 300
        connect(roe)
        async with SharedConnection.of(CONN_ID) as shared:
            for seconds in (0, 100, 200):
                later(seconds)
                await status(shared, query)
            assert len(look_ups) == 1
            later(300)
            roe.api_keys.add("the-new-key")  # both are accepted: nobody is refused
            connect(roe, api_key="the-new-key")
            await status(shared, query)
        assert len(look_ups) == 2
        assert roe.requests[-1].headers["Authorization"] == "Bearer the-new-key"
        assert codes(roe) == [200] * 4

    async def test_where_that_fails_it_goes_on_with_what_is_known(
        self, roe, connect, query, look_ups, monkeypatch, caplog
    ):
        monkeypatch.setattr(module, "RENEW_AFTER", 0.0)
        connect(roe)
        async with SharedConnection.of(CONN_ID) as shared:
            await status(shared, query)
            monkeypatch.delenv("AIRFLOW_CONN_ROE_DEFAULT")
            for _ in range(20):
                await status(shared, query)
        assert codes(roe) == [200] * 21
        assert len(look_ups) == 2
        (told,) = [message for message in caplog.messages if "Going on with what" in message]
        assert "Airflow does not find connection 'roe_default' here" in told

    async def test_while_one_looks_it_up_again_the_others_go_on(
        self, roe, connect, query, monkeypatch, caplog
    ):
        monkeypatch.setattr(module, "RENEW_AFTER", 0.0)
        monkeypatch.setattr(module, "DOUBT_AFTER", 0.0)
        connect(roe)
        async with SharedConnection.of(CONN_ID) as shared:
            await status(shared, query)
            answer = asyncio.Event()
            look_up = lookup.get_async_connection

            async def slow(conn_id: str) -> Any:
                await answer.wait()
                return await look_up(conn_id)

            monkeypatch.setattr(lookup, "get_async_connection", slow)
            renewing = asyncio.create_task(status(shared, query))
            await asyncio.sleep(0.05)
            async with asyncio.timeout(patient(30)):
                await asyncio.gather(*(status(shared, query) for _ in range(10)))
            assert not renewing.done()
            answer.set()
            assert (await renewing).status == "SUCCESS"

    async def test_a_refusal_makes_it_be_looked_up_again_within_seconds(
        self, roe, connect, query, look_ups, later
    ):
        assert module.DOUBT_AFTER <= 10
        connect(roe)
        async with SharedConnection.of(CONN_ID) as shared:
            await status(shared, query)
            roe.add_fault(Fault(status_code=403, times=1))
            with pytest.raises(RoeRequestError, match="403"):
                await status(shared, query)
            assert len(look_ups) == 1
            later(module.DOUBT_AFTER)
            for _ in range(5):
                await status(shared, query)
        assert len(look_ups) == 2

    async def test_a_session_that_is_replaced_is_closed_once_its_last_request_is_answered(
        self, roe, connect, query, asked, left_open, let_go
    ):
        slow, refused = roe.submit("SELECT 1"), roe.submit("SELECT 1")
        connect(roe)
        async with SharedConnection.of(CONN_ID) as shared:
            await status(shared, query)
            roe.add_fault(Fault(query_id=slow, delay=1), Fault(query_id=refused, status_code=401, times=1))
            under_way = [asyncio.create_task(status(shared, slow)) for _ in range(20)]
            await asked(21)
            connect(roe, request_timeout=6)
            assert (await status(shared, refused)).status == "SUCCESS"
            assert not any(task.done() for task in under_way)
            let_go()
            assert [end.status for end in await asyncio.gather(*under_way)] == ["SUCCESS"] * 20
            assert await left_open(1)
        assert await left_open(0)

    async def test_a_call_of_two_requests_keeps_the_session_for_both(
        self, roe, connect, query, asked, let_go
    ):
        """An end with an unknown status is asked for twice; the connection changes in between."""
        vanished, refused = roe.submit("SELECT 1", VANISHES), roe.submit("SELECT 1")
        connect(roe)
        async with SharedConnection.of(CONN_ID) as shared:
            await status(shared, query)
            roe.add_fault(
                Fault(query_id=vanished, delay=1, times=1),
                Fault(query_id=refused, status_code=401, times=1),
            )
            under_way = asyncio.create_task(status(shared, vanished))
            await asked(2)
            connect(roe, request_timeout=6)
            await status(shared, refused)
            assert not under_way.done()
            let_go()
            assert (await under_way).status == "VANISHED"


class TestRefusedKey:
    @pytest.fixture
    async def together(
        self,
        roe: RoeSimulator,
        connect: Callable[..., None],
        query: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> Callable[[int], Awaitable[list[Any]]]:
        """Return what asks many times at once, on a connection that is known already."""
        monkeypatch.setattr(module, "MOST_A_SECOND", math.inf)

        async def together(times: int, then: Callable[[], None]) -> list[Any]:
            connect(roe, request_timeout=60)
            async with SharedConnection.of(CONN_ID) as shared:
                await status(shared, query)
                roe.requests.clear()
                then()
                return await asyncio.gather(
                    *(status(shared, query) for _ in range(times)), return_exceptions=True
                )

        return together

    async def test_five_that_are_refused_with_an_unchanged_connection_are_five_requests(
        self, roe, together, look_ups
    ):
        ends = await together(5, roe.revoke_key)
        assert {type(end) for end in ends} == {RoeAuthenticationError}
        assert codes(roe) == [401] * 5
        assert len(look_ups) == 2

    async def test_five_that_are_refused_with_a_rotated_key_are_ten_and_one_look_up(
        self, roe, connect, together, look_ups
    ):
        def rotate() -> None:
            roe.rotate_key("the-new-key")
            connect(roe, request_timeout=60)

        ends = await together(5, rotate)
        assert {end.status for end in ends} == {"SUCCESS"}
        assert sorted(codes(roe)) == [200] * 5 + [401] * 5
        assert len(look_ups) == 2

    async def test_a_thousand_that_are_refused_look_it_up_once(self, roe, connect, together, look_ups):
        def rotate() -> None:
            roe.rotate_key("the-new-key")
            connect(roe, request_timeout=60)

        ends = await together(1000, rotate)
        assert {end.status for end in ends} == {"SUCCESS"}
        assert len(look_ups) == 2

    async def test_those_that_ask_while_it_is_looked_up_cause_no_look_up_of_their_own(
        self, roe, connect, query, look_ups, monkeypatch
    ):
        connect(roe)
        async with SharedConnection.of(CONN_ID) as shared:
            await status(shared, query)
            look_up = lookup.get_async_connection

            async def slow(conn_id: str) -> Any:
                found = await look_up(conn_id)
                await asyncio.sleep(0.5)
                return found

            monkeypatch.setattr(lookup, "get_async_connection", slow)
            roe.rotate_key("the-new-key")
            connect(roe)
            asking = []
            for _ in range(10):
                asking.append(asyncio.create_task(status(shared, query)))
                await asyncio.sleep(0.02)
            assert {end.status for end in await asyncio.gather(*asking)} == {"SUCCESS"}
        assert len(look_ups) == 2
