"""A task that starts jobs is killed again and again, at any moment: none is lost, and none runs twice."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections import Counter
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_roe.testing import Fault, JobPlan
from dev.patience import patient

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_roe.testing import RoeSimulator

#: Processes that have imported Airflow once
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["airflow_provider_roe.operators.roe_agent"])


class FileStore:
    """Airflow's store of a task's state, which outlives its processes: in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def get(self, key: str) -> Any:
        return json.loads(self.path.read_text()) if self.path.exists() else None

    def set(self, key: str, value: Any) -> None:
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps(value))
        part.replace(self.path)


def run_task(
    connection: str, store: Path, returned: Path, try_number: int, arguments: dict[str, Any]
) -> None:
    """Run the task as a worker does, and write down what it returns."""
    from airflow_provider_roe.operators.roe_agent import RoeAgentOperator

    os.environ["AIRFLOW_CONN_ROE_DEFAULT"] = connection
    ti = SimpleNamespace(dag_id="dag", run_id="run", task_id="run", map_index=-1, try_number=try_number)
    ti.xcom_push = lambda key, value: None
    task = RoeAgentOperator(task_id="run", wait_for_completion=False, **arguments)
    returned.write_text(json.dumps(task.execute({"ti": ti, "task_state_store": FileStore(store)})))


def inputs(number: int, folder: Path, with_files: bool) -> list[dict[str, str]]:
    if not with_files:
        return [{"document": f"No. {each}"} for each in range(number)]
    path = folder / "scan.pdf"
    path.write_bytes(os.urandom(200_000))
    return [{"name": f"No. {each}", "document": str(path)} for each in range(number)]


@pytest.mark.parametrize(
    ("number", "with_files"), [(120, True), (6_000, False)], ids=["one by one", "by the thousand"]
)
def test_a_task_that_is_killed_at_any_moment_starts_each_job_once(
    roe: RoeSimulator, tmp_path: Path, number: int, with_files: bool, record_figure: Any
) -> None:
    roe.job_plan = JobPlan(statuses=[(1, float("inf"))])
    # Half of them after the job was started, half before: Roe's own time, and that of the way back.
    call = "run_agent" if with_files else "run_agent_many"
    roe.add_fault(Fault(call=call, delay=0.03 if with_files else 0.3))
    given = inputs(number, tmp_path, with_files)
    arguments = {"agent_id": roe.agent_id, "inputs": given, "files": ["document"] if with_files else []}
    returned = tmp_path / "returned.json"
    kills = 0
    for started in (0, number // 6, number // 3, number // 2, number - number // 6, number):
        task = processes.Process(
            target=run_task,
            args=(roe.connection_uri, tmp_path / "store.json", returned, kills + 1, arguments),
        )
        task.start()
        until(lambda: len(roe.jobs) >= started and task_has_asked(roe, kills + 1))  # noqa: B023
        if started < number:
            task.kill()
            kills += 1
        task.join(patient(60))
    assert task.exitcode == 0
    names = Counter(json.dumps(job.inputs["name" if with_files else "document"]) for job in roe.jobs.values())
    requests = roe.requests_of(call)
    record_figure(
        f"{number:,} inputs, {'each with a file' if with_files else 'together'}: {kills} times killed while"
        f" they were started, {len(requests)} requests, {len(roe.jobs):,} jobs"
    )
    assert set(names.values()) == {1}
    assert len(names) == number
    assert sorted(json.loads(returned.read_text())) == sorted(roe.jobs)


def task_has_asked(roe: RoeSimulator, times: int) -> bool:
    return len({request.connection for request in roe.requests}) >= times


def until(condition: Any) -> None:
    give_up_at = time.monotonic() + patient(60)
    while not condition():
        assert time.monotonic() < give_up_at
        time.sleep(0.002)
