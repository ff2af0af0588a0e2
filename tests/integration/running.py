"""Runs waits as a worker, a scheduler and a triggerer do, without their processes."""

from __future__ import annotations

import asyncio
import json
import threading
import time
import traceback
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.exceptions import AirflowRescheduleException
from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferred,
)

from airflow_provider_roe.exceptions import RoeError
from tests.integration.things import QUERY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager

    from airflow.triggers.base import BaseTrigger

    from airflow_provider_roe.testing import RoeSimulator
    from tests.integration.things import Thing

MODES = {
    "poke": {},
    "reschedule": {"mode": "reschedule"},
    "deferrable": {"deferrable": True, "defer_after": 0},
}
each_mode = pytest.mark.parametrize("mode", MODES)

KINDS = {
    AirflowFailException: "failed",
    AirflowSensorTimeout: "timeout",
    AirflowSkipException: "skipped",
    RoeError: "error",
}


@dataclass(frozen=True)
class Ending:
    """
    How a wait ended.

    :param kind: ``success``, ``failed`` (the query did), ``timeout``, ``error`` (Roe could not be asked) or
        ``skipped``.
    :param value: What the task returned.
    :param error: What it raised.
    """

    kind: str
    value: Any = None
    error: Exception | None = None

    @property
    def message(self) -> str:
        return str(self.error or self.value)

    @property
    def printed(self) -> str:
        """All that is printed of an error anywhere."""
        return f"{self.error} {self.error!r} {''.join(traceback.format_exception(self.error))}"


def ending(thing_id: Any, mode: str, thing: Thing = QUERY, **arguments: Any) -> Ending:
    """Wait for something in a mode and tell how that ended."""
    try:
        return Ending("success", wait(thing_id, thing, **MODES[mode] | arguments))
    except tuple(KINDS) as e:
        return Ending(next(kind for error, kind in KINDS.items() if isinstance(e, error)), error=e)


def wait(thing_id: Any, thing: Thing = QUERY, **arguments: Any) -> Any:
    """Run a sensor to its end, each time anew as Airflow does, and return what it returns."""
    arguments = {"poke_interval": 0.05, "timeout": 60} | arguments
    began = datetime.now(UTC)
    ti = SimpleNamespace(map_index=-1, start_date=began, get_first_reschedule_date=lambda _: began)
    # Airflow 2.11 asks its database for that date: tests/integration/conftest.py
    vars(ti).update(dag_id="dag", task_id="wait", run_id=began.isoformat(), max_tries=0)
    while True:
        sensor = thing.sensor(thing_id, **arguments)
        try:
            return sensor.execute({"ti": ti})
        except AirflowRescheduleException as e:
            time.sleep(max((e.reschedule_date - datetime.now(UTC)).total_seconds(), 0))
        except TaskDeferred as deferral:
            path, kwargs = as_stored(deferral.trigger.serialize())
            assert path.endswith(thing.trigger.__name__)
            event = as_stored(asyncio.run(only_event(thing.trigger(**kwargs))))
            sensor = thing.sensor(thing_id, **arguments)
            return sensor.resume_execution(deferral.method_name, {"event": event}, {"ti": ti})


def as_stored(value: Any) -> Any:
    """Return what is left of a value that went through the database."""
    return json.loads(json.dumps(value))


async def only_event(trigger: BaseTrigger) -> Any:
    (event,) = [event.payload async for event in trigger.run()]
    return event


def midway(
    roe: RoeSimulator, thing_ids: Iterable[str], act: Callable[[], None], thing: Thing = QUERY
) -> AbstractContextManager[None]:
    """Act within the block as soon as each of what is waited for has been seen to run."""
    return once(lambda: thing.answered(roe) >= set(thing_ids), act)


@contextmanager
def once(condition: Callable[[], bool], act: Callable[[], None]) -> Iterator[None]:
    """Act within the block as soon as a condition holds."""
    gone = threading.Event()

    def watch() -> None:
        while not condition():
            if gone.wait(0.005):
                return
        act()

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    try:
        yield
    finally:
        gone.set()
        watching.join()
