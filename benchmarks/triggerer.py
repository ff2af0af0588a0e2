"""
One run of the whole lives of waits in Airflow's own triggerer, from the rows that it stores to the events.

``python -m benchmarks.triggerer KIND WORK CONTROL_PORT CORE`` does the work and prints its cost, both JSON.

A triggerer has two processes. The runner's is measured: it decrypts and deserialises the rows, makes the
triggers and runs them, asks the other for connections, and sends it its log, of level INFO, as JSON. The
other, the supervisor, writes that into a file for each trigger. Of both, only the database is left out: the
supervisor has the rows and the connection in its memory.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections import deque
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from uuid import UUID

from airflow.configuration import AIRFLOW_HOME
from airflow.executors.workloads.task import TaskInstanceDTO
from airflow.executors.workloads.trigger import RunTrigger
from airflow.jobs.triggerer_job_runner import (
    TriggerLoggingFactory,
    TriggerRunner,
    TriggerRunnerSupervisor,
)
from airflow.models.trigger import Trigger
from airflow.sdk.api.datamodels._generated import ConnectionResponse

from benchmarks.client import Meter, ask, cost, lift_bound, order, rss
from benchmarks.kinds import KINDS
from benchmarks.machine import SERVER_CORE
from benchmarks.work import Work

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.jobs.triggerer_job_runner import TriggerEventEntry

    from benchmarks.kinds import Kind

COST = Path(AIRFLOW_HOME, "cost.json")


class Events(deque["TriggerEventEntry"]):
    """The runner's queue of events, which notes when each came."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[float, TriggerEventEntry]] = []

    def append(self, entry: TriggerEventEntry) -> None:
        """Queue an event."""
        self.seen.append((time.monotonic(), entry))
        super().append(entry)


class Runner(TriggerRunner):
    """Airflow's runner of triggers; it stops when the work is done."""

    def __init__(self, kind: Kind, work: Work, control: int) -> None:
        super().__init__()
        self.kind, self.work, self.control = kind, work, control
        self.events = Events()
        self.unfinished = 0
        self.has_work = False

    def run(self) -> None:
        """Run, and write down what it cost."""
        super().run()
        fired: list[list[tuple[float, bool]]] = [[] for _ in range(self.work.waits)]
        for at, entry in self.events.seen[1:]:  # without the first wait's
            fired[entry.trigger_id - 1].append((at, self.kind.succeeded(entry.event.payload)))
        counts = ask(self.control, "/counts")
        COST.write_text(json.dumps(cost(self.work, counts, self.meter, self.began, self.rss_before, fired)))

    async def arun(self) -> None:
        """Run on an event loop."""
        async with Meter(self.work.meter_seconds) as self.meter:
            await super().arun()

    async def sync_state_to_supervisor(self, finished_ids: list[int]) -> None:
        """Exchange what has ended for what is to be begun."""
        if not self.has_work:
            gc.collect()
            self.meter.sample()
            self.began, self.rss_before = self.meter.times[-1], rss()
        await super().sync_state_to_supervisor(finished_ids)
        self.unfinished += len(self.to_create) - len(finished_ids)
        self.has_work |= len(self.to_create) > 0 and self.to_create[0].id == 1
        self.stop = self.has_work and not self.unfinished


class Connections:
    """What Airflow's API knows of connections: one. It counts how often that is looked up."""

    def __init__(self, conn_id: str, connection: dict[str, Any]) -> None:
        self.found = ConnectionResponse(**{"schema": None, "extra": None, "conn_id": conn_id, **connection})
        self.lookups = 0

    def get(self, conn_id: str) -> ConnectionResponse:
        """Look the connection up."""
        assert conn_id == self.found.conn_id
        self.lookups += 1
        return self.found


class Supervisor(TriggerRunnerSupervisor):
    """Airflow's supervisor of a runner, without a database."""

    connections: Connections
    kind: Kind

    def make_client(self) -> SimpleNamespace:
        """Return what answers in place of Airflow's API."""
        return SimpleNamespace(connections=self.connections)

    @classmethod
    def run_in_process(cls) -> None:
        """Be the runner, in a process of its own."""
        kind, work, control, core = arguments()
        os.sched_setaffinity(0, {core})
        lift_bound()
        Runner(kind, work, control).run()

    def take_up(self, numbers: Sequence[int], interval: float, first_id: int = 1) -> None:
        """Have the runner take up the rows of as many waits."""
        for trigger_id, number in enumerate(numbers, first_id):
            task = TaskInstanceDTO(
                id=UUID(int=trigger_id),
                dag_version_id=UUID(int=1),
                dag_id="a_dag_of_ours",
                task_id="wait_for_query",
                run_id="scheduled__2026-01-05T08:00:00+00:00",
                map_index=number,
                try_number=1,
                pool_slots=1,
                queue="default",
                priority_weight=1,
            )
            row = Trigger.encrypt_kwargs(self.kind.kwargs(number, interval))
            self.logger_cache[trigger_id] = TriggerLoggingFactory(log_path=f"{trigger_id}.log", ti=task)
            self.creating_triggers.append(
                RunTrigger(id=trigger_id, classpath=self.kind.trigger, encrypted_kwargs=row, ti=task)
            )

    def serve(self, until_events: int) -> None:
        """Serve the runner until it has sent so many events, or is gone and all its log is written."""
        while self._open_sockets and len(self.events) < until_events:
            self._service_subprocess(1)


def arguments() -> tuple[Kind, Work, int, int]:
    """Return what the command line says."""
    name, work, control, core = sys.argv[1:]
    return KINDS[name], Work(**json.loads(work)), int(control), int(core)


def main() -> None:
    """Run what the command line says."""
    kind, work, control, _ = arguments()
    os.environ["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "INFO"
    os.sched_setaffinity(0, {SERVER_CORE})
    connection = json.loads(os.environ.pop(f"AIRFLOW_CONN_{kind.conn_id.upper()}"))
    supervisor = Supervisor.start(capacity=work.waits)
    supervisor.kind, supervisor.connections = kind, Connections(kind.conn_id, connection)
    # One wait first, so that what is imported at first use costs no later one.
    order(control, Work(kind.service, waits=1, polls=2))
    supervisor.take_up([0], 0.01, first_id=work.waits + 1)
    supervisor.serve(until_events=1)
    order(control, work)
    supervisor.take_up(range(work.waits), work.interval)
    began = time.process_time()
    supervisor.serve(until_events=sys.maxsize)
    logs = Path(AIRFLOW_HOME, "logs").glob("*.log")
    result = {
        **json.loads(COST.read_text()),
        "connection_lookups": supervisor.connections.lookups,
        "log_lines_a_wait": sum(len(log.read_bytes().splitlines()) for log in logs) / (work.waits + 1),
        "supervisor_cpu_ms_a_poll": 1000 * (time.process_time() - began) / (work.waits * work.polls),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
