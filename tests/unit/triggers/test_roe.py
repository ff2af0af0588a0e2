from __future__ import annotations

import asyncio
import json
import logging
import math
import time
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

import pytest
from airflow.triggers.base import BaseTrigger

from airflow_provider_roe.testing import Fault, QueryPlan
from airflow_provider_roe.triggers import _waiting as module
from airflow_provider_roe.triggers.roe import RoeQueryStatusTrigger
from airflow_provider_roe.waiting.hand_over import HAND_OVER
from dev.public_api import STORED_TRIGGERS

if TYPE_CHECKING:
    from collections.abc import Callable

QUERY = "7d9c3b1e-52f4-4a8d-9e60-1b7f2c4d8a35"
ORGANIZATION = "3f0c7a52-8d1e-4b6f-9a27-5c1b0e84d6f3"
RUNS_ON = QueryPlan(statuses=[("STARTED", math.inf)])
FAILS = QueryPlan(statuses=(), ends_as="FAILURE", error="Unknown table")


@pytest.fixture
def new_trigger(roe, connect) -> Callable[..., RoeQueryStatusTrigger]:
    """Return a function that makes a trigger which began to wait just now at the simulator."""
    connect(roe)

    def new_trigger(plan: QueryPlan | None = None, **arguments: Any) -> RoeQueryStatusTrigger:
        query_id = roe.submit("SELECT 1", plan)
        now = time.time()
        times = {"deferred_at": now, "started_at": now, "timeout": 60.0, "poke_interval": 0.05}
        defaults = {"query_id": query_id, "hand_over": 0.0} | times
        return RoeQueryStatusTrigger(**defaults | arguments)

    return new_trigger


async def events_of(trigger: RoeQueryStatusTrigger) -> list[Any]:
    return [event.payload async for event in trigger.run()]


async def event_of(trigger: RoeQueryStatusTrigger) -> Any:
    (event,) = await events_of(trigger)
    assert json.loads(json.dumps(event)) == event
    return event


class TestWhatIsStored:
    @pytest.mark.parametrize(
        "arguments",
        [
            {},
            {
                "roe_conn_id": "roe_tenant",
                "organization_id": ORGANIZATION,
                "poke_interval": 30.0,
                "exponential_backoff": True,
                "max_wait": 600.0,
                "silent_fail": True,
            },
        ],
        ids=["defaults", "all"],
    )
    def test_the_trigger_can_be_made_anew_from_plain_json(self, arguments):
        trigger = RoeQueryStatusTrigger(
            query_id=QUERY, deferred_at=1772366410.5, started_at=1772366400.5, timeout=60.0, **arguments
        )
        path, kwargs = trigger.serialize()
        assert path == f"{RoeQueryStatusTrigger.__module__}.{RoeQueryStatusTrigger.__name__}"
        copy = RoeQueryStatusTrigger(**json.loads(json.dumps(kwargs)))
        assert copy.serialize() == (path, kwargs)
        assert kwargs.items() >= arguments.items()

    def test_there_are_ids_and_numbers_only(self, roe, new_trigger):
        trigger = new_trigger()
        stored = json.dumps(trigger.serialize())
        assert roe.api_key not in stored
        assert roe.url not in stored
        assert all(isinstance(value, str | float | bool | None) for value in trigger.serialize()[1].values())

    async def test_it_does_not_change_while_the_trigger_runs(self, new_trigger):
        trigger = new_trigger()
        before = trigger.serialize()
        await event_of(trigger)
        assert trigger.serialize() == before

    @pytest.mark.parametrize(
        "stored",
        sorted((STORED_TRIGGERS / "RoeQueryStatusTrigger").glob("*.json")),
        ids=lambda path: path.stem,
    )
    async def test_what_a_release_has_stored_still_runs(self, stored, roe, connect):
        connect(roe)
        trigger = json.loads(stored.read_text())
        now = {"query_id": roe.submit("SELECT 1"), "deferred_at": time.time(), "started_at": time.time()}
        assert now.keys() <= trigger["kwargs"].keys()
        now |= {"hand_over": 0, "organization_id": roe.organization_id}
        event = await event_of(resolve_name(trigger["classpath"])(**trigger["kwargs"] | now))
        assert event["ended"]["query_id"] == now["query_id"]


class TestEvents:
    async def test_success(self, new_trigger):
        trigger = new_trigger(QueryPlan(statuses=[("STARTED", 0.1)], ends_as="SUCCESS"))
        event = await event_of(trigger)
        assert event["outcome"] == "success"
        assert (event["ended"]["query_id"], event["ended"]["status"]) == (trigger.query_id, "SUCCESS")
        assert 0.05 < event["ended"]["duration"] < 5

    async def test_failure(self, new_trigger):
        event = await event_of(new_trigger(FAILS))
        assert event["outcome"] == "failed"
        assert "Unknown table" in event["message"]

    async def test_timeout(self, new_trigger):
        began = time.monotonic()
        event = await event_of(new_trigger(RUNS_ON, timeout=0.3))
        assert event["outcome"] == "timeout"
        assert "is still STARTED" in event["message"]
        assert 0.25 < time.monotonic() - began < 10

    @pytest.mark.parametrize(
        ("arguments", "name"),
        [
            ({"query_id": QUERY}, "RoeNotFoundError"),
            ({"query_id": "../x"}, "RoeInputError"),
            ({"query_id": None}, "RoeInputError"),
            ({"organization_id": QUERY}, "RoeRequestError"),
            ({"organization_id": "acme"}, "RoeInputError"),
            ({"roe_conn_id": "roe_nowhere"}, "RoeNoConnectionError"),
        ],
        ids=repr,
    )
    async def test_error_with_the_name_of_its_kind(self, new_trigger, arguments, name):
        event = await event_of(new_trigger(**arguments))
        assert (event["outcome"], event["error"]) == ("error", name)

    async def test_an_outage_longer_than_the_window(self, roe, new_trigger):
        roe.add_fault(Fault(status_code=503))
        event = await event_of(new_trigger())
        assert (event["outcome"], event["error"]) == ("error", "RoeUnavailableError")
        assert "was answered with 503" in event["message"]

    async def test_an_internal_error_is_an_event_and_not_raised(self, new_trigger, monkeypatch):
        def broken(*_: Any) -> None:
            raise KeyError("a bug")

        trigger = new_trigger()
        monkeypatch.setattr(trigger.wait, "saw", broken)
        assert await event_of(trigger) == {
            "outcome": "error",
            "error": "RoeError",
            "message": "The wait broke off in the triggerer: KeyError: 'a bug'",
        }

    async def test_being_cancelled_is_no_event_and_leaves_nothing_open(self, new_trigger, none_open):
        task = asyncio.create_task(events_of(new_trigger(RUNS_ON)))
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await none_open()


class TestWaiting:
    async def test_a_query_that_finished_while_the_triggerer_was_down_is_a_success(self, roe, new_trigger):
        event = await event_of(new_trigger(started_at=time.time() - 7200, timeout=3600.0))
        assert event["outcome"] == "success"
        assert len(roe.requests) == 1

    async def test_a_passed_deadline_is_a_timeout_only_after_one_more_poll(self, roe, new_trigger):
        event = await event_of(new_trigger(RUNS_ON, started_at=time.time() - 7200, timeout=3600.0))
        assert event["outcome"] == "timeout"
        assert len(roe.requests) == 1

    async def test_a_service_that_is_out_at_the_deadline_is_asked_once(self, roe, connect, new_trigger):
        connect(roe, retry_window=300)
        roe.add_fault(Fault(status_code=503))
        event = await event_of(new_trigger(started_at=time.time() - 7200, timeout=3600.0))
        assert event["outcome"] == "timeout"
        assert "Last error: " in event["message"]
        assert len(roe.requests) == 1

    async def test_a_transient_error_within_the_window_is_waited_out(self, roe, connect, new_trigger):
        connect(roe, retry_window=1)
        roe.add_fault(Fault(status_code=503, times=1))
        assert (await event_of(new_trigger()))["outcome"] == "success"

    async def test_with_silent_fail_it_waits_on_whatever_the_error(self, roe, new_trigger):
        roe.add_fault(*(Fault(status_code=code, times=1) for code in (401, 403, 404, 500)))
        event = await event_of(new_trigger(silent_fail=True))
        assert event["outcome"] == "success"
        assert [request.status_code for request in roe.requests] == [401, 403, 404, 500, 200]

    async def test_a_key_that_is_rotated_does_not_end_the_wait(self, roe, connect, new_trigger, asked):
        trigger = new_trigger(RUNS_ON)
        waiting = asyncio.create_task(event_of(trigger))
        await asked(1)
        roe.rotate_key("the-new-key")
        connect(roe)
        await asked(1, code=401)
        roe.finish(trigger.query_id, "SUCCESS")
        assert (await waiting)["outcome"] == "success"

    async def test_many_polls_use_one_tcp_connection_and_leave_none_open(
        self, roe, new_trigger, asked, none_open
    ):
        trigger = new_trigger(RUNS_ON)
        waiting = asyncio.create_task(event_of(trigger))
        await asked(4)
        roe.finish(trigger.query_id, "SUCCESS")
        await waiting
        assert roe.connections == 1
        assert await none_open()

    async def test_many_waits_each_fire_once(self, roe, new_trigger):
        triggers = [new_trigger(QueryPlan(statuses=[("STARTED", 0.2)], ends_as="SUCCESS")) for _ in range(50)]
        events = await asyncio.gather(*(event_of(trigger) for trigger in triggers))
        assert [event["ended"]["query_id"] for event in events] == [t.query_id for t in triggers]
        assert roe.connections <= 50


class TestTheConnection:
    """It is looked up where the trigger runs, and may not be found for a while."""

    @pytest.fixture(autouse=True)
    def _log_to_caplog(self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
        # Airflow's own loggers write past it.
        caplog.set_level(logging.INFO)
        monkeypatch.setattr(RoeQueryStatusTrigger, "log", logging.getLogger("roe.tests"))

    def gone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("AIRFLOW_CONN_ROE_DEFAULT")

    async def test_one_that_the_task_has_seen_is_waited_for_and_that_is_told_once(
        self, roe, connect, new_trigger, monkeypatch, caplog
    ):
        triggers = [new_trigger(retry_window=30.0) for _ in range(3)]
        self.gone(monkeypatch)
        waiting = [asyncio.create_task(event_of(trigger)) for trigger in triggers]
        await asyncio.sleep(1)
        assert not any(wait.done() for wait in waiting)
        connect(roe)
        assert [event["outcome"] for event in await asyncio.gather(*waiting)] == ["success"] * 3
        told = [message for message in caplog.messages if "does not find connection" in message]
        assert len(told) == 3  # once by each

    async def test_for_its_window_and_no_longer(self, new_trigger, monkeypatch):
        trigger = new_trigger(retry_window=1.0)
        self.gone(monkeypatch)
        began = time.monotonic()
        event = await event_of(trigger)
        assert (event["outcome"], event["error"]) == ("error", "RoeUnavailableError")
        assert "Gave up after" in event["message"]
        assert "set it where the triggerer runs, too" in event["message"]
        assert time.monotonic() - began >= 1

    async def test_nor_beyond_the_wait_s_timeout(self, new_trigger, monkeypatch):
        trigger = new_trigger(retry_window=300.0, timeout=1.0)
        self.gone(monkeypatch)
        event = await event_of(trigger)
        assert event["outcome"] == "timeout"
        assert "does not find connection" in event["message"]

    async def test_one_that_the_task_has_not_seen_is_an_input_error_at_once(self, new_trigger, monkeypatch):
        trigger = new_trigger()
        self.gone(monkeypatch)
        began = time.monotonic()
        event = await event_of(trigger)
        assert (event["outcome"], event["error"]) == ("error", "RoeNoConnectionError")
        assert "Airflow has no connection 'roe_default'" in event["message"]
        assert time.monotonic() - began < 15

    async def test_it_is_looked_up_once_for_hundreds_of_waits(self, roe, connect, new_trigger, look_ups):
        connect(roe, request_timeout=60)
        ends = QueryPlan(statuses=[("STARTED", 1)], ends_as="SUCCESS")
        triggers = [new_trigger(ends, retry_window=30.0, poke_interval=1.0) for _ in range(300)]
        events = await asyncio.gather(*(event_of(trigger) for trigger in triggers))
        assert {event["outcome"] for event in events} == {"success"}
        assert look_ups == ["roe_default"]

    async def test_and_once_more_where_all_of_them_meet_a_key_that_was_rotated(
        self, roe, connect, new_trigger, look_ups, asked
    ):
        connect(roe, request_timeout=60)
        ends = QueryPlan(statuses=[("STARTED", 1)], ends_as="SUCCESS")
        triggers = [new_trigger(ends, retry_window=30.0, poke_interval=1.0) for _ in range(300)]
        waiting = [asyncio.create_task(event_of(trigger)) for trigger in triggers]
        await asked(1)
        roe.rotate_key("the-new-key")
        connect(roe, request_timeout=60)
        events = await asyncio.gather(*waiting)
        assert {event["outcome"] for event in events} == {"success"}
        assert len(look_ups) == 2
        assert 401 in {request.status_code for request in roe.requests}

    async def test_hundreds_of_waits_look_it_up_once_a_second_while_it_is_not_found(
        self, roe, connect, new_trigger, monkeypatch, look_ups
    ):
        triggers = [new_trigger(retry_window=60.0) for _ in range(300)]
        self.gone(monkeypatch)
        waiting = [asyncio.create_task(event_of(trigger)) for trigger in triggers]
        began = time.monotonic()
        await asyncio.sleep(3)
        connect(roe, request_timeout=60)
        events = await asyncio.gather(*waiting)
        assert {event["outcome"] for event in events} == {"success"}
        assert 2 <= len(look_ups) <= time.monotonic() - began + 2

    async def test_one_that_is_gone_later_is_done_without(
        self, roe, connect, new_trigger, monkeypatch, look_ups, asked, caplog
    ):
        monkeypatch.setattr("airflow_provider_roe.client.shared.RENEW_AFTER", 0.2)
        trigger = new_trigger(RUNS_ON, retry_window=30.0)
        waiting = asyncio.create_task(event_of(trigger))
        await asked(1)
        self.gone(monkeypatch)
        async with asyncio.timeout(30):
            while len(look_ups) < 2:  # noqa: ASYNC110 - nobody tells of a look-up
                await asyncio.sleep(0.01)
        roe.finish(trigger.query_id, "SUCCESS")
        assert (await waiting)["outcome"] == "success"
        assert sum("Going on with what the connection said before" in text for text in caplog.messages) == 1


class TestTheLog:
    @pytest.fixture(autouse=True)
    def _log_to_caplog(self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
        # Airflow's own loggers write past it.
        caplog.set_level(logging.INFO)
        monkeypatch.setattr(RoeQueryStatusTrigger, "log", logging.getLogger("roe.tests"))

    async def test_whatever_roe_says_each_entry_is_one_line(self, roe, new_trigger, asked, caplog):
        said = "worker\nlost\r\n\x1b[31mTraceback:\u2028" + "x\n" * 2000
        trigger = new_trigger(QueryPlan(statuses=[("RETRY", math.inf, said)]))
        waiting = asyncio.create_task(event_of(trigger))
        await asked(2)
        roe.finish(trigger.query_id, "FAILURE", said)
        event = await waiting
        assert event["outcome"] == "failed"
        assert any("Roe says of status RETRY: worker lost" in text for text in caplog.messages)
        assert all(len(text.splitlines()) == 1 for text in [*caplog.messages, event["message"]])
        assert max(len(text) for text in caplog.messages) < 2500


class TestFirstPoll:
    @pytest.fixture
    def slept(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        slept = []

        async def sleep(seconds: float) -> None:
            slept.append(seconds)

        monkeypatch.setattr(module.asyncio, "sleep", sleep)
        return slept

    async def test_it_comes_at_once_where_the_task_may_come_back_at_once(self, new_trigger, slept):
        await event_of(new_trigger(hand_over=0))
        assert slept == [0]

    @pytest.mark.parametrize(
        ("deferred", "expected"),
        [(-3600, 0), (-HAND_OVER, 0), (-5, HAND_OVER - 5), (0, HAND_OVER), (3600, HAND_OVER)],
        ids=["long ago", "long enough ago", "5 s ago", "now", "by a clock that is ahead"],
    )
    async def test_elsewhere_when_the_worker_has_surely_exited(
        self, new_trigger, slept, monkeypatch, deferred, expected
    ):
        monkeypatch.setattr(module, "STARTED_AT", time.time() - 7200)
        await event_of(new_trigger(deferred_at=time.time() + deferred, hand_over=HAND_OVER))
        assert slept[0] == pytest.approx(expected, abs=1)

    async def test_it_comes_at_once_though_the_triggerer_took_an_hour_to_take_it_up(
        self, new_trigger, slept, monkeypatch
    ):
        monkeypatch.setattr(module, "STARTED_AT", time.time() - 7200)
        an_hour_ago = {"deferred_at": time.time() - 3600, "started_at": time.time() - 3600}
        await event_of(new_trigger(**an_hour_ago, poke_interval=60.0, timeout=7200.0))
        assert slept == [0]

    async def test_a_triggerer_that_starts_spreads_the_polls_of_its_waits_over_their_interval(
        self, new_trigger, slept
    ):
        an_hour_ago = {"deferred_at": time.time() - 3600, "started_at": time.time() - 3600}
        for _ in range(20):
            await event_of(new_trigger(**an_hour_ago, poke_interval=60.0, timeout=7200.0))
        assert 30 < max(slept) <= 60
        assert min(slept) < 30

    def test_a_triggerer_knows_when_it_started(self):
        assert time.time() - 3600 < module.STARTED_AT < time.time()


def test_it_uses_nothing_that_the_oldest_airflow_lacks():
    assert issubclass(RoeQueryStatusTrigger, BaseTrigger)
    assert {name for name in vars(RoeQueryStatusTrigger) if not name.startswith("_")} == {"serialize"}
