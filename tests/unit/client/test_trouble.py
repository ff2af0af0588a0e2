from __future__ import annotations

import logging
import time
import tracemalloc

import pytest

from airflow_provider_roe.client.trouble import MOST_CAUSES, TELL_AGAIN, Troubles
from airflow_provider_roe.exceptions import RoeInputError, RoeUnavailableError

LOG = logging.getLogger("roe.trouble")
BUSY = RoeUnavailableError("Roe is busy.", status_code=503)
BROKEN = RoeUnavailableError("Roe hung up.", cause="the connection broke")


@pytest.fixture(autouse=True)
def _all_levels(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, LOG.name)


@pytest.fixture
def troubles() -> Troubles:
    return Troubles(LOG)


def test_each_kind_is_told_once(troubles, caplog):
    for error in (BUSY, BROKEN, BUSY, BUSY, BROKEN, RoeInputError("No.")):
        troubles.met(error, "Trying again.")
    assert caplog.messages == [
        "Roe is busy. Trying again.",
        "Roe hung up. Trying again.",
        "No. Trying again.",
    ]


def test_in_the_end_each_kind_is_told_with_its_count(troubles, caplog):
    for error in (BROKEN, BUSY, BUSY):
        troubles.met(error, "Trying again.")
    caplog.clear()
    troubles.sum_up()
    assert caplog.messages == ["Trouble on the way: answered with 503 (2 x); the connection broke (1 x)."]


@pytest.mark.parametrize("met", [[], [BUSY], [BUSY, BROKEN]], ids=len)
def test_what_was_told_whole_is_not_summed_up(troubles, caplog, met):
    for error in met:
        troubles.met(error, "Trying again.")
    caplog.clear()
    troubles.sum_up()
    assert caplog.messages == []


def test_that_roe_answers_again_is_told_as_often_as_that_it_did_not(troubles, caplog):
    for _ in range(3):
        troubles.met(BUSY, "Trying again.")
        troubles.over(attempts=4, seconds=7.2)
    assert caplog.messages == [
        "Roe is busy. Trying again.",
        "Roe answers again, after 4 attempts in 7 s.",
    ]


@pytest.mark.parametrize(("passed", "told"), [(TELL_AGAIN - 1, 1), (TELL_AGAIN, 2)])
def test_a_kind_that_still_comes_after_an_hour_is_told_again(troubles, caplog, monkeypatch, passed, told):
    for now in (0, passed):
        monkeypatch.setattr(time, "monotonic", lambda now=now: now)
        troubles.met(BUSY, "Trying again.")
    assert len(caplog.messages) == told


class TestAWeekOfTrouble:
    """A poll a minute for a week, each of which meets a cause that no other has met."""

    POLLS = 10_000

    @pytest.fixture
    def clock(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        clock = [0.0]
        monkeypatch.setattr(time, "monotonic", lambda: clock[0])
        return clock

    def met(self, troubles: Troubles, number: int) -> None:
        cause = f"it broke after {number} of 200000 bytes"
        troubles.met(RoeUnavailableError(f"{cause}: {'x' * 1000}.", cause=cause), "Trying again.")

    def test_the_log_has_a_line_for_each_of_the_first_and_then_one_an_hour(self, troubles, caplog, clock):
        for number in range(self.POLLS):
            self.met(troubles, number)
            clock[0] += 60
        hours = self.POLLS * 60 / TELL_AGAIN
        assert MOST_CAUSES < len(caplog.messages) <= MOST_CAUSES + hours + 1

    def test_within_an_hour_it_has_one_more_for_all_others(self, troubles, caplog):
        for number in range(self.POLLS):
            self.met(troubles, number)
        assert len(caplog.messages) == MOST_CAUSES + 1

    def test_in_the_end_all_are_counted_in_one_line(self, troubles, caplog):
        for number in range(self.POLLS):
            self.met(troubles, number)
        caplog.clear()
        troubles.sum_up()
        (told,) = caplog.messages
        assert f"other causes ({self.POLLS - MOST_CAUSES} x)" in told
        assert len(told) < 5000

    def test_it_takes_little_memory(self, caplog):
        caplog.set_level(logging.CRITICAL, LOG.name)
        troubles = Troubles(LOG)
        tracemalloc.start()
        try:
            self.met(troubles, 0)
            before, _ = tracemalloc.get_traced_memory()
            for number in range(self.POLLS):
                self.met(troubles, number)
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert after - before < 50_000
