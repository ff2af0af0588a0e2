"""
One run: so many waits of one kind on one event loop, as a triggerer runs them.

``python -m benchmarks.client KIND WORK CONTROL_PORT CORE`` does the work and prints its cost, both as JSON.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import math
import os
import sys
import time
from array import array
from bisect import bisect_left
from pathlib import Path
from statistics import quantiles
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import greenback

from airflow_provider_roe.client import shared
from benchmarks.kinds import KINDS
from benchmarks.work import Work

if TYPE_CHECKING:
    from airflow.triggers.base import BaseTrigger, TriggerEvent

    from benchmarks.kinds import Kind

STATM = Path("/proc/self/statm")
PAGE = os.sysconf("SC_PAGE_SIZE")


class Meter:
    """Watches, while entered, what the process uses and how late the event loop is, again and again."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        # Arrays, for a meter must not grow much over a long run.
        self.lags = array("d")
        self.lag_times = array("d")
        self.times = array("d")
        self.cpu = array("d")
        self.rss = array("d")

    async def __aenter__(self) -> Meter:
        """Begin."""
        self._task = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        """End."""
        self._task.cancel()
        self.sample()

    async def _watch(self) -> None:
        while True:
            self.sample()
            due = time.monotonic() + self._seconds
            await asyncio.sleep(self._seconds)
            now = time.monotonic()
            self.lag_times.append(now)
            self.lags.append(now - due)

    def sample(self) -> None:
        """Take note of what the process uses now."""
        self.times.append(time.monotonic())
        self.cpu.append(time.process_time())
        self.rss.append(rss())

    def cpu_at(self, moment: float) -> float:
        """Return the CPU seconds used until a moment; between two samples it is on their line."""
        after = min(max(bisect_left(self.times, moment), 1), len(self.times) - 1)
        (t0, t1), (c0, c1) = self.times[after - 1 : after + 1], self.cpu[after - 1 : after + 1]
        return c0 + (c1 - c0) * (moment - t0) / (t1 - t0)


def lift_bound() -> None:
    """Let more polls be sent than a service is asked for: what one costs is measured at 1000 a second."""
    shared.MOST_A_SECOND = math.inf


async def run(kind: Kind, work: Work, control: int) -> dict[str, Any]:
    """Do the work and return what it cost."""
    trigger_class = kind.load()
    lift_bound()
    # One wait first, so that what is imported at first use costs no later one.
    order(control, Work(kind.service, waits=1, polls=2))
    await wait(kind, trigger_class(**kind.kwargs(0, 0.01)), [])
    gc.collect()
    rss_before = rss()
    order(control, work)
    fired: list[list[tuple[float, bool]]] = [[] for _ in range(work.waits)]
    async with Meter(work.meter_seconds) as meter:
        meter.sample()
        began = meter.times[-1]
        tasks = []
        for number, events in enumerate(fired):
            trigger = trigger_class(**kind.kwargs(number, work.interval))
            tasks.append(asyncio.create_task(wait(kind, trigger, events)))
            await asyncio.sleep(0)
        crashes = [e for e in await asyncio.gather(*tasks, return_exceptions=True) if e]
    return {
        "crashes": len(crashes),
        "crash": repr(crashes[0])[:300] if crashes else None,
        **cost(work, ask(control, "/counts"), meter, began, rss_before, fired),
    }


def cost(
    work: Work,
    counts: dict[str, Any],
    meter: Meter,
    began: float,
    rss_before: float,
    fired: list[list[tuple[float, bool]]],
) -> dict[str, Any]:
    """Return what work cost of which the meter has seen the end."""
    cpu = meter.cpu[-1] - meter.cpu_at(began)
    polls = sum(counts["polls"])
    # Something may have ended at any time since it was last said to run: as late as that an event can be.
    since_running = [late - work.interval for late in lateness(fired, counts["running_at"])]
    return {
        "polls_expected": work.waits * work.polls,
        "polls": polls,
        "requests": counts["requests"],
        "requests_unknown": counts["unknown"],
        "wrong_ends": wrong_ends(fired, counts["ended_at"]),
        "seconds": meter.times[-1] - began,
        "cpu_ms_a_poll_overall": 1000 * cpu / max(polls, 1),
        "handshakes": counts["handshakes"],
        "connections": counts["most_open"],
        "rss_kb_a_wait": (max(meter.rss) - rss_before) / 1024 / work.waits,
        "late_ms": spread(lateness(fired, counts["ended_at"])),
        "beyond_interval_ms": spread(since_running),
        **steady_state(work, meter, counts),
        "over_time": over_time(meter, began),
    }


async def wait(kind: Kind, trigger: BaseTrigger, events: list[tuple[float, bool]]) -> None:
    """Run a trigger as Airflow's triggerer does, and note when it fired and whether it told of a success."""
    await greenback.ensure_portal()  # the triggerer gives one to each trigger, and it has its cost
    event: TriggerEvent
    async for event in trigger.run():
        events.append((time.monotonic(), kind.succeeded(event.payload)))


def wrong_ends(fired: list[list[tuple[float, bool]]], ended_at: list[float | None]) -> int:
    """Count the waits that did not fire one event, of a success, after the server had said so."""
    right = (
        len(events) == 1 and events[0][1] and at is not None and events[0][0] >= at
        for events, at in zip(fired, ended_at, strict=True)
    )
    return sum(not is_right for is_right in right)


def lateness(fired: list[list[tuple[float, bool]]], answered_at: list[float | None]) -> list[float]:
    """Return the seconds from an answer about each wait's thing to the event that says that it has ended."""
    return [
        events[0][0] - at for events, at in zip(fired, answered_at, strict=True) if events and at is not None
    ]


def steady_state(work: Work, meter: Meter, counts: dict[str, Any]) -> dict[str, Any]:
    """Return what a poll costs once all waits are under way and before the first ends."""
    first, last = counts["steady_from"], counts["steady_until"]
    if not first or not last or last["polls"] == first["polls"]:
        return {"steady_seconds": 0}
    seconds, polls = last["time"] - first["time"], last["polls"] - first["polls"]
    cpu = meter.cpu_at(last["time"]) - meter.cpu_at(first["time"])
    lags = [
        lag
        for at, lag in zip(meter.lag_times, meter.lags, strict=True)
        if first["time"] <= at <= last["time"]
    ]
    return {
        "steady_seconds": seconds,
        "steady_polls": polls,
        "requests_a_round": (last["requests"] - first["requests"]) * work.waits / polls,
        "cpu_ms_a_poll": 1000 * cpu / polls,
        "cpu_share": cpu / seconds,
        "server_cpu_share": (last["cpu"] - first["cpu"]) / seconds,
        "steady_handshakes": last["handshakes"] - first["handshakes"],
        "lag_ms": spread(lags),
    }


def spread(seconds: list[float]) -> dict[str, float] | None:
    """Return median, 99th percentile and maximum in milliseconds."""
    if len(seconds) < 2:
        return None
    percentiles = quantiles(seconds, n=100, method="inclusive")
    return {"p50": 1000 * percentiles[49], "p99": 1000 * percentiles[98], "max": 1000 * max(seconds)}


def over_time(meter: Meter, began: float) -> list[tuple[float, float, float]]:
    """Return seconds, CPU seconds and RSS in MB at about a hundred moments."""
    step = max(len(meter.times) // 100, 1)
    return [
        (
            round(meter.times[i] - began, 2),
            round(meter.cpu[i] - meter.cpu[0], 3),
            round(meter.rss[i] / 2**20, 2),
        )
        for i in range(0, len(meter.times), step)
    ]


def rss() -> float:
    """Return the bytes of memory that this process has in RAM."""
    return int(STATM.read_bytes().split()[1]) * PAGE


def order(control: int, work: Work) -> None:
    """Tell the server what is to come."""
    ask(control, "/work", json.dumps(vars(work)).encode())


def ask(control: int, path: str, body: bytes | None = None) -> Any:
    """Call the server's control port."""
    with urlopen(f"http://127.0.0.1:{control}{path}", body) as answer:
        return json.load(answer)


def main() -> None:
    """Run what the command line says."""
    name, work, control, core = sys.argv[1:]
    os.sched_setaffinity(0, {int(core)})
    # So that all kinds log alike. At Airflow's default of INFO some log each poll, which costs them more.
    logging.disable(logging.INFO)
    result = asyncio.run(run(KINDS[name], Work(**json.loads(work)), int(control)))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
