from __future__ import annotations

import json
import math
import time
from pkgutil import resolve_name
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow import __version__ as AIRFLOW_VERSION
from packaging.version import Version

from airflow_provider_roe.testing import Fault, JobPlan
from airflow_provider_roe.triggers.roe_agent import RoeAgentJobTrigger
from dev.public_api import STORED_TRIGGERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_roe.testing import RoeSimulator

RUNS_ON = JobPlan(statuses=[(1, math.inf)])
STORED = sorted((STORED_TRIGGERS / "RoeAgentJobTrigger").glob("*.json"))


@pytest.fixture
def new(roe: RoeSimulator, connect: Callable[..., None]) -> Callable[..., RoeAgentJobTrigger]:
    """Return a function that makes a trigger for jobs, each of which goes as a plan says."""
    connect(roe)

    def new(*plans: JobPlan, **arguments: Any) -> RoeAgentJobTrigger:
        now = time.time()
        times = {"deferred_at": now, "started_at": now, "timeout": 60.0, "poke_interval": 0.05}
        defaults = {"hand_over": 0.0} | times
        job_ids = [roe.run_agent({}, plan) for plan in plans]
        return RoeAgentJobTrigger(job_ids=job_ids, **defaults | arguments)

    return new


def ends(code: int, error: str | None = None, after: float = 0) -> JobPlan:
    return JobPlan(statuses=[(1, after)], ends_as=code, error=error)


async def event_of(trigger: RoeAgentJobTrigger) -> Any:
    [event] = [event.payload async for event in trigger.run()]
    assert json.loads(json.dumps(event)) == event
    return event


class TestWhatIsStored:
    def test_the_trigger_can_be_made_anew_from_plain_json(self, new):
        trigger = new(RUNS_ON, RUNS_ON, max_failed=1, cancel_on_kill=True, retry_window=30.0)
        path, kwargs = trigger.serialize()
        assert resolve_name(path) is RoeAgentJobTrigger
        assert (kwargs["max_failed"], kwargs["cancel_on_kill"], kwargs["retry_window"]) == (1, True, 30.0)
        assert RoeAgentJobTrigger(**json.loads(json.dumps(kwargs))).serialize() == (path, kwargs)

    @pytest.mark.parametrize("stored", STORED, ids=lambda path: path.stem)
    async def test_what_a_release_has_stored_still_runs(self, stored, roe, connect):
        connect(roe)
        trigger = json.loads(stored.read_text())
        now = {"job_ids": [roe.run_agent({}, ends(3))], "deferred_at": time.time(), "hand_over": 0}
        assert now.keys() <= trigger["kwargs"].keys()
        now["organization_id"] = roe.organization_id
        event = await event_of(resolve_name(trigger["classpath"])(**trigger["kwargs"] | now))
        assert event["ended"]["jobs"][0]["job_id"] == now["job_ids"][0]


class TestEvents:
    async def test_success_once_all_have_ended(self, new):
        trigger = new(ends(3), ends(6, after=0.5))
        event = await event_of(trigger)
        assert event["outcome"] == "success"
        assert [job["job_id"] for job in event["ended"]["jobs"]] == trigger.job_ids
        assert [job["status"] for job in event["ended"]["jobs"]] == ["SUCCESS", "CACHED"]

    @pytest.mark.parametrize(("max_failed", "outcome"), [(0, "failed"), (1, "success")])
    async def test_so_many_may_fail(self, new, max_failed, outcome):
        event = await event_of(new(ends(3), ends(4, "page 3 is blank"), max_failed=max_failed))
        assert event["outcome"] == outcome
        if outcome == "failed":
            assert "index 1" in event["message"]
            assert "page 3 is blank" in event["message"]

    async def test_timeout(self, new):
        event = await event_of(new(RUNS_ON, timeout=0.5))
        assert event["outcome"] == "timeout"
        assert "is still STARTED" in event["message"]

    async def test_a_job_that_roe_does_not_know(self, roe, new):
        trigger = new(RUNS_ON)
        roe.jobs.clear()
        event = await event_of(trigger)
        assert (event["outcome"], event["error"]) == ("error", "RoeNotFoundError")


class TestOnKill:
    @pytest.fixture
    def states(self, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
        """What Airflow says of the task's state."""
        states = {"wait": "failed"}
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

        def get_task_states(dag_id: str, *, map_index: int, task_ids: list[str], run_ids: list[str]) -> Any:
            assert (dag_id, map_index, task_ids, run_ids) == ("dag", 3, ["wait"], ["run"])
            return {"run": states}

        monkeypatch.setattr(RuntimeTaskInstance, "get_task_states", staticmethod(get_task_states))
        return states

    @pytest.fixture
    def trigger(self, new: Callable[..., RoeAgentJobTrigger]) -> RoeAgentJobTrigger:
        trigger = new(RUNS_ON, ends(3), cancel_on_kill=True)
        trigger._task_instance = SimpleNamespace(dag_id="dag", task_id="wait", run_id="run", map_index=3)
        return trigger

    @pytest.mark.parametrize("state", ["failed", "success", "skipped"])
    async def test_it_cancels_what_still_runs_once_a_user_has_ended_the_task(
        self, roe, trigger, states, state
    ):
        states["wait"] = state
        await trigger.on_kill()
        assert [job.cancelled for job in roe.jobs.values()] == [True, False]

    async def test_or_has_deleted_it(self, roe, trigger, states):
        states.clear()
        await trigger.on_kill()
        assert [job.cancelled for job in roe.jobs.values()] == [True, False]

    @pytest.mark.parametrize(
        "state",
        [
            pytest.param("deferred", id="another triggerer has taken it over"),
            *("scheduled", "queued", "running"),  # brought back, or cleared: its jobs are waited for
            pytest.param("up_for_retry", id="its next try will wait for them"),
            pytest.param(None, id="cleared"),
        ],
    )
    async def test_it_leaves_all_alone_while_the_task_goes_on(self, roe, trigger, states, state):
        states["wait"] = state
        await trigger.on_kill()
        assert not any(job.cancelled for job in roe.jobs.values())

    async def test_and_where_it_shall(self, roe, trigger):
        trigger.cancel_on_kill = False
        await trigger.on_kill()
        assert roe.requests == []

    async def test_what_could_not_be_cancelled_is_told(self, roe, trigger, states, capsys):
        roe.add_fault(Fault(call="cancel_job", status_code=403))
        await trigger.on_kill()
        assert f"Agent job {trigger.job_ids[0]} could not be cancelled" in capsys.readouterr().out

    async def test_where_their_statuses_are_not_known_all_are_cancelled(self, roe, trigger, states, capsys):
        for call in ("job_status", "job_statuses"):
            roe.add_fault(Fault(call=call, status_code=403))
        await trigger.on_kill()
        assert {request.job_id for request in roe.requests_of("cancel_job")} == set(trigger.job_ids)
        assert [job.cancelled for job in roe.jobs.values()] == [True, False]
        assert "Which agent jobs still run is not known" in capsys.readouterr().out

    async def test_for_the_organization_of_the_task(self, roe, trigger, states):
        trigger.organization_id = "0f0e0d0c-0b0a-4908-8706-050403020100"
        roe.organization_id = trigger.organization_id
        await trigger.on_kill()
        assert [job.cancelled for job in roe.jobs.values()] == [True, False]
        assert {request.query.get("organization_id") for request in roe.requests} == {roe.organization_id}


if Version(AIRFLOW_VERSION) < Version("3.3"):  # which does not tell triggers that a user has ended their task
    del TestOnKill
