"""A service that is out for minutes, and one whose API key is rotated, while tasks wait in every mode."""

from __future__ import annotations

import math
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from airflow_provider_roe.testing import QueryPlan, RoeSimulator
from dev.patience import patient
from tests.e2e.running import MODES, Waits, are_waited_for, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dev.local_airflow import LocalAirflow
    from tests.e2e.conftest import Outage

    Task = dict[str, Any]


@pytest.fixture(scope="module")
def tasks(outage: Outage) -> dict[tuple[str, int], Task]:
    """The waits through the outage, by mode and index."""
    return outage.waits.ended()


class TestOutageOfFourMinutes:
    @pytest.mark.parametrize("mode", MODES)
    def test_the_wait_goes_on(
        self,
        outage: Outage,
        tasks: dict[tuple[str, int], Task],
        mode: str,
        record_figure: Callable[[str], None],
    ) -> None:
        task = tasks[mode, 0]
        assert (task["state"], task["try_number"]) == ("success", 1), outage.waits.log(mode, 0)
        delay = (datetime.fromisoformat(task["end_date"]) - outage.ends_at).total_seconds()
        record_figure(f"service out for 4 minutes, {mode}: went on {delay:.1f} s after its end")
        assert 0 < delay < patient(120)

    @pytest.mark.parametrize("mode", MODES)
    def test_one_whose_window_is_shorter_fails_and_says_why_how_long_and_how_often_it_tried(
        self, outage: Outage, tasks: dict[tuple[str, int], Task], mode: str
    ) -> None:
        log = outage.waits.log(mode, 1)
        assert tasks[mode, 1]["state"] == "failed", log
        assert re.search(r"nothing listens at .* Gave up after \d+ attempts in 6\d s\.", log), log


class Rotation(NamedTuple):
    waits: Waits
    service: RoeSimulator
    query_ids: dict[tuple[str, int], str]


@pytest.fixture(scope="module")
def rotation(airflow: LocalAirflow, connect: Callable[..., None]) -> Iterator[Rotation]:
    """Two waits in each mode whose key is rotated; the connection of the first is told the new one."""
    with RoeSimulator(plan=QueryPlan([("STARTED", math.inf)])) as service:
        connect("roe_rotated", service)
        connect("roe_stale", service)
        query_ids = {(mode, index): service.submit("SELECT 1") for mode in MODES for index in (0, 1)}
        waits = Waits(
            airflow,
            lambda mode: [
                {"query_id": query_ids[mode, index], "roe_conn_id": conn_id}
                for index, conn_id in enumerate(("roe_rotated", "roe_stale"))
            ],
        )
        until(lambda: are_waited_for(service))
        new_key = "roe-new-8Tq4Zw1Lp6"
        change = {"connection_id": "roe_rotated", "conn_type": "roe", "password": new_key}
        airflow.api("PATCH", "connections/roe_rotated?update_mask=password", json=change)
        service.rotate_key(new_key)
        service.requests.clear()
        until(lambda: are_waited_for_with(service, new_key))
        for query_id in query_ids.values():
            service.finish(query_id, "SUCCESS")
        waits.ended()
        yield Rotation(waits, service, query_ids)


class TestRotatedKey:
    @pytest.mark.parametrize("mode", MODES)
    def test_the_connection_is_read_again_and_the_wait_goes_on(self, rotation: Rotation, mode: str) -> None:
        waits, service, query_ids = rotation
        assert waits.tasks()[mode, 0]["state"] == "success", waits.log(mode, 0)
        codes = [request.status_code for request in service.requests_of("status", query_ids[mode, 0])]
        # Each process that reschedules reads the connection anyway.
        assert codes.count(401) == (0 if mode == "reschedule" else 1)

    @pytest.mark.parametrize("mode", MODES)
    def test_a_key_that_stays_wrong_is_refused_once_and_named(self, rotation: Rotation, mode: str) -> None:
        waits, service, query_ids = rotation
        log = waits.log(mode, 1)
        assert waits.tasks()[mode, 1]["state"] == "failed", log
        assert "Roe did not accept the API key: check the connection's API Key (password)." in log
        codes = [request.status_code for request in service.requests_of("status", query_ids[mode, 1])]
        assert codes == [401]


def are_waited_for_with(service: RoeSimulator, key: str) -> bool:
    """Tell whether a wait in each mode asks with this key."""
    asked = {r.query_id for r in service.requests_of("status") if r.headers["Authorization"].endswith(key)}
    return len(asked) == len(MODES)
