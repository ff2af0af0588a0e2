from __future__ import annotations

import json
import logging
import math
import os
import subprocess
import sys
import threading
import time
import traceback
from datetime import UTC, datetime, timedelta
from pathlib import Path
from pkgutil import resolve_name
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from airflow import __version__ as AIRFLOW_VERSION
from airflow.exceptions import AirflowRescheduleException
from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    TaskDeferred,
    timeout,
)

from airflow_provider_roe.client import blocking, client
from airflow_provider_roe.exceptions import (
    RoeAuthenticationError,
    RoeError,
    RoeInputError,
    RoeNotFoundError,
    RoeRequestError,
    RoeUnavailableError,
)
from airflow_provider_roe.sensors.roe import RoeQueryStatusSensor
from airflow_provider_roe.testing import Fault, QueryPlan
from airflow_provider_roe.waiting import task as waiting_task
from airflow_provider_roe.waiting.hand_over import HAND_OVER
from dev.patience import patient

if TYPE_CHECKING:
    from collections.abc import Callable

PROJECT = Path(__file__).parents[3]
QUERY = "7d9c3b1e-52f4-4a8d-9e60-1b7f2c4d8a35"
ORGANIZATION = "3f0c7a52-8d1e-4b6f-9a27-5c1b0e84d6f3"
SUCCESS = {"outcome": "success", "ended": {"query_id": QUERY, "status": "SUCCESS", "error": None}}
RUNS_ON = QueryPlan(statuses=[("STARTED", math.inf)])
FAILS = QueryPlan(statuses=(), ends_as="FAILURE", error="Unknown table")

FLAGS = {
    "plain": {},
    "soft_fail": {"soft_fail": True},
    "never_fail": {"never_fail": True},
    "silent_fail": {"silent_fail": True},
}


def new_sensor(query_id: Any = QUERY, **arguments: Any) -> RoeQueryStatusSensor:
    return RoeQueryStatusSensor(
        task_id="wait", query_id=query_id, **{"poke_interval": 0.05, "timeout": 30} | arguments
    )


def context(*, map_index: int = -1, started: float | None = None) -> Any:
    """Return as much of a task's context as the sensor looks at."""
    start = datetime.fromtimestamp(time.time() if started is None else started, UTC)
    ti = SimpleNamespace(map_index=map_index, start_date=start, get_first_reschedule_date=lambda _: start)
    vars(ti).update(dag_id="dag", task_id="wait", run_id="run", max_tries=0)  # for Airflow 2.11
    return {"ti": ti}


@pytest.fixture(autouse=True)
def _no_database_of_airflow_2(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Airflow 2.11 find that a task has not been rescheduled before."""
    if AIRFLOW_VERSION.startswith("2."):
        monkeypatch.setattr("airflow.sensors.base._orig_start_date", lambda **_: None)


class TestArguments:
    def test_only_the_query_is_required(self):
        sensor = RoeQueryStatusSensor(task_id="wait", query_id=QUERY)
        assert (sensor.roe_conn_id, sensor.organization_id, sensor.deferrable) == ("roe_default", None, False)
        assert (sensor.mode, sensor.poke_interval) == ("poke", 60)

    def test_what_names_the_query_is_templated(self):
        assert set(RoeQueryStatusSensor.template_fields) == {"query_id", "roe_conn_id", "organization_id"}

    def test_the_time_on_the_worker_may_be_a_timedelta(self):
        assert new_sensor(defer_after=timedelta(minutes=1)).defer_after == 60

    @pytest.mark.parametrize("defer_after", [-1, True, "10", timedelta(-1), math.nan], ids=repr)
    def test_another_time_on_the_worker_is_refused(self, defer_after):
        with pytest.raises(RoeInputError, match="defer_after must be a number of seconds or a timedelta"):
            new_sensor(defer_after=defer_after)

    @pytest.mark.parametrize("mode", ["poke", "reschedule"])
    def test_deferrable_wins_over_mode(self, mode):
        sensor = new_sensor(deferrable=True, mode=mode)
        assert (sensor.mode, sensor.reschedule) == ("poke", False)

    @pytest.mark.parametrize("mode", ["poke", "reschedule"])
    def test_mode_is_kept_otherwise(self, mode):
        assert new_sensor(mode=mode).mode == mode

    def test_airflow_s_setting_decides_whether_to_defer(self):
        code = (
            "from airflow_provider_roe.sensors.roe import RoeQueryStatusSensor;"
            "print('deferrable', RoeQueryStatusSensor(task_id='wait', query_id='x').deferrable)"
        )
        assert "deferrable True" in run(code, AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE="True")

    @pytest.mark.parametrize(
        ("arguments", "map_index", "seconds"),
        [
            ({"deferrable": True}, -1, 10),
            ({"deferrable": True}, None, 10),
            ({"deferrable": True}, 0, 0),
            ({"deferrable": True}, 7, 0),
            ({"deferrable": True, "defer_after": 3}, -1, 3),
            ({"deferrable": True, "defer_after": 3}, 7, 3),
            ({"deferrable": True, "defer_after": 0}, -1, 0),
            ({"defer_after": 3}, -1, math.inf),
        ],
    )
    def test_how_long_it_polls_on_the_worker(self, arguments, map_index, seconds):
        assert new_sensor(**arguments)._seconds_on_worker(context(map_index=map_index)) == seconds

    def test_the_hook_is_made_of_the_rendered_arguments(self):
        sensor = new_sensor(roe_conn_id="{{ conn }}")
        sensor.roe_conn_id, sensor.organization_id = "roe_tenant", ORGANIZATION
        assert (sensor.hook.roe_conn_id, sensor.hook.organization_id) == ("roe_tenant", ORGANIZATION)


class TestPokeMode:
    def test_a_query_that_ends_is_waited_for_and_returned(self, roe, connect):
        connect(roe)
        query = roe.submit("SELECT 1", RUNS_ON)

        def finish_later() -> None:
            while len(roe.requests) < 3:
                time.sleep(0.01)
            roe.finish(query, "SUCCESS")

        finishing = threading.Thread(target=finish_later, daemon=True)
        finishing.start()
        value = new_sensor(query).execute(context())
        finishing.join()
        assert list(value) == ["query_id", "status", "error", "created_at", "finished_at", "duration"]
        assert (value["query_id"], value["status"], value["error"]) == (query, "SUCCESS", None)
        assert json.loads(json.dumps(value)) == value

    @pytest.mark.parametrize(
        ("flags", "error"),
        [
            ("plain", AirflowFailException),
            ("soft_fail", AirflowSkipException),
            ("never_fail", AirflowSkipException),
            ("silent_fail", AirflowFailException),
        ],
    )
    @pytest.mark.parametrize("end", ["FAILURE", "REVOKED", "CANCELLED"])
    def test_a_query_that_failed(self, roe, connect, flags, error, end):
        connect(roe)
        query = roe.submit("SELECT 1", QueryPlan(statuses=(), ends_as=end, error="Unknown table"))
        with pytest.raises(error, match=f"{query} ended as {end}.*: Unknown table"):
            new_sensor(query, **FLAGS[flags]).execute(context())

    @pytest.mark.parametrize(
        ("flags", "error"),
        [
            ("plain", AirflowSensorTimeout),
            ("soft_fail", AirflowSkipException),
            ("never_fail", AirflowSkipException),
            ("silent_fail", AirflowSensorTimeout),
        ],
    )
    def test_a_query_that_runs_on_beyond_the_timeout(self, roe, connect, flags, error):
        connect(roe)
        with pytest.raises(error, match=r"is still STARTED after \d+\.\d s; the wait's timeout is 1 s"):
            new_sensor(roe.submit("SELECT 1", RUNS_ON), timeout=1, **FLAGS[flags]).execute(context())

    @pytest.mark.parametrize(
        ("code", "kind"),
        [
            (401, RoeAuthenticationError),
            (402, RoeRequestError),
            (403, RoeRequestError),
            (404, RoeNotFoundError),
            (503, RoeUnavailableError),
        ],
    )
    @pytest.mark.parametrize("flags", FLAGS)
    def test_roe_cannot_be_asked(self, roe, connect, flags, code, kind):
        connect(roe)
        roe.add_fault(Fault(status_code=code, times=1))
        sensor = new_sensor(roe.submit("SELECT 1"), **FLAGS[flags])
        if flags == "silent_fail":
            assert sensor.execute(context())["status"] == "SUCCESS"
            return
        with pytest.raises(AirflowSkipException if flags == "never_fail" else kind):
            sensor.execute(context())

    @pytest.mark.parametrize("query_id", ["", None, "None", "../x", [QUERY]], ids=repr)
    def test_a_query_id_that_is_none_fails_before_any_request(self, roe, connect, query_id):
        connect(roe)
        with pytest.raises(RoeInputError, match="query_id must be a UUID"):
            new_sensor(query_id).execute(context())
        assert roe.requests == []

    def test_retrying_within_a_poll_does_not_carry_it_past_its_timeout(self, roe, connect):
        connect(roe, retry_window=300)
        roe.add_fault(Fault(status_code=503))
        began = time.monotonic()
        with pytest.raises(AirflowSensorTimeout, match=r"Last error: .* 503"):
            new_sensor(timeout=1).execute(context())
        assert time.monotonic() - began < patient(10)


class TestRescheduleMode:
    @pytest.fixture
    def sensor(self, roe, connect) -> RoeQueryStatusSensor:
        connect(roe)
        return new_sensor(roe.submit("SELECT 1", RUNS_ON), mode="reschedule", poke_interval=60, timeout=300)

    def interval(self, sensor: RoeQueryStatusSensor, started: float) -> float:
        assert not sensor.poke(context(started=started))
        return sensor._get_next_poke_interval(started, lambda: time.time() - started, 1)

    @pytest.mark.parametrize(("elapsed", "expected"), [(0, HAND_OVER), (100, 25), (200, 50), (250, 60)])
    def test_polls_are_a_quarter_of_the_time_waited_apart_at_most_the_poke_interval(
        self, sensor, elapsed, expected
    ):
        sensor.timeout = 3600
        assert self.interval(sensor, time.time() - elapsed) == pytest.approx(expected, abs=1)

    def test_with_exponential_backoff_they_are_airflow_s_own(self, sensor):
        sensor.exponential_backoff = True
        assert self.interval(sensor, time.time() - 10) > HAND_OVER

    def test_the_last_poll_is_at_the_deadline(self, sensor):
        assert self.interval(sensor, time.time() - 270) == pytest.approx(30, abs=1)

    @pytest.mark.parametrize(("poke_interval", "left"), [(0.1, 300), (60, 1)])
    def test_no_two_polls_are_closer_than_airflow_needs_to_see_the_task_leave(
        self, sensor, poke_interval, left
    ):
        sensor.poke_interval = poke_interval
        assert self.interval(sensor, time.time() - 300 + left) == HAND_OVER

    def test_the_timeout_counts_from_the_first_poll_in_whichever_process(self, sensor):
        with pytest.raises(AirflowSensorTimeout, match=r"is still STARTED after 5 minutes"):
            sensor.poke(context(started=time.time() - 300))

    def test_a_query_that_ended_since_is_returned(self, sensor, roe):
        assert not sensor.poke(context())
        roe.finish(sensor.query_id, "SUCCESS")
        assert sensor.poke(context(started=time.time() - 9999)).xcom_value["status"] == "SUCCESS"


def deferral(sensor: RoeQueryStatusSensor, **arguments: Any) -> TaskDeferred:
    with pytest.raises(TaskDeferred) as e:
        sensor.execute(context(**arguments))
    return e.value


class TestDeferring:
    def test_a_query_that_ends_soon_is_not_deferred(self, roe, connect):
        connect(roe)
        query = roe.submit("SELECT 1", QueryPlan(statuses=[("STARTED", 0.2)], ends_as="SUCCESS"))
        assert new_sensor(query, deferrable=True).execute(context())["status"] == "SUCCESS"

    def test_one_that_lasts_is_handed_to_the_trigger_with_all_it_needs(self, roe, connect):
        connect(roe)
        sensor = new_sensor(
            roe.submit("SELECT 1", RUNS_ON),
            deferrable=True,
            defer_after=0,
            organization_id=roe.organization_id,
            timeout=300,
            exponential_backoff=True,
            max_wait=timedelta(minutes=5),
            silent_fail=True,
        )
        handed = deferral(sensor)
        path, kwargs = handed.trigger.serialize()
        assert path == "airflow_provider_roe.triggers.roe.RoeQueryStatusTrigger"
        assert kwargs.pop("started_at") == pytest.approx(time.time(), abs=5)
        assert kwargs.pop("deferred_at") == pytest.approx(time.time(), abs=5)
        assert kwargs.pop("hand_over") in (0, 15)  # tests/unit/waiting/test_hand_over.py
        assert kwargs == {
            "roe_conn_id": "roe_default",
            "organization_id": roe.organization_id,
            "query_id": sensor.query_id,
            "timeout": 300.0,
            "poke_interval": 0.05,
            "exponential_backoff": True,
            "max_wait": 300.0,
            "silent_fail": True,
            "retry_window": 0.0,
        }
        assert handed.method_name == "execute_complete"

    @pytest.mark.parametrize("kind", [str, UUID])
    def test_what_is_handed_over_is_plain_json_and_holds_no_secret(self, roe, connect, kind):
        connect(roe)
        sensor = new_sensor(kind(roe.submit("SELECT 1", RUNS_ON)), deferrable=True, defer_after=0)
        stored = json.dumps(deferral(sensor).trigger.serialize())
        assert roe.api_key not in stored

    @pytest.mark.parametrize(
        ("arguments", "map_index", "requests"),
        [({"defer_after": 0}, -1, 1), ({}, 3, 1), ({"defer_after": 2}, -1, 2)],
        ids=["at once", "mapped", "after 2 s"],
    )
    def test_it_polls_on_the_worker_first(self, roe, connect, arguments, map_index, requests):
        connect(roe)
        began = time.monotonic()
        deferral(
            new_sensor(roe.submit("SELECT 1", RUNS_ON), deferrable=True, **arguments), map_index=map_index
        )
        assert time.monotonic() - began < patient(10)
        assert (len(roe.requests) == 1) == (requests == 1)
        assert len(roe.requests) >= requests

    @pytest.mark.parametrize(
        ("arguments", "seconds"),
        [({"timeout": 300}, 600), ({"timeout": 300, "execution_timeout": timedelta(seconds=100)}, 100)],
        ids=["timeout", "execution_timeout"],
    )
    def test_the_deferral_itself_ends_some_time_after_the_wait(self, roe, connect, arguments, seconds):
        connect(roe)
        sensor = new_sensor(roe.submit("SELECT 1", RUNS_ON), deferrable=True, defer_after=0, **arguments)
        assert deferral(sensor).timeout.total_seconds() == pytest.approx(seconds, abs=5)

    @pytest.mark.parametrize("defer_after", [0, 0.3])
    def test_an_outage_does_not_hold_the_worker_but_is_left_to_the_trigger(self, roe, connect, defer_after):
        connect(roe, retry_window=60)
        query = roe.submit("SELECT 1", RUNS_ON)
        roe.add_fault(Fault(status_code=503))
        began = time.monotonic()
        deferral(new_sensor(query, deferrable=True, defer_after=defer_after))
        assert time.monotonic() - began < patient(10)

    def test_an_outage_longer_than_the_window_ends_the_wait_on_the_worker_too(self, roe, connect):
        connect(roe, retry_window=0.1)
        query = roe.submit("SELECT 1", RUNS_ON)
        roe.add_fault(Fault(status_code=503))
        with pytest.raises(RoeUnavailableError):
            new_sensor(query, deferrable=True).execute(context())

    def test_a_timeout_shorter_than_the_time_on_the_worker_is_kept_to(self, roe, connect):
        connect(roe)
        with pytest.raises(AirflowSensorTimeout):
            new_sensor(roe.submit("SELECT 1", RUNS_ON), deferrable=True, timeout=0.2).execute(context())


class TestAWaitWithoutEnd:
    """``timeout=timedelta.max``, which Airflow's own sensors take."""

    @pytest.fixture
    def sensor(self, roe, connect) -> Callable[..., RoeQueryStatusSensor]:
        connect(roe)

        def sensor(plan: QueryPlan, **mode: Any) -> RoeQueryStatusSensor:
            return new_sensor(roe.submit("SELECT 1", plan), timeout=timedelta.max, **mode)

        return sensor

    @pytest.mark.parametrize(
        "mode", [{}, {"mode": "reschedule"}, {"deferrable": True}, {"exponential_backoff": True}], ids=str
    )
    def test_it_polls_and_ends(self, sensor, mode, caplog, monkeypatch):
        caplog.set_level(logging.INFO)
        monkeypatch.setattr(RoeQueryStatusSensor, "log", logging.getLogger("roe.tests"))
        assert sensor(QueryPlan(statuses=(), ends_as="SUCCESS"), **mode).execute(context())
        assert any("for at most 100 years" in message for message in caplog.messages)

    def test_it_reschedules_itself(self, sensor):
        with pytest.raises(AirflowRescheduleException) as e:
            sensor(RUNS_ON, mode="reschedule").execute(context())
        assert e.value.reschedule_date.year < 2100

    @pytest.mark.parametrize("limit", [{}, {"execution_timeout": timedelta.max}], ids=str)
    def test_it_defers(self, sensor, limit):
        handed = deferral(sensor(RUNS_ON, deferrable=True, defer_after=0, **limit))
        path, kwargs = handed.trigger.serialize()
        assert resolve_name(path)(**json.loads(json.dumps(kwargs))).serialize() == (path, kwargs)
        assert handed.timeout > timedelta(days=36500)
        assert datetime.now(UTC) + handed.timeout < datetime.max.replace(tzinfo=UTC)

    def test_a_deferral_that_broke_off_is_looked_at(self, sensor):
        waits = sensor(RUNS_ON, deferrable=True)
        with pytest.raises(RoeError, match="The trigger of this wait failed"):
            waits.resume_execution("__fail__", {"error": "Trigger failure"}, context())


ERRORS = [
    RoeError,
    RoeInputError,
    RoeRequestError,
    RoeAuthenticationError,
    RoeNotFoundError,
    RoeUnavailableError,
]
ODD_EVENTS = [
    None,
    {},
    [],
    "success",
    True,
    {"outcome": "success"},
    {"outcome": "success", "ended": None},
    {"outcome": "success", "ended": {}},
    {"outcome": "success", "ended": {"query_id": None, "status": "SUCCESS"}},
    {"outcome": "SUCCESS", "ended": SUCCESS["ended"]},
    {"outcome": "done", "message": "x"},
    {"outcome": "failed"},
    {"outcome": "timeout", "message": None},
    {"outcome": "error", "message": "x"},
    {"status": "success"},
]


@pytest.mark.parametrize("flags", FLAGS)
class TestAfterTheTrigger:
    def complete(self, flags: str, event: Any) -> Any:
        sensor = new_sensor(deferrable=True, **FLAGS[flags])
        return sensor.resume_execution("execute_complete", {"event": event}, context())

    def test_success_returns_the_query(self, flags):
        assert self.complete(flags, SUCCESS) == SUCCESS["ended"]

    def test_a_failed_query(self, flags):
        expected = AirflowSkipException if flags in ("soft_fail", "never_fail") else AirflowFailException
        with pytest.raises(expected, match=r"^the reason$"):
            self.complete(flags, {"outcome": "failed", "message": "the reason"})

    def test_a_timeout(self, flags):
        expected = AirflowSkipException if flags in ("soft_fail", "never_fail") else AirflowSensorTimeout
        with pytest.raises(expected, match=r"^the reason$"):
            self.complete(flags, {"outcome": "timeout", "message": "the reason"})

    @pytest.mark.parametrize("error", ERRORS)
    def test_an_error_is_raised_as_what_it_was(self, flags, error):
        expected = AirflowSkipException if flags == "never_fail" else error
        with pytest.raises(expected, match=r"^the reason$") as e:
            self.complete(flags, {"outcome": "error", "error": error.__name__, "message": "the reason"})
        assert type(e.value) is expected

    @pytest.mark.parametrize("name", ["KeyError", "annotations", "", "__name__"])
    def test_an_error_of_unknown_kind_is_one_all_the_same(self, flags, name):
        with pytest.raises(AirflowSkipException if flags == "never_fail" else RoeError, match="the reason"):
            self.complete(flags, {"outcome": "error", "error": name, "message": "the reason"})

    @pytest.mark.parametrize("event", ODD_EVENTS, ids=repr)
    def test_an_event_that_is_not_understood_is_never_a_success(self, flags, event):
        with pytest.raises(
            AirflowSkipException if flags == "never_fail" else RoeError, match="not understood"
        ):
            self.complete(flags, event)


@pytest.mark.parametrize(
    ("flags", "ends_as"),
    [
        ("plain", AirflowTaskTimeout),
        ("soft_fail", AirflowSkipException),
        ("never_fail", AirflowSkipException),
        ("silent_fail", AirflowTaskTimeout),
    ],
)
class TestExecutionTimeout:
    """Airflow ends a task then with an exception of its own, wherever it is."""

    @pytest.fixture
    def sensor(self, roe, connect, flags) -> Callable[..., RoeQueryStatusSensor]:
        connect(roe, retry_window=60)

        def sensor(**arguments: Any) -> RoeQueryStatusSensor:
            query = roe.submit("SELECT 1", RUNS_ON)
            limit = {"execution_timeout": timedelta(seconds=1)}
            return new_sensor(query, **limit | FLAGS[flags] | arguments)

        return sensor

    @pytest.fixture
    def over(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any, str], None]:
        """Return a function that lets the time be over as soon as something is called."""

        def over(where: Any, name: str) -> None:
            def end(*_: Any, **__: Any) -> None:
                raise AirflowTaskTimeout("Timeout")

            monkeypatch.setattr(where, name, end)

        return over

    @pytest.mark.parametrize("mode", [{}, {"mode": "reschedule"}, {"deferrable": True}], ids=str)
    @pytest.mark.parametrize(
        "during",
        [(blocking, "send"), (client, "look_up")],
        ids=["a request", "the look-up of the connection"],
    )
    def test_on_the_worker(self, sensor, over, ends_as, mode, during):
        over(*during)
        with pytest.raises(ends_as):
            sensor(**mode).execute(context())

    @pytest.mark.parametrize("mode", [{}, {"deferrable": True}], ids=str)
    def test_between_two_polls(self, sensor, over, ends_as, mode):
        over(time, "sleep")
        with pytest.raises(ends_as):
            sensor(**mode).execute(context())

    @pytest.mark.parametrize("mode", [{}, {"deferrable": True}], ids=str)
    def test_by_airflow_s_own_alarm(self, sensor, ends_as, mode):
        with pytest.raises(ends_as), timeout(0.5):
            sensor(**mode).execute(context())

    def test_deferred(self, sensor, ends_as):
        handed = sensor(deferrable=True)
        with pytest.raises(ends_as, match="execution_timeout of 0:00:01 is over"):
            handed.resume_execution(
                "__fail__", {"error": "Trigger timeout"}, context(started=time.time() - 2)
            )

    def test_on_the_worker_after_a_deferral(self, sensor, over, ends_as):
        handed = sensor(deferrable=True)
        over(blocking, "send")
        with pytest.raises(ends_as):
            handed.resume_execution("__fail__", {"error": "Trigger failure"}, context())


class TestBrokenOffDeferral:
    """Airflow resumes a task so when its trigger failed, or when the deferral lasted too long."""

    @pytest.fixture
    def resume(self, roe, connect) -> Callable[..., Any]:
        connect(roe)

        def resume(plan: QueryPlan | None = None, *, started: float | None = None, **arguments: Any) -> Any:
            sensor = new_sensor(roe.submit("SELECT 1", plan), deferrable=True, **arguments)
            return sensor.resume_execution("__fail__", {"error": "Trigger failure"}, context(started=started))

        return resume

    def test_the_query_is_looked_at_once_before_giving_up(self, roe, resume):
        assert resume()["status"] == "SUCCESS"
        assert len(roe.requests) == 1

    def test_a_failed_query_is_one(self, resume):
        with pytest.raises(AirflowFailException, match="Unknown table"):
            resume(FAILS)

    def test_a_query_that_still_runs_is_an_error_that_says_where_to_look(self, resume):
        with pytest.raises(
            RoeError, match=r"The trigger of this wait failed \(Trigger failure\).*triggerer's log"
        ):
            resume(RUNS_ON)

    @pytest.mark.parametrize(
        ("flags", "error"),
        [
            ("plain", AirflowSensorTimeout),
            ("soft_fail", AirflowSkipException),
            ("never_fail", AirflowSkipException),
            ("silent_fail", AirflowSensorTimeout),
        ],
    )
    def test_a_wait_whose_time_is_up_is_a_timeout(self, resume, flags, error):
        with pytest.raises(error, match="is still STARTED"):
            resume(RUNS_ON, started=time.time() - 999, **FLAGS[flags])

    def test_the_task_s_execution_timeout_is_told_as_such(self, resume):
        with pytest.raises(AirflowTaskTimeout, match="execution_timeout of 0:01:40 is over"):
            resume(started=time.time() - 101, timeout=9999, execution_timeout=timedelta(seconds=100))

    def test_a_service_that_is_out_is_an_error(self, roe, resume):
        roe.add_fault(Fault(status_code=503))
        with pytest.raises(RoeUnavailableError, match="503"):
            resume(RUNS_ON)


def run(code: str, **variables: str) -> str:
    """Return what code prints in a fresh interpreter."""
    ran = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=PROJECT,
        env=os.environ | variables,
    )
    return ran.stdout


@pytest.mark.parametrize(
    "end",
    [
        lambda sensor: sensor.execute(context()),
        lambda sensor: sensor.resume_execution(
            "execute_complete", {"event": {"outcome": "failed", "message": "x"}}, context()
        ),
    ],
    ids=["while polling", "after the trigger"],
)
def test_the_traceback_of_a_failed_query_leads_nobody_through_internals(roe, connect, end):
    connect(roe)
    with pytest.raises(AirflowFailException) as e:
        end(new_sensor(roe.submit("SELECT 1", FAILS)))
    trace = traceback.extract_tb(e.value.__traceback__)
    ours = [frame.name for frame in trace if "airflow_provider_roe" in frame.filename]
    assert ours
    assert not [name for name in ours if name.startswith("_")]
    assert e.value.__cause__ is e.value.__context__ is None


def test_the_time_on_the_worker_and_the_grace_of_the_trigger_are_as_documented():
    assert (waiting_task.DEFER_AFTER, waiting_task.TRIGGER_GRACE) == (10, 300)
