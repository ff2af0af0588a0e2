"""Agents on a real Airflow: each job is started once, waited for, and cancelled when a user says so."""

from __future__ import annotations

import json
import re
import signal
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_roe.testing import Fault, JobPlan
from tests.e2e.running import until
from tests.e2e.test_operator import kill_worker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow_provider_roe.testing import RoeSimulator
    from dev.local_airflow import LocalAirflow

#: Steers a job that runs until it is told to end
RUNS_ON = json.dumps({"statuses": [[1, 900_000_000]]})
#: Inputs of the task that is killed while it starts their jobs
NUMBER = 150
LEFT_ALONE = "The task has not ended: its jobs go on"
UNTIL_TOLD = ("marked_running", "marked_deferred", "out_of_time", "kept")


class Run:
    """A run whose tasks are killed, marked as failed, or out of time, and whose triggerers restart."""

    def __init__(self, airflow: LocalAirflow, roe: RoeSimulator, folder: Path) -> None:
        self.airflow, self.roe, self.folder = airflow, roe, folder
        document = folder / "scan.pdf"
        document.write_bytes(b"x" * 100_000)
        self.job_ids = [roe.run_agent({"document": each}, JobPlan(((1, 5),))) for each in "ab"]
        conf: dict[str, Any] = {
            "agent_id": roe.agent_id,
            "folder": str(folder),
            "outputs": [{"document": "a"}, {"document": "b"}],
            "file": [{"name": name, "document": str(document)} for name in ("first", "second")],
            "killed": [{"name": f"No. {each}", "document": str(document)} for each in range(NUMBER)],
            **{name: {"simulate": RUNS_ON, "document": name} for name in UNTIL_TOLD},
            "poke": self.job_ids[0],
            "reschedule": self.job_ids,
            "deferrable": self.job_ids,
        }
        airflow.wait_for_dag("agents")
        airflow.component("triggerer").stop()
        slow = Fault(call="run_agent", delay=0.15, times=NUMBER)
        roe.add_fault(slow)
        self.run_id = airflow.trigger("agents", conf)
        # By then the first fifty are kept for the next try.
        until(lambda: NUMBER // 2 < len(self.jobs_of("killed")) < NUMBER)
        kill_worker(self.task("killed"))
        self.started_before_the_kill = len(self.jobs_of("killed"))
        until(lambda: self.is_waited_for("marked_running"))
        self.mark_as_failed("marked_running")
        for name in ("marked_deferred", "kept"):
            until(lambda: self.task(name)["state"] == "deferred")  # noqa: B023
        until(lambda: self.is_watched("marked_deferred") and self.is_watched("kept"))
        self.mark_as_failed("marked_deferred")
        until(lambda: self.job("marked_deferred").ended)
        self.freeze_the_triggerer()
        self.restart_triggerers()
        self.cancelled_by_restarts = self.job("kept").ended
        roe.finish_job(self.job("kept").id, 3)
        airflow.wait_for_run("agents", self.run_id)

    def freeze_the_triggerer(self) -> None:
        """Let another triggerer take over from the one that has the waits, which then goes on."""
        frozen, other = self.airflow.component("triggerer-2"), self.airflow.component("triggerer")
        other.start()
        before = self.triggerer_of("kept")
        frozen.kill(signal.SIGSTOP)
        until(lambda: self.triggerer_of("kept") not in (None, before), 200)
        frozen.kill(signal.SIGCONT)
        until(lambda: LEFT_ALONE in self.log("kept"))
        # Now, for a triggerer that takes a wait back begins its log anew.
        self.log_of_the_take_over = self.log("kept")

    def restart_triggerers(self) -> None:
        """Kill the one that has the wait; let the other, which takes it over, end as for a deployment."""
        holder = self.triggerer_of("kept")
        self.airflow.component("triggerer").kill(signal.SIGKILL)
        until(lambda: self.triggerer_of("kept") not in (None, holder), 200)
        polls = self.polls_of("kept")
        until(lambda: self.polls_of("kept") > polls, 200)
        self.airflow.component("triggerer-2").restart()
        self.airflow.revive()
        polls = self.polls_of("kept")
        until(lambda: self.polls_of("kept") > polls + 3, 200)

    def triggerer_of(self, name: str) -> int | None:
        """Return the id of the triggerer that has a task's wait."""
        return (self.task(name)["triggerer_job"] or {}).get("id")

    def mark_as_failed(self, name: str) -> None:
        path = f"dags/agents/dagRuns/{self.run_id}/taskInstances/{name}"
        self.airflow.api("PATCH", path, json={"new_state": "failed"})

    def jobs_of(self, name: str) -> list[Any]:
        """Return the jobs that a task has started."""
        if name == "killed":
            return [job for job in list(self.roe.jobs.values()) if "No. " in str(job.inputs.get("name"))]
        return [job for job in list(self.roe.jobs.values()) if job.inputs.get("document") == name]

    def job(self, name: str) -> Any:
        [job] = self.jobs_of(name)
        return job

    def is_waited_for(self, name: str) -> bool:
        return len(self.jobs_of(name)) == 1 and self.polls_of(name) > 1

    def is_watched(self, name: str) -> bool:
        """Tell whether a triggerer has asked for a task's job, too."""
        return self.polls_of(name) > 2

    def polls_of(self, name: str) -> int:
        return len(self.roe.requests_of("job_statuses", job_id=self.job(name).id))

    def task(self, name: str) -> dict[str, Any]:
        path = f"dags/agents/dagRuns/{self.run_id}/taskInstances/{name}"
        return dict(self.airflow.api("GET", path))

    def ended(self, name: str) -> tuple[str, int]:
        task = self.task(name)
        return task["state"], task["try_number"]

    def log(self, name: str, try_number: int = 1) -> str:
        return self.airflow.log("agents", self.run_id, name, try_number)

    def value(self, name: str) -> Any:
        return self.airflow.xcom("agents", self.run_id, name)


@pytest.fixture(scope="module")
def run(airflow: LocalAirflow, roe: RoeSimulator, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(airflow, roe, tmp_path_factory.mktemp("agents"))


def test_outputs_come_back_from_a_deferral(run: Run) -> None:
    assert run.ended("outputs") == ("success", 1), run.log("outputs")
    assert run.value("outputs") == [{"inputs": {"document": "a"}}, {"inputs": {"document": "b"}}]


def test_outputs_of_files_are_written_to_a_file(run: Run) -> None:
    assert run.ended("file") == ("success", 1), run.log("file")
    lines = [json.loads(line) for line in (run.folder / "outputs.jsonl").read_text().splitlines()]
    assert [line["outputs"]["inputs"]["name"] for line in lines] == ["first", "second"]
    assert {line["outputs"]["inputs"]["document"]["size"] for line in lines} == {100_000}
    assert run.value("file") == {"path": str(run.folder / "outputs.jsonl"), "row_count": 2}


@pytest.mark.parametrize("mode", ["poke", "reschedule", "deferrable"])
def test_jobs_that_something_else_started_are_waited_for(run: Run, mode: str) -> None:
    assert run.ended(mode) == ("success", 1), run.log(mode)
    returned = run.value(mode)
    if mode == "poke":
        assert (returned["job_id"], returned["status"]) == (run.job_ids[0], "SUCCESS")
    else:
        assert [job["job_id"] for job in returned] == run.job_ids


def test_a_task_that_is_killed_while_it_starts_jobs_starts_each_once(
    run: Run, record_figure: Callable[[str], None]
) -> None:
    assert run.ended("killed") == ("success", 2), run.log("killed", 2)
    jobs = run.jobs_of("killed")
    ids = {job.id for job in jobs}
    requests = [r for r in run.roe.requests_of("run_agent") if ids.intersection(r.job_ids or ())]
    attached = re.search(rf"Attaching to (\d+) of {NUMBER} agent jobs", run.log("killed", 2))
    record_figure(
        f"an agent for {NUMBER} inputs with files, its task killed by SIGKILL when"
        f" {run.started_before_the_kill} jobs were started: {len(requests)} requests, {len(jobs)} jobs;"
        f" the retry knew {attached and attached[1]}"
    )
    assert attached
    assert int(attached[1]) >= 50
    assert len(jobs) == NUMBER == len({job.inputs["name"] for job in jobs})
    assert [job["status"] for job in run.value("killed")] == ["SUCCESS"] * NUMBER


def test_a_task_that_is_marked_as_failed_has_its_job_cancelled(run: Run) -> None:
    for name in ("marked_running", "marked_deferred"):
        assert run.ended(name)[0] == "failed"
        assert run.job(name).cancelled, run.log(name)
        assert "Cancelled 1 of 1 agent jobs" in run.log(name)


def test_one_that_is_out_of_time_while_deferred_has_its_job_cancelled(run: Run) -> None:
    assert run.ended("out_of_time")[0] == "failed"
    assert run.job("out_of_time").cancelled
    assert "Cancelled 1 of 1 agent jobs" in run.log("out_of_time")


def test_neither_a_restart_of_triggerers_nor_a_take_over_cancels_anything(run: Run) -> None:
    # As Airflow 3.3 asks for it when it takes a wait from a triggerer that was frozen.
    assert LEFT_ALONE in run.log_of_the_take_over
    assert "Cancelled" not in run.log_of_the_take_over
    assert run.ended("kept") == ("success", 1), run.log("kept")
    assert not run.cancelled_by_restarts
    assert not run.job("kept").cancelled
