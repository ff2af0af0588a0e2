from __future__ import annotations

import asyncio
import logging
import math
import time
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_roe.client import shared
from airflow_provider_roe.client.client import AsyncClient, Client
from airflow_provider_roe.client.retry import Retries
from airflow_provider_roe.client.shared import SharedConnection
from airflow_provider_roe.client.trouble import Troubles
from airflow_provider_roe.exceptions import (
    RoeAuthenticationError,
    RoeInputError,
    RoeNotFoundError,
    RoeRequestError,
    RoeUnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

LOG = logging.getLogger("roe.retry")


class Clock:
    """A monotonic clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.sleeps: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now += seconds

    async def asleep(self, seconds: float) -> None:
        self.sleep(seconds)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", lambda: clock.now)
    monkeypatch.setattr(time, "sleep", clock.sleep)
    monkeypatch.setattr(asyncio, "sleep", clock.asleep)
    monkeypatch.setattr(shared, "MOST_A_SECOND", math.inf)  # which lets a second request wait for its turn
    return clock


@pytest.fixture(params=["blocking", "async"])
def attempt(request: pytest.FixtureRequest, clock: Clock, roe, connect) -> Callable[..., Any]:
    """Return what makes a call whose attempts meet the given outcomes, the last one over and over."""

    def attempt(outcomes: Iterable[Any], *, window: float = 300, each_takes: float = 0) -> Any:
        connect(roe, retry_window=window)
        left = list(outcomes)

        def once(_: Any) -> Any:
            clock.now += each_takes
            outcome = left.pop(0) if len(left) > 1 else left[0]
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        async def aonce(_: Any) -> Any:
            return once(_)

        async def call() -> Any:
            async with SharedConnection.of("roe_default") as shared:
                return await AsyncClient(shared).call(Retries(Troubles(LOG)), aonce)

        if request.param == "blocking":
            return Client("roe_default").call(Retries(Troubles(LOG)), once)
        return asyncio.run(call())

    return attempt


def busy(text: str = "Roe is busy.", **arguments: Any) -> RoeUnavailableError:
    return RoeUnavailableError(text, **arguments)


def test_an_answer_is_returned_at_once(attempt, clock):
    assert attempt(["the answer"]) == "the answer"
    assert clock.sleeps == []


@pytest.mark.parametrize("failures", [1, 2, 5])
def test_transient_errors_are_retried_until_there_is_an_answer(attempt, clock, failures):
    assert attempt([busy()] * failures + ["the answer"]) == "the answer"
    assert len(clock.sleeps) == failures


def test_the_pauses_double_from_1_s_to_30_s_each_with_up_to_1_s_of_jitter(attempt, clock):
    with pytest.raises(RoeUnavailableError):
        attempt([busy()], window=300)
    for pause, least in zip(clock.sleeps[:-1], [1, 2, 4, 8, 16, *[29] * 20], strict=False):
        assert least <= pause <= least + 1


def test_the_pauses_of_two_callers_differ(attempt, clock):
    for _ in range(2):
        attempt([busy()] * 4 + ["the answer"])
    assert clock.sleeps[:4] != clock.sleeps[4:]


@pytest.mark.parametrize("seconds", [5, 45, 200])
def test_it_never_comes_back_sooner_than_retry_after(attempt, clock, seconds):
    attempt([busy(retry_after=seconds)] * 1 + ["the answer"])
    assert seconds <= clock.sleeps[0] <= seconds + 1


def test_a_short_retry_after_does_not_shorten_the_pause(attempt, clock):
    attempt([busy(retry_after=0)] * 3 + ["the answer"])
    assert clock.sleeps[2] >= 4


@pytest.mark.parametrize("retry_after", [None, 10, 1e9])
@pytest.mark.parametrize("each_takes", [0, 3])
def test_the_last_attempt_is_at_the_end_of_the_window(attempt, clock, retry_after, each_takes):
    with pytest.raises(RoeUnavailableError):
        attempt([busy(retry_after=retry_after)], window=60, each_takes=each_takes)
    assert 1060 <= clock.now <= 1060 + 2 * each_takes


def test_a_window_of_zero_means_one_attempt(attempt, clock):
    with pytest.raises(RoeUnavailableError) as e:
        attempt([busy(), "too late"], window=0)
    assert clock.sleeps == []
    assert str(e.value) == "Roe is busy. Connection: roe_default."


@pytest.mark.parametrize(
    "error",
    [
        busy(repeatable=False),
        RoeRequestError("no"),
        RoeAuthenticationError("no"),
        RoeNotFoundError("no"),
        RoeInputError("no"),
        ValueError("not ours"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_would_not_help_is_not_repeated(attempt, clock, error):
    with pytest.raises(type(error)) as e:
        attempt([error, "too late"])
    assert e.value is error
    assert clock.sleeps == []


def test_an_error_that_may_not_be_repeated_ends_retrying_midway(attempt, clock):
    with pytest.raises(RoeNotFoundError):
        attempt([busy(), RoeNotFoundError("no"), "too late"])
    assert len(clock.sleeps) == 1


def test_the_final_error_is_the_last_one_and_tells_how_often_and_how_long(attempt, clock):
    with pytest.raises(RoeUnavailableError) as e:
        attempt([busy("first"), busy("second"), busy("last.", status_code=503)], window=60)
    assert (e.value.status_code, e.value.attempts) == (503, len(clock.sleeps) + 1)
    assert (
        str(e.value)
        == f"last. Connection: roe_default. Gave up after {len(clock.sleeps) + 1} attempts in 60 s."
    )


def test_the_log_tells_of_the_first_failure_and_of_the_recovery_only(attempt, caplog):
    with caplog.at_level(logging.DEBUG, LOG.name):
        attempt([busy(), busy(), busy(), "the answer"], window=120)
    first, last = (record.getMessage() for record in caplog.records if record.name == LOG.name)
    assert first == "Roe is busy. Connection: roe_default. Retrying for up to 120 s."
    assert last.startswith("Roe answers again, after 4 attempts in ")


def test_the_log_says_nothing_where_nothing_went_wrong(attempt, caplog):
    with caplog.at_level(logging.DEBUG, LOG.name):
        attempt(["the answer"])
    assert not [record for record in caplog.records if record.name == LOG.name]


@pytest.mark.parametrize(("waited", "left"), [(0, 300), (50, 300), (900, 100), (1000, 0), (2000, 0)])
def test_after_an_answer_the_window_begins_anew_and_the_deadline_stays(clock, monkeypatch, waited, left):
    monkeypatch.setattr(time, "time", lambda: 1e9 + clock.now)
    retries = Retries(Troubles(LOG), deadline=1e9 + clock.now + 1000)
    clock.sleep(waited)
    retries.over()
    assert retries.left(300) == left


@pytest.mark.parametrize(("failed", "left"), [(False, 300), (True, 250)])
def test_the_window_begins_when_a_poll_is_due_and_not_again_for_its_later_attempts(clock, failed, left):
    retries = Retries(Troubles(LOG))
    if failed:
        retries.pause(busy(), 300)
    clock.sleep(50)
    retries.due()
    assert retries.left(300) == left
