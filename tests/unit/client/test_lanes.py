from __future__ import annotations

import asyncio

import pytest

from airflow_provider_roe.client.lanes import PATIENCE, QUICK, SLOW, Lanes, Place
from tests.unit.client.virtual_time import in_virtual_time


def now() -> float:
    return asyncio.get_running_loop().time()


async def entered(lanes: Lanes, times: int) -> list[Place]:
    return [await lanes.enter() for _ in range(times)]


async def has_room(lanes: Lanes, seconds: float = 0.01) -> bool:
    """Tell whether a request would get a place within some time; it does not keep it."""
    try:
        async with asyncio.timeout(seconds):
            (await lanes.enter()).leave()
    except TimeoutError:
        return False
    return True


def test_the_numbers_are_as_documented():
    assert (QUICK, SLOW, PATIENCE) == (50, 150, 1)


@in_virtual_time
async def test_there_is_room_for_fifty():
    lanes = Lanes()
    await entered(lanes, 49)
    assert await has_room(lanes)
    await entered(lanes, 1)
    assert not await has_room(lanes)


@in_virtual_time
async def test_who_leaves_makes_room():
    lanes = Lanes()
    places = await entered(lanes, 50)
    places[7].leave()
    assert await has_room(lanes)


@in_virtual_time
async def test_a_slow_request_makes_room_after_a_second():
    lanes, began = Lanes(), now()
    await entered(lanes, 50)
    await entered(lanes, 1)
    assert now() == began + 1


@pytest.mark.parametrize("lasts", [0.5, 1.5, 3600], ids=["quick", "slow", "very slow"])
@in_virtual_time
async def test_room_comes_back_however_long_a_request_lasted(lasts):
    lanes = Lanes()
    for _ in range(2):
        places = await entered(lanes, 50)
        await asyncio.sleep(lasts)
        for place in places:
            place.leave()
    began = now()
    await entered(lanes, 200)
    assert now() == began + 3
    assert not await has_room(lanes, 60)


@in_virtual_time
async def test_one_behind_150_that_hang_waits_for_seconds_only():
    lanes, began = Lanes(), now()
    await entered(lanes, 150)
    await entered(lanes, 1)
    assert now() == began + 3


@in_virtual_time
async def test_there_are_never_more_than_200():
    lanes = Lanes()
    places = await entered(lanes, 200)
    assert not await has_room(lanes, 60)
    places[0].leave()  # a slow one: a quick one takes its place within a second, and makes room
    assert await has_room(lanes, 2 * PATIENCE)


@in_virtual_time
async def test_those_who_wait_enter_in_the_order_in_which_they_came():
    lanes, order = Lanes(), []
    places = await entered(lanes, 50)

    async def enter(number: int) -> None:
        await lanes.enter()
        order.append(number)

    waiting = [asyncio.create_task(enter(number)) for number in range(5)]
    await asyncio.sleep(0.1)
    for place in places[:5]:
        place.leave()
    await asyncio.gather(*waiting)
    assert order == [0, 1, 2, 3, 4]


@in_virtual_time
async def test_who_is_cancelled_while_he_waits_takes_no_room():
    lanes = Lanes()
    places = await entered(lanes, 50)
    waiting = [asyncio.create_task(lanes.enter()) for _ in range(20)]
    await asyncio.sleep(0.1)
    places[0].leave()  # one of them is called in the moment in which all are cancelled
    for task in waiting:
        task.cancel()
    ends = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(end) for end in ends} == {asyncio.CancelledError}
    assert await has_room(lanes)
    for place in places[1:]:
        place.leave()
    began = now()
    await entered(lanes, 50)
    assert now() == began
