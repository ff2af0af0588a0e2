"""Outages of minutes, in simulated time: sleeping moves the clock, for waits and simulator alike."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
import time_machine

from airflow_provider_roe.client.together import Together
from airflow_provider_roe.exceptions import RoeUnavailableError
from airflow_provider_roe.testing import Fault
from tests.integration.running import each_mode, ending
from tests.integration.things import each_thing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from airflow_provider_roe.testing import RoeSimulator

pytestmark = pytest.mark.usefixtures("after")
KINDS = [{"status_code": 503}, {"status_code": 429}, {"reset": "before"}, {"truncate": True}]


@pytest.fixture
def after(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[float, Callable[[], None]], None]]:
    """Let nobody really sleep; return what makes something happen after so many seconds of sleep."""
    monotonic, pause, slept, plans = time.monotonic, asyncio.sleep, 0.0, []
    call_at = asyncio.BaseEventLoop.call_at
    with time_machine.travel(time.time()) as traveller:

        def sleep(seconds: float) -> None:
            nonlocal slept
            slept += seconds
            traveller.shift(seconds)
            while plans and plans[0][0] <= time.monotonic():
                plans.pop(0)[1]()

        async def asleep(seconds: float) -> None:
            sleep(seconds)
            await pause(0)

        def call_after_sleep(loop: Any, when: float, callback: Any, *arguments: Any, **options: Any) -> Any:
            # Waits for jobs sleep in a timer that they have in common.
            if getattr(callback, "__func__", None) is Together._send_all:
                sleep(max(when - loop.time(), 0))
            return call_at(loop, when, callback, *arguments, **options)

        monkeypatch.setattr(time, "monotonic", lambda: monotonic() + slept)
        monkeypatch.setattr(time, "sleep", sleep)
        monkeypatch.setattr(asyncio, "sleep", asleep)
        monkeypatch.setattr(asyncio.BaseEventLoop, "call_at", call_after_sleep)
        yield lambda seconds, act: plans.append((time.monotonic() + seconds, act))


def seconds_between(first: datetime, last: datetime) -> float:
    return (last - first).total_seconds()


@each_thing
@each_mode
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_four_minutes_in_the_middle_of_a_wait_are_waited_out(roe, connect, after, kind, thing, mode, capsys):
    connect(roe, retry_window=300)
    began = datetime.now(UTC)
    thing_id = thing.start(roe, seconds=600)
    after(120, lambda: roe.add_fault(Fault(**kind)))
    after(360, roe.clear_faults)
    ended = ending(thing_id, mode, thing, poke_interval=30, timeout=3600)
    assert ended.kind == "success"
    assert 600 <= ended.value["duration"] < 601
    assert "Roe answers again" in capsys.readouterr().out
    failed, answered = requests_by_success(roe)
    assert 120 <= seconds_between(began, failed[0]) < 160
    assert seconds_between(failed[0], failed[-1]) > 180
    assert answered[0] < failed[0] < failed[-1] < answered[-1]


@each_thing
@each_mode
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_one_longer_than_the_window_fails_with_the_last_error_and_how_often_and_how_long_it_was_tried(
    roe, connect, after, kind, thing, mode
):
    connect(roe, retry_window=300)
    thing_id = thing.start(roe)
    after(120, lambda: roe.add_fault(Fault(**kind)))
    ended = ending(thing_id, mode, thing, poke_interval=30, timeout=3600)
    assert type(ended.error) is RoeUnavailableError
    failed, _ = requests_by_success(roe)
    assert f"Request id: {roe.requests[-1].headers['X-Request-ID']}." in ended.message
    assert f"Gave up after {len(failed)} attempts in 300 s." in ended.message
    assert seconds_between(failed[0], failed[-1]) == pytest.approx(300, abs=3)


@each_thing
@each_mode
def test_a_poll_is_retried_though_the_pause_before_it_was_longer_than_the_window(
    roe, connect, after, thing, mode
):
    connect(roe, retry_window=60)
    thing_id = thing.start(roe, seconds=6000)
    after(3000, lambda: roe.add_fault(Fault(status_code=503, times=2)))
    ended = ending(thing_id, mode, thing, poke_interval=600, timeout=9000)
    assert ended.kind == "success", ended
    assert [request.status_code for request in roe.requests].count(503) == 2


def requests_by_success(roe: RoeSimulator) -> tuple[list[datetime], list[datetime]]:
    """Return when requests came that failed, and that did not; of those that a library repeated, the last."""
    last = {request.headers["X-Request-ID"]: request for request in roe.requests}.values()
    return (
        [request.received_at for request in last if request.status_code != 200],
        [request.received_at for request in last if request.status_code == 200],
    )
