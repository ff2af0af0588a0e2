from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from airflow_provider_roe.client.hold import LONGEST_HOLD, RETURN_RATE, Hold
from tests.unit.client.virtual_time import in_virtual_time

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def now() -> float:
    return asyncio.get_running_loop().time()


async def returns(hold: Hold, waits: int, seconds: float = 3600) -> list[float]:
    """Let so many wait, and return when each of them went on."""
    return await times_of(hold.wait, waits, seconds)


async def ends(hold: Hold, waits: int, seconds: float = 3600) -> list[float]:
    """Let so many wait for the end alone, and return when it came for each of them."""
    return await times_of(hold.end, waits, seconds)


async def times_of(wait: Callable[[float], Awaitable[None]], waits: int, seconds: float) -> list[float]:
    async def until() -> float:
        await wait(seconds)
        return now()

    return sorted(await asyncio.gather(*(until() for _ in range(waits))))


def test_the_bounds_are_as_documented():
    assert (LONGEST_HOLD, RETURN_RATE) == (600, 50)


class TestWhenItEnds:
    @in_virtual_time
    async def test_without_one_nobody_waits(self):
        hold, began = Hold(), now()
        assert not hold.is_on
        assert await returns(hold, 3) == [began] * 3

    @in_virtual_time
    async def test_nobody_goes_on_before_retry_after(self):
        hold, began = Hold(), now()
        hold.begin(45, began)
        assert hold.is_on
        assert (await returns(hold, 10))[0] == began + 45
        assert not hold.is_on

    @in_virtual_time
    async def test_retry_after_zero_is_over_at_once(self):
        hold, began = Hold(), now()
        hold.begin(0, began)
        assert await returns(hold, 1) == [began]

    @pytest.mark.parametrize("retry_after", [601, 999_999_999, 1e300])
    @in_virtual_time
    async def test_it_lasts_ten_minutes_at_most(self, retry_after):
        hold, began = Hold(), now()
        hold.begin(retry_after, began)
        assert await returns(hold, 1) == [began + 600]

    @in_virtual_time
    async def test_a_later_429_prolongs_it_for_those_who_wait_already(self):
        hold, began = Hold(), now()
        hold.begin(10, began)
        waiting = asyncio.create_task(returns(hold, 5))
        await asyncio.sleep(8)
        hold.begin(10, now())
        assert (await waiting)[0] == began + 18

    @in_virtual_time
    async def test_and_for_those_whose_turn_to_return_had_not_come(self):
        hold, began = Hold(), now()
        hold.begin(10, began)
        waiting = asyncio.create_task(returns(hold, 100))
        await asyncio.sleep(11.001)
        hold.begin(10, now())
        went_on = await waiting
        assert sum(moment <= began + 11.001 for moment in went_on) == 51
        assert min(moment for moment in went_on if moment > began + 11.001) >= began + 21.001

    @in_virtual_time
    async def test_an_earlier_end_does_not_shorten_it(self):
        hold, began = Hold(), now()
        hold.begin(10, began)
        hold.begin(3, began)
        assert await returns(hold, 1) == [began + 10]

    @in_virtual_time
    async def test_one_after_another_counts_anew(self):
        hold, began = Hold(), now()
        hold.begin(100, began)
        await asyncio.sleep(1)
        hold.answered(now())
        hold.begin(5, now())
        assert await returns(hold, 1) == [began + 6]
        await asyncio.sleep(60)
        hold.begin(60, now())
        await asyncio.sleep(50)
        assert hold.is_on  # the first would have been over by now

    @in_virtual_time
    async def test_nobody_waits_longer_than_he_has_time(self):
        hold, began = Hold(), now()
        hold.begin(300, began)
        assert await returns(hold, 3, seconds=20) == [began + 20] * 3
        assert hold.is_on

    @in_virtual_time
    async def test_nor_for_his_turn_to_return(self):
        hold, began = Hold(), now()
        hold.begin(10, began)
        assert (await returns(hold, 1000, seconds=12))[-1] == pytest.approx(began + 12)


class TestItsEnd:
    """Those who ask together wait for it, and go on at once: they send one request."""

    @in_virtual_time
    async def test_without_one_it_is_now(self):
        hold, began = Hold(), now()
        await hold.end(3600)
        assert now() == began

    @in_virtual_time
    async def test_comes_for_all_at_once(self):
        hold, began = Hold(), now()
        hold.begin(10, began)
        assert await ends(hold, 100) == [began + 10] * 100

    @in_virtual_time
    async def test_comes_with_a_success(self):
        hold, began = Hold(), now()
        hold.begin(300, began)
        waiting = asyncio.create_task(ends(hold, 2))
        await asyncio.sleep(3)
        hold.answered(now())
        assert await waiting == [began + 3] * 2

    @in_virtual_time
    async def test_comes_later_after_another_429(self):
        hold, began = Hold(), now()
        hold.begin(10, began)
        waiting = asyncio.create_task(ends(hold, 2))
        await asyncio.sleep(8)
        hold.begin(10, now())
        assert await waiting == [began + 18] * 2

    @pytest.mark.parametrize("seconds", [0, 20])
    @in_virtual_time
    async def test_nobody_waits_for_it_longer_than_he_has_time(self, seconds):
        hold, began = Hold(), now()
        hold.begin(300, began)
        assert await ends(hold, 3, seconds) == [began + seconds] * 3
        assert hold.is_on

    @in_virtual_time
    async def test_one_who_is_cancelled_is(self):
        hold = Hold()
        hold.begin(10, now())
        waiting = asyncio.create_task(hold.end(3600))
        await asyncio.sleep(1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting


class TestSuccesses:
    @in_virtual_time
    async def test_one_of_a_request_that_was_sent_since_ends_it(self):
        hold, began = Hold(), now()
        hold.begin(300, began)
        waiting = asyncio.create_task(returns(hold, 1))
        await asyncio.sleep(2)
        hold.answered(began + 1)
        assert await waiting == [began + 2]

    @in_virtual_time
    async def test_one_of_a_request_that_was_under_way_does_not(self):
        hold, sent_at = Hold(), now()
        await asyncio.sleep(1)
        hold.begin(300, sent_at)
        hold.answered(sent_at)
        assert await returns(hold, 1) == [sent_at + 301]

    @in_virtual_time
    async def test_it_slows_nobody_who_asks_later(self):
        hold, began = Hold(), now()
        hold.begin(999_999_999, began)
        hold.answered(now())
        await asyncio.sleep(5)
        assert await returns(hold, 10) == [began + 5] * 10


class TestReturning:
    @in_virtual_time
    async def test_fifty_go_on_each_second(self):
        hold, began = Hold(), now()
        hold.begin(10, began)
        expected = [began + 10 + number / 50 for number in range(200)]
        assert await returns(hold, 200) == pytest.approx(expected)

    @in_virtual_time
    async def test_also_where_a_success_has_ended_it(self):
        hold, began = Hold(), now()
        hold.begin(300, began)
        waiting = asyncio.create_task(returns(hold, 101))
        await asyncio.sleep(1)
        hold.answered(now())
        assert (await waiting)[-1] == pytest.approx(began + 3)

    @in_virtual_time
    async def test_and_where_another_hold_came_between(self):
        hold, began = Hold(), now()
        hold.begin(1, began)
        waiting = asyncio.create_task(returns(hold, 200))
        await asyncio.sleep(2)
        hold.begin(1, now())
        late = [moment for moment in await waiting if moment >= began + 3]
        assert len(late) > 100
        for first, after_a_second in zip(late, late[52:], strict=False):
            assert after_a_second - first > 1

    @in_virtual_time
    async def test_who_comes_back_when_it_is_over_queues_behind_those_who_waited(self):
        hold, began = Hold(), now()
        hold.begin(1, began)
        waiting = asyncio.create_task(returns(hold, 100))
        await asyncio.sleep(1.5)
        await hold.return_in_turn(3600)
        assert now() == pytest.approx(began + 1 + 100 / 50)
        await waiting
        await hold.return_in_turn(0)
        assert now() == pytest.approx(began + 1 + 100 / 50)

    @in_virtual_time
    async def test_one_who_is_cancelled_holds_up_nobody(self):
        hold, began = Hold(), now()
        hold.begin(10, began)
        cancelled = [asyncio.create_task(hold.wait(3600)) for _ in range(100)]
        waiting = asyncio.create_task(returns(hold, 1))
        await asyncio.sleep(1)
        for task in cancelled:
            task.cancel()
        assert await waiting == [began + 10]


class TestWithoutRetryAfter:
    @in_virtual_time
    async def test_it_doubles_from_1_s_to_30_s_until_there_is_a_success(self):
        hold = Hold()

        async def lasts() -> float:
            hold.begin(None, began := now())
            await hold.wait(3600)
            ended = now()
            await asyncio.sleep(0.1)
            return ended - began

        assert [await lasts() for _ in range(7)] == pytest.approx([1, 2, 4, 8, 16, 30, 30])
        hold.answered(now())
        assert await lasts() == pytest.approx(1)

    @in_virtual_time
    async def test_429s_to_requests_that_were_under_way_together_count_once(self):
        hold, sent_at = Hold(), now()
        await asyncio.sleep(0.5)
        for _ in range(50):
            hold.begin(None, sent_at)
        await asyncio.sleep(0.3)
        hold.begin(None, sent_at)
        assert await returns(hold, 1) == pytest.approx([sent_at + 1.5])
