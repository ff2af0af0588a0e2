"""Waits on CeleryExecutor, with two workers and two triggerers, of which parts are killed."""

from __future__ import annotations

import json
import math
import re
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psutil
import pytest

from airflow_provider_roe.testing import JobPlan, QueryPlan, RoeSimulator
from dev import local_postgres, local_redis
from dev.local_celery import LocalAirflowOnCelery
from tests.e2e.running import until
from tests.e2e.test_operator import pids_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dev.processes import Component

pytestmark = pytest.mark.skipif(
    not (local_postgres.AVAILABLE and local_redis.AVAILABLE),
    reason="needs servers of PostgreSQL and Redis: install them (Debian: postgresql, redis-server)",
)

SENSORS = {
    f"{mode}_{end}": end
    for mode in ("poke", "reschedule", "deferrable")
    for end in ("success", "failure", "revoked")
}
OPERATORS = ("rows", "rows_deferred", "file", "file_deferred", "killed")
AGENTS = ("agents", "agents_deferred")
#: Roe's code for a job that has succeeded
SUCCESS = 3
#: What the triggerers have
DEFERRED = [name for name in (*SENSORS, *OPERATORS, *AGENTS) if "defer" in name]
TRIGGERERS = ("triggerer", "triggerer-2")
#: How the scheduler tells of a task that it takes for crashed
CRASHED = re.compile(r"reported that the task instance <TaskInstance: (\S+) .* state attribute is")


@pytest.fixture(scope="module")
def roe() -> Iterator[RoeSimulator]:
    """A simulator whose queries and jobs end when they are told to."""
    with RoeSimulator(plan=QueryPlan([("STARTED", math.inf)])) as roe:
        roe.job_plan = JobPlan([(1, math.inf)])
        yield roe


@pytest.fixture(scope="module")
def airflow(roe: RoeSimulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAirflowOnCelery]:
    """An Airflow all of whose parts have a connection, and the workers another."""
    with local_postgres.LocalPostgres() as postgres, local_redis.LocalRedis() as redis:
        airflow = LocalAirflowOnCelery(
            tmp_path_factory.mktemp("airflow"),
            Path(__file__).with_name("dags"),
            sql_alchemy_conn=postgres.sql_alchemy_conn,
            broker_url=redis.url,
            triggerers=2,
            start_timeout=300,
            env={
                "AIRFLOW_CONN_ROE_DEFAULT": roe.connection_uri,
                "AIRFLOW__CELERY__WORKER_CONCURRENCY": "6",
                "AIRFLOW__CORE__PARALLELISM": "12",
            },
            worker_env={"AIRFLOW_CONN_ROE_ON_WORKERS": f"{roe.connection_uri}?retry_window=3"},
        )
        with airflow:
            yield airflow


class Run:
    """A run of all kinds of tasks, during which a worker's child and a triggerer are killed."""

    def __init__(self, airflow: LocalAirflowOnCelery, roe: RoeSimulator, folder: Path) -> None:
        self.airflow, self.roe, self.folder = airflow, roe, folder
        airflow.wait_for_dag("everything")
        conf = {name: roe.submit(f"SELECT '{name}'") for name in SENSORS}
        conf |= {"agent_id": roe.agent_id, "folder": str(folder)}
        self.began = time.monotonic()
        self.run_id = airflow.trigger("everything", conf)
        until(self.is_all_waited_for, timeout=240)
        self.kill_the_child_of_a_worker()
        self.kill_a_triggerer()
        self.finish(*(name for name, end in SENSORS.items() if end == "success"))
        until(lambda: max(map(self.pause, DEFERRED)) < math.inf)
        until(self.is_tried_again)
        self.finish(*(name for name, end in SENSORS.items() if end != "success"), *OPERATORS)
        for job_id in self.jobs():
            roe.finish_job(job_id, SUCCESS)
        airflow.wait_for_run("everything", self.run_id, timeout=240)
        self.seconds = time.monotonic() - self.began
        found = airflow.task_instances("everything", self.run_id)
        self.tasks = {task["task_id"]: (task["state"], task["try_number"]) for task in found}

    def query_ids(self, name: str) -> list[str]:
        """Return the queries of a task, which have its name in them."""
        return [query.id for query in list(self.roe.queries.values()) if f"'{name}'" in query.sql]

    def jobs(self) -> dict[str, tuple[str, str]]:
        """Return task and input of each job."""
        jobs = list(self.roe.jobs.values())
        return {job.id: (job.inputs["task"], job.inputs["document"]) for job in jobs}

    def polls(self, name: str) -> list[datetime]:
        """Return when a task's query or jobs were asked for."""
        jobs = [job_id for job_id, (task, _) in self.jobs().items() if task == name]
        wanted = {*self.query_ids(name), *jobs}
        requests = [*self.roe.requests_of("status"), *self.roe.requests_of("job_statuses")]
        return [each.received_at for each in requests if wanted & {each.query_id, *each.job_ids}]

    def is_all_waited_for(self) -> bool:
        """Tell whether each query and job was polled twice: on a worker, and where its wait goes on."""
        return all(len(self.polls(name)) > 1 for name in (*SENSORS, *OPERATORS, *AGENTS))

    def kill_the_child_of_a_worker(self) -> None:
        """Kill the process of a worker's pool that has a task, whose own process is left behind."""
        task = self.task("killed")
        [pid] = pids_of(task)
        child = psutil.Process(pid).parent()
        assert any(child in self.airflow.component(worker).processes() for worker in self.airflow.workers)
        child.kill()
        until(lambda: not pids_of(task))

    def kill_a_triggerer(self) -> None:
        """Kill one that polls; and start it again, as a supervisor does in production."""
        victim = next(filter(self.is_polling, map(self.airflow.component, TRIGGERERS)))
        self.killed_at = datetime.now(UTC)
        victim.kill()
        victim.start()

    def is_polling(self, component: Component) -> bool:
        """Tell whether a component has a connection to the service."""
        connections = (each for process in component.processes() for each in process.net_connections())
        return any(each.raddr and each.raddr.port == urlsplit(self.roe.url).port for each in connections)

    def pause(self, name: str) -> float:
        """Return the seconds from the triggerer's death to a task's next poll; inf while there is none."""
        since = ((at - self.killed_at).total_seconds() for at in self.polls(name))
        return min((seconds for seconds in since if seconds > 0), default=math.inf)

    def finish(self, *names: str) -> None:
        """End queries as their tasks' names say."""
        for name in names:
            for query_id in self.query_ids(name):
                self.roe.finish(query_id, SENSORS.get(name, "success").upper())

    def is_tried_again(self) -> bool:
        task = self.task("killed")
        return bool(task["state"] == "running" and task["try_number"] == 2)

    def task(self, name: str) -> dict[str, Any]:
        path = f"dags/everything/dagRuns/{self.run_id}/taskInstances/{name}"
        return dict(self.airflow.api("GET", path))

    def value(self, name: str) -> Any:
        return self.airflow.xcom("everything", self.run_id, name)


@pytest.fixture(scope="module")
def run(airflow: LocalAirflowOnCelery, roe: RoeSimulator, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(airflow, roe, tmp_path_factory.mktemp("files"))


def scheduler_log(airflow: LocalAirflowOnCelery) -> str:
    return airflow.component("scheduler").log_file.read_text()


def test_each_task_ends_as_its_query_did_and_only_the_killed_one_is_tried_again(run: Run) -> None:
    expected = {name: ("success" if end == "success" else "failed", 1) for name, end in SENSORS.items()}
    expected |= dict.fromkeys((*OPERATORS, *AGENTS), ("success", 1))
    assert run.tasks == expected | {"killed": ("success", 2)}


def test_each_query_is_submitted_once_and_each_job_started_once(run: Run, roe: RoeSimulator) -> None:
    assert {name: len(run.query_ids(name)) for name in OPERATORS} == dict.fromkeys(OPERATORS, 1)
    assert len(roe.requests_of("submit")) == len(OPERATORS)
    assert sorted(run.jobs().values()) == sorted((task, document) for task in AGENTS for document in "abc")


@pytest.mark.parametrize("name", ["rows", "rows_deferred", "killed"])
def test_an_operator_returns_its_rows(run: Run, name: str) -> None:
    assert run.value(name) == [{"task": name, "number": 7}]


@pytest.mark.parametrize("name", ["file", "file_deferred"])
def test_an_operator_leaves_its_file(run: Run, name: str) -> None:
    assert json.loads((run.folder / f"{name}.jsonl").read_text()) == {"task": name, "number": 7}


@pytest.mark.parametrize("name", AGENTS)
def test_an_agents_outputs_are_in_the_order_of_its_inputs(run: Run, name: str) -> None:
    assert [each["inputs"]["document"] for each in run.value(name)] == list("abc")


def test_the_waits_of_the_killed_triggerer_go_on_in_another(run: Run) -> None:
    assert max(map(run.pause, DEFERRED)) > 15


def test_the_scheduler_takes_no_task_for_crashed_but_the_killed_one(
    run: Run, airflow: LocalAirflowOnCelery, record_figure: Callable[[str], None]
) -> None:
    tries = sum(tried for _, tried in run.tasks.values())
    record_figure(
        f"CeleryExecutor, a worker's child and a triggerer killed: {len(run.tasks)} tasks, {tries} tries,"
        f" {len(run.roe.requests_of('submit'))} submits, {len(run.jobs())} jobs in {run.seconds:.0f} s;"
        f" longest pause of polls {max(map(run.pause, DEFERRED)):.0f} s"
    )
    crashed = CRASHED.findall(scheduler_log(airflow))
    assert [name for name in crashed if name.startswith("everything.")] == ["everything.killed"]


def test_of_many_that_defer_and_come_back_at_once_none_fails(
    airflow: LocalAirflowOnCelery, roe: RoeSimulator, record_figure: Callable[[str], None]
) -> None:
    number = 40
    running = [roe.submit("SELECT 1") for _ in range(number)]
    airflow.wait_for_dag("at_once")
    began = time.monotonic()
    run_id = airflow.trigger("at_once", {"query_ids": running})

    def have_ended() -> bool:
        for query_id in running[:]:
            if roe.requests_of("status", query_id):  # by the worker, which now defers
                roe.finish(query_id, "SUCCESS")
                running.remove(query_id)
        return not running

    until(have_ended, timeout=240)
    airflow.wait_for_run("at_once", run_id, timeout=240)
    seconds = time.monotonic() - began
    tasks = [task for task in airflow.task_instances("at_once", run_id) if task["task_id"] == "wait"]
    ends = Counter((task["state"], task["try_number"]) for task in tasks)
    log = scheduler_log(airflow)
    in_time = len(re.findall(r"TaskInstance Finished: dag_id=at_once, task_id=wait,.* state=deferred,", log))
    record_figure(
        f"CeleryExecutor, {number} waits that defer at once: {dict(ends)} in {seconds:.0f} s;"
        f" {number - in_time} were back before the scheduler heard of their exit"
    )
    assert ends == {("success", 1): number}
    assert not [name for name in CRASHED.findall(log) if name.startswith("at_once.")]


def test_a_connection_that_only_the_workers_have_fails_the_wait_and_names_the_triggerer(
    airflow: LocalAirflowOnCelery, roe: RoeSimulator
) -> None:
    airflow.wait_for_dag("on_workers_only")
    query_id = roe.submit("SELECT 1")
    run_id = airflow.trigger("on_workers_only", {"query_id": query_id})
    airflow.wait_for_run("on_workers_only", run_id, timeout=120)
    [task] = airflow.task_instances("on_workers_only", run_id)
    assert (task["state"], len(roe.requests_of("status", query_id))) == ("failed", 1)
    log = airflow.log("on_workers_only", run_id, "wait")
    assert any("RoeUnavailableError" in line and "triggerer" in line for line in log.splitlines())
