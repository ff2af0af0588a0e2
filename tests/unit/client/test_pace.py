from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from airflow_provider_roe.client.pace import Pace
from airflow_provider_roe.client.shared import MOST_A_SECOND
from tests.unit.client.virtual_time import in_virtual_time


def now() -> float:
    return asyncio.get_running_loop().time()


async def poll(pace: Pace, interval: float, polls: list[float], until: float) -> None:
    """Keep asking as a wait does."""
    while now() < until:
        await asyncio.sleep(interval)
        await pace.keep()
        polls.append(now())


async def fleet(waits: dict[float, int], seconds: float) -> dict[float, list[list[float]]]:
    """Return when each wait of a fleet polled, by the interval: so many of them have it."""
    pace, until = Pace(MOST_A_SECOND), now() + seconds
    polls = {interval: [[] for _ in range(number)] for interval, number in waits.items()}
    async with asyncio.TaskGroup() as group:
        for interval, each in polls.items():
            for times in each:
                group.create_task(poll(pace, interval, times, until))
    return polls


def most_in_a_second(polls: dict[float, list[list[float]]]) -> int:
    times = [moment for each in polls.values() for wait in each for moment in wait]
    return max(Counter(int(moment) for moment in times).values())


def test_the_bound_is_as_documented():
    assert MOST_A_SECOND == 200


@in_virtual_time
async def test_ten_thousand_waits_that_are_due_together_go_on_in_their_order_evenly_spread():
    pace, began = Pace(MOST_A_SECOND), now()
    went_on: list[tuple[int, float]] = []

    async def go(number: int) -> None:
        await pace.keep()
        went_on.append((number, now() - began))

    await asyncio.gather(*(go(number) for number in range(10_000)))
    assert [number for number, _ in went_on] == list(range(10_000))
    assert [moment for _, moment in went_on] == pytest.approx([number / 200 for number in range(10_000)])


@in_virtual_time
async def test_a_fleet_that_wants_less_keeps_its_intervals():
    polls = await fleet({1.0: 100, 60.0: 1000}, seconds=300)
    assert {len(times) for times in polls[1.0]} <= {*range(285, 301)}
    assert {len(times) for times in polls[60.0]} == {5}


@pytest.mark.parametrize("waits", [{1.0: 10_000}, {1.0: 1000, 10.0: 5000}], ids=["one interval", "two"])
@in_virtual_time
async def test_a_fleet_that_wants_more_never_gets_it_and_each_wait_its_share(waits):
    polls = await fleet(waits, seconds=200)
    assert 195 <= most_in_a_second(polls) <= 201
    for each in polls.values():
        counts = [len(times) for times in each]
        assert min(counts) >= 3
        assert max(counts) - min(counts) <= 1


@in_virtual_time
async def test_who_has_less_time_than_that_goes_on_when_it_is_over():
    pace, began = Pace(1), now()
    await asyncio.gather(*(pace.keep(3) for _ in range(10)))
    assert now() - began == 3
