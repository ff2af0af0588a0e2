"""
Tells what Airflow's scheduler makes of a task that is back before it has heard that its process has ended.

Runs as a process, in an empty Airflow home and with the executor of Airflow's configuration, and writes the
answer to the file that is its argument. The scheduler's and the executor's own code run, on a real database;
played are the API server, the triggerer, and workers, which hold each process until they are told to end it.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from airflow.cli import cli_parser
from airflow.configuration import conf
from airflow.executors import local_executor
from airflow.executors.base_executor import BaseExecutor, RunningRetryAttemptType
from airflow.jobs.job import Job
from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.models.trigger import Trigger
from airflow.triggers.base import TriggerEvent
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState, TaskInstanceState

from dev.patience import patient

if TYPE_CHECKING:
    from collections.abc import Callable

#: Where a task is when its scheduler hears of the end of its first process: not queued yet, in the executor's
#: queue, dropped from there because the executor has waited 10 s for that end, at a worker, or begun
PLACES = ("scheduled", "in the queue", "given up", "at a worker", "running")
#: How it got there
WAYS = ("deferral", "reschedule")

TASKS = {(way, place): f"{way}-{number}" for way in WAYS for number, place in enumerate(PLACES)}

DAG_FILE = f"""
from airflow.providers.common.compat.sdk import DAG, BaseOperator

with DAG("waits", schedule=None, is_paused_upon_creation=False):
    for task_id in {list(TASKS.values())}:
        BaseOperator(task_id=task_id)
"""


class LocalWorkers:
    """The executor's own processes, with something else than a task to run."""

    def __init__(self, executor: BaseExecutor) -> None:
        multiprocessing.set_start_method("fork", force=True)
        begun, may_end = multiprocessing.Value("i"), multiprocessing.Value("i")

        def hold(*_: object, **__: object) -> TaskInstanceState:
            with begun.get_lock():
                begun.value += 1
                mine = begun.value
            until(lambda: may_end.value >= mine)
            return TaskInstanceState.SUCCESS

        runs_a_task = [
            (BaseExecutor, "run_workload"),
            (local_executor, "_execute_work"),  # before Airflow 3.3
            (getattr(local_executor, "LocalWorkerBase", None), "_execute_work_in_fork"),  # Airflow 2
        ]
        for owner, name in runs_a_task:
            if hasattr(owner, name):
                setattr(owner, name, hold)
        executor.start()
        while len(executor.workers) < 2:  # Airflow 3.0 starts another only for two that wait
            executor._spawn_worker()
        self.executor, self.begun, self.may_end = executor, begun, may_end

    def take(self, number: int) -> None:
        until(lambda: self.begun.value == number)

    def end_one(self) -> None:
        self.may_end.value += 1
        until(lambda: not self.executor.result_queue.empty())

    def close(self) -> None:
        self.may_end.value = self.begun.value
        self.executor.end()


class CeleryWorkers:
    """What Celery's workers do to its broker, which is in memory, and to where it looks for results."""

    def __init__(self, executor: BaseExecutor) -> None:
        from airflow.providers.celery.executors.celery_executor_utils import app

        executor.start()
        self.executor, self.app = executor, app
        self.taken: list[str] = []
        self.ended = 0

    def take(self, number: int) -> None:
        with self.app.connection_for_read() as connection:
            message = connection.default_channel.basic_get("default", no_ack=True)
        self.taken.append(message.headers["id"])
        assert len(self.taken) == number

    def end_one(self) -> None:
        self.app.backend.store_result(self.taken[self.ended], None, "SUCCESS")
        self.ended += 1

    def close(self) -> None:
        self.executor.end()


class Scheduler:
    """One scheduler, whose executor has workers, and which hears of an end when it is told to."""

    def __init__(self) -> None:
        job = Job(job_type=SchedulerJobRunner.job_type)
        self.runner = SchedulerJobRunner(job)
        with create_session() as session:
            session.add(job)
            session.commit()
            self.job_id = job.id
        (self.executor,) = getattr(self.runner, "executors", None) or job.executors
        self.executor.job_id = self.job_id
        workers = {"LocalExecutor": LocalWorkers, "CeleryExecutor": CeleryWorkers}
        self.workers = workers[type(self.executor).__name__](self.executor)
        self.sent = self.ended = 0

    def queue(self) -> None:
        with create_session() as session:
            assert self.runner._critical_section_enqueue_task_instances(session) == 1

    def send(self) -> bool:
        """Have the queued task taken by a worker, unless the executor holds it back."""
        self.executor.heartbeat()
        if self.executor.queued_tasks:
            return False
        self.sent += 1
        self.workers.take(self.sent)
        self.executor.heartbeat()
        self.process_events()
        return True

    def bring_to(self, place: str) -> bool:
        """Bring the scheduled task to a place; tell whether it got there."""
        self.queue()
        if place == "in the queue":
            return bool(self.executor.queued_tasks) or not self.send()
        sent = self.send()
        if place == "given up":
            RunningRetryAttemptType.MIN_SECONDS = 0  # instead of 10
            while self.executor.queued_tasks:
                self.executor.heartbeat()
            RunningRetryAttemptType.MIN_SECONDS = 10
            return not sent
        return sent

    def process_events(self) -> None:
        with create_session() as session:
            self.runner._process_executor_events(executor=self.executor, session=session)

    def hear_of_an_end(self) -> None:
        self.workers.end_one()
        self.ended += 1
        self.executor.sync()
        self.process_events()


def come_back(scheduler: Scheduler, way: str, place: str) -> str:
    """Tell what becomes of a task: ``safe``, ``killed``, or ``never`` if it cannot be in that place."""
    task_id = TASKS[way, place]
    set_task(task_id, state=TaskInstanceState.SCHEDULED, try_number=1)
    scheduler.queue()
    assert scheduler.send()
    set_task(task_id, state=TaskInstanceState.RUNNING)
    if way == "deferral":
        defer_and_fire(task_id)
    else:
        set_task(task_id, state=TaskInstanceState.UP_FOR_RESCHEDULE)
        set_task(task_id, state=TaskInstanceState.SCHEDULED)
    if place != "scheduled" and not scheduler.bring_to(place):
        return "never"
    if place == "running":
        set_task(task_id, state=TaskInstanceState.RUNNING)
    before = state_of(task_id)
    scheduler.hear_of_an_end()
    after = state_of(task_id)
    return {before: "safe", TaskInstanceState.FAILED: "killed"}[after]


def clean_up(scheduler: Scheduler, task_id: str) -> None:
    """Let all end that the task has begun, so that the next task finds nothing of it."""
    set_task(task_id, state=TaskInstanceState.SUCCESS)
    while scheduler.ended < scheduler.sent or scheduler.executor.queued_tasks:
        if scheduler.ended < scheduler.sent:
            scheduler.hear_of_an_end()
        if scheduler.executor.queued_tasks:
            scheduler.send()
    assert not scheduler.executor.running


def defer_and_fire(task_id: str) -> None:
    """Defer a task as its API server does, and let its trigger fire as a triggerer does."""
    with create_session() as session:
        trigger = Trigger(classpath="a.Trigger", kwargs={})
        session.add(trigger)
        session.flush()
        trigger_id = trigger.id
    set_task(
        task_id,
        state=TaskInstanceState.DEFERRED,
        trigger_id=trigger_id,
        next_method="execute_complete",
        next_kwargs={},
    )
    with create_session() as session:
        Trigger.submit_event(trigger_id, TriggerEvent("done"), session=session)
    assert state_of(task_id) == TaskInstanceState.SCHEDULED


def set_task(task_id: str, **values: object) -> None:
    with create_session() as session:
        ti = session.query(TaskInstance).filter_by(task_id=task_id).one()
        for name, value in values.items():
            setattr(ti, name, value)


def state_of(task_id: str) -> TaskInstanceState:
    with create_session() as session:
        return TaskInstanceState(session.query(TaskInstance.state).filter_by(task_id=task_id).scalar())


def until(condition: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + patient(60)
    while not condition():
        assert time.monotonic() < give_up_at
        time.sleep(0.005)


def start_run() -> None:
    """Make a database with a run of the DAG, as a user and the scheduler do."""
    dags = Path(conf.get("core", "dags_folder"))
    dags.mkdir()
    (dags / "waits.py").write_text(DAG_FILE)
    parser = cli_parser.get_parser()
    for command in ("db migrate", "dags reserialize", "dags trigger waits"):
        arguments = parser.parse_args(command.split())
        arguments.func(arguments)
    with create_session() as session:
        (run,) = session.query(DagRun)
        run.state, run.start_date = DagRunState.RUNNING, datetime.now(UTC)


if __name__ == "__main__":
    start_run()
    scheduler = Scheduler()
    outcomes: dict[str, dict[str, str]] = {way: {} for way in WAYS}
    try:
        for way, place in TASKS:
            outcomes[way][place] = come_back(scheduler, way, place)
            clean_up(scheduler, TASKS[way, place])
    finally:
        scheduler.workers.close()
    Path(sys.argv[1]).write_text(json.dumps(outcomes))
