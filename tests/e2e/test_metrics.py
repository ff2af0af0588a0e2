"""Metrics of waits on a real Airflow, at a statsd server."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from airflow_provider_roe.testing import Fault, QueryPlan, RoeSimulator
from tests.e2e.running import Waits, are_waited_for, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from dev.local_airflow import LocalAirflow
    from tests.statsd import Statsd


def test_workers_and_triggerers_tell_of_their_waits(
    airflow: LocalAirflow, connect: Callable[..., None], statsd: Statsd
) -> None:
    with RoeSimulator(plan=QueryPlan([("STARTED", math.inf)])) as service:
        connect("roe_measured", service)
        statsd.received()
        service.add_fault(Fault(call="status", status_code=429, retry_after=1, times=4))
        waits = Waits(
            airflow, lambda _: [{"query_id": service.submit("SELECT 1"), "roe_conn_id": "roe_measured"}]
        )
        until(lambda: are_waited_for(service))
        watched = statsd.received()
        for query_id in service.queries:
            service.finish(query_id, "SUCCESS")
        assert {task["state"] for task in waits.ended().values()} == {"success"}
    assert watched["roe.waits"] == "1|g"
    assert watched["roe.requests"] == "1|c"
    assert watched["roe.failures"] == "1|c"
    assert watched["roe.held_back"].endswith("|ms")
    ended = statsd.received()
    assert ended["roe.waits"] == "0|g"
    assert 0 < float(ended["roe.wait.duration"].removesuffix("|ms")) < 600_000
    assert 0 < float(ended["roe.wait.lateness"].removesuffix("|ms")) < 600_000
