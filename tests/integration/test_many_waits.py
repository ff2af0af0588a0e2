"""Hundreds of waits in one triggerer: none ends wrongly, and they share what one of them learns."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import random
import time
from bisect import bisect_right
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_roe.client import retry
from airflow_provider_roe.testing import Fault, QueryPlan
from airflow_provider_roe.triggers.roe import RoeQueryStatusTrigger
from tests.integration.running import only_event

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_roe.testing import RoeSimulator

RUNS = [("PENDING", 0.5), ("STARTED", 1.0)]
ENDS = {
    "success": QueryPlan(RUNS, ends_as="SUCCESS"),
    "failure": QueryPlan(RUNS, ends_as="FAILURE", error="Unknown table"),
    "retried": QueryPlan([*RUNS, ("RETRY", 0.5, "worker lost")], ends_as="SUCCESS"),
    "revoked": QueryPlan(RUNS, ends_as="REVOKED"),
    "an unknown end": QueryPlan(RUNS, ends_as="VANISHED"),
}
KINDS = {"success": "success", "retried": "success"}
TROUBLES: list[dict[str, Any]] = [
    {"status_code": 429, "retry_after": 0},
    {"status_code": 500},
    {"status_code": 502, "body": "<h1>Bad Gateway</h1>"},
    {"status_code": 503, "retry_after": 1},
    {"status_code": 203, "body": "<title>Log in</title>"},  # what a proxy says that changed the answer
    {"status_code": 203, "body": {"status": "SUCCESS"}},
    {"reset": "before"},
    {"reset": "body"},
    {"truncate": True},
    {"hang": True},
]


def mixed(share: float) -> Iterator[Fault]:
    """Yield faults that each meet an equal part of the requests, and together this share of them."""
    part = share / len(TROUBLES)
    for before, trouble in enumerate(TROUBLES):
        yield Fault(probability=part / (1 - before * part), **trouble)  # of those that the others left


async def test_500_waits_each_end_as_their_query_did_while_30_percent_of_all_calls_fail(
    roe, connect, monkeypatch, record_figure
):
    monkeypatch.setattr(retry, "_backoff", lambda _: random.uniform(0.2, 0.6))
    connect(roe, retry_window=120, request_timeout=2)
    roe.add_fault(*mixed(0.3))
    queries = [
        (roe.submit("SELECT 1", ENDS[end]), end) for end in itertools.islice(itertools.cycle(ENDS), 500)
    ]
    began = time.monotonic()
    events = await asyncio.gather(*(only_event(new_trigger(query_id)) for query_id, _ in queries))
    took = time.monotonic() - began
    wrong = [
        (end, event)
        for (query_id, end), event in zip(queries, events, strict=True)
        if event["outcome"] != KINDS.get(end, "failed") or query_id not in json.dumps(event)
    ]
    failed = sum(request.status_code != 200 for request in roe.requests)
    record_figure(
        f"500 waits, 30 % of all calls failing: {len(roe.requests)} requests, {failed} of them failed"
        f" ({failed / len(roe.requests):.0%}), {len(wrong)} ends wrong, {took:.1f} s"
    )
    assert wrong == []
    assert 0.25 < failed / len(roe.requests) < 0.37


async def test_a_rate_limit_is_shared_by_all_waits_of_a_connection(roe, connect, monkeypatch, record_figure):
    monkeypatch.setattr("airflow_provider_roe.triggers.roe.FIRST_POLL_SPREAD", 0.5)
    for number in range(200):
        connect(roe, f"roe_{number}", retry_window=60, verify=False)
    refused, together = await throttled(roe, ["roe_0"] * 200)
    refused_apart, apart = await throttled(roe, [f"roe_{number}" for number in range(200)])
    record_figure(
        "200 waits, 429 with the same moment to come back for all, 1 to 2 s later:"
        f" {refused} requests until then, up to {together} in any 0.5 s after it;"
        f" with a connection each {refused_apart} and {apart}"
    )
    assert refused_apart > 150  # each has to find out for itself
    assert refused < refused_apart / 2  # those that were under way already
    assert together < apart / 2


async def throttled(roe: RoeSimulator, conn_ids: list[str]) -> tuple[int, int]:
    """
    Let the service answer waits that go on with 429 and when to come back.

    Returns how many requests it got until then, and the most of them within half a second after that.
    """
    query_id = roe.submit("SELECT 1", QueryPlan([("STARTED", math.inf)]))
    waits = [
        asyncio.create_task(only_event(new_trigger(query_id, roe_conn_id=conn_id))) for conn_id in conn_ids
    ]
    async with asyncio.timeout(60):  # until each has its session and has polled
        while len(roe.requests_of("status", query_id)) < len(conn_ids):  # noqa: ASYNC110 - another thread's
            await asyncio.sleep(0.1)
    await asyncio.sleep(1)
    back = datetime.fromtimestamp(math.ceil(time.time()) + 1, UTC)  # the header has whole seconds
    began = datetime.now(UTC)
    roe.add_fault(
        Fault(query_id=query_id, status_code=429, retry_after=back, seconds=(back - began).total_seconds())
    )
    roe.finish(query_id, "SUCCESS")
    assert {event["outcome"] for event in await asyncio.gather(*waits)} == {"success"}
    requests = [request.received_at for request in roe.requests_of("status", query_id)]
    returns = [moment.timestamp() for moment in requests if moment >= back]
    peak = max(bisect_right(returns, moment + 0.5) - i for i, moment in enumerate(returns))
    return sum(began <= moment < back for moment in requests), peak


def new_trigger(query_id: str, **arguments: Any) -> RoeQueryStatusTrigger:
    return RoeQueryStatusTrigger(
        query_id=query_id,
        deferred_at=time.time(),
        started_at=time.time(),
        timeout=300,
        poke_interval=1,
        **arguments,
    )
