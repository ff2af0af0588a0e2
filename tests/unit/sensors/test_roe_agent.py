from __future__ import annotations

import math
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from airflow import __version__ as AIRFLOW_VERSION
from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferred,
)

from airflow_provider_roe.exceptions import RoeInputError, RoeNotFoundError, RoeRequestError
from airflow_provider_roe.sensors.roe_agent import RoeAgentJobSensor
from airflow_provider_roe.testing import JobPlan

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_roe.testing import RoeSimulator

ENDED, RUNS_ON = JobPlan(statuses=()), JobPlan(statuses=[(1, math.inf)])
UNKNOWN = "7d9c3b1e-52f4-4a8d-9e60-1b7f2c4d8a35"


class Ids(tuple[str, ...]):
    """Ids as an XCom of a mapped task gives them: a sequence that is no list."""


@pytest.fixture
def roe(roe: RoeSimulator, connect: Callable[..., None]) -> RoeSimulator:
    connect(roe)
    roe.job_plan = ENDED
    return roe


@pytest.fixture
def context(monkeypatch: pytest.MonkeyPatch) -> Any:
    """As much of a task's context as the sensor looks at."""
    if AIRFLOW_VERSION.startswith("2."):
        monkeypatch.setattr("airflow.sensors.base._orig_start_date", lambda *_, **__: None)
    start = datetime.now(UTC)
    ti = SimpleNamespace(map_index=-1, start_date=start, get_first_reschedule_date=lambda _: start)
    vars(ti).update(dag_id="dag", task_id="wait", run_id="run", max_tries=0)
    return {"ti": ti}


def new(job_ids: Any, **arguments: Any) -> RoeAgentJobSensor:
    return RoeAgentJobSensor(
        task_id="wait", job_ids=job_ids, **{"poke_interval": 0.05, "timeout": 30} | arguments
    )


def jobs(roe: RoeSimulator, *codes: int) -> list[str]:
    """Start a job for each code, with which it has ended."""
    return [
        roe.run_agent({"n": str(code)}, JobPlan(statuses=(), ends_as=code, error="why")) for code in codes
    ]


class TestWhatItReturns:
    @pytest.mark.parametrize("form", [str, str.upper, UUID], ids=["text", "capitals", "UUID"])
    def test_of_one_job_how_it_ended(self, roe, context, form):
        [job_id] = jobs(roe, 3)
        ended = new(form(job_id)).execute(context)
        assert (ended["job_id"], ended["status"], ended["duration"]) == (job_id, "SUCCESS", 0.0)
        assert datetime.fromisoformat(ended["finished_at"]) >= datetime.fromisoformat(ended["created_at"])

    @pytest.mark.parametrize("form", [list, tuple, Ids], ids=["list", "tuple", "another sequence"])
    def test_of_several_how_each_ended_in_their_order(self, roe, context, form):
        job_ids = jobs(roe, 3, 6, 3)
        ended = new(form(job_ids)).execute(context)
        assert [job["job_id"] for job in ended] == job_ids
        assert [job["status"] for job in ended] == ["SUCCESS", "CACHED", "SUCCESS"]
        assert len(roe.requests_of("job_statuses")) == 1

    def test_a_list_of_one_is_a_list(self, roe, context):
        assert [job["status"] for job in new(jobs(roe, 3)).execute(context)] == ["SUCCESS"]

    @pytest.mark.parametrize("mode", ["poke", "reschedule"])
    def test_the_same_in_each_mode(self, roe, context, mode):
        returned = new(jobs(roe, 3), mode=mode).execute(context)
        assert [job["status"] for job in returned] == ["SUCCESS"]


class TestHowItEnds:
    @pytest.mark.parametrize(
        ("codes", "arguments", "outcome", "words"),
        [
            ([4], {}, AirflowFailException, r"^Agent job \S+ ended as FAILURE after 0\.0 s: why\."),
            ([5], {}, AirflowFailException, r"ended as CANCELLED"),
            ([3, 4, 5], {}, AirflowFailException, r"^3 agent jobs ended as .*index 1, job .*; index 2, job"),
            ([3, 4, 5], {"max_failed": 1}, AirflowFailException, "3 agent jobs"),
            ([4], {"soft_fail": True}, AirflowSkipException, "ended as FAILURE"),
            ([4], {"never_fail": True}, AirflowSkipException, "ended as FAILURE"),
        ],
        ids=str,
    )
    def test_as_the_jobs_did(self, roe, context, codes, arguments, outcome, words):
        with pytest.raises(outcome, match=words):
            new(jobs(roe, *codes), **arguments).execute(context)

    def test_well_where_no_more_failed_than_may(self, roe, context):
        returned = new(jobs(roe, 3, 4, 5), max_failed=2).execute(context)
        assert [job["status"] for job in returned] == ["SUCCESS", "FAILURE", "CANCELLED"]

    @pytest.mark.parametrize(
        ("job_ids", "error", "words"),
        [
            ([], RoeInputError, "There is no agent job to wait for"),
            (None, RoeInputError, "job_id must be a UUID .* not None"),
            ("my-job", RoeInputError, "job_id must be a UUID .* not 'my-job'"),
            (7, RoeInputError, "job_id must be a UUID .* not 7"),
            ([UNKNOWN], RoeNotFoundError, "^Roe knows no such agent job"),
        ],
        ids=str,
    )
    def test_with_an_error_that_names_what_is_no_job(self, roe, context, job_ids, error, words):
        with pytest.raises(error, match=words):
            new(job_ids, soft_fail=True).execute(context)
        with pytest.raises(AirflowSkipException, match=words):
            new(job_ids, never_fail=True).execute(context)

    def test_a_job_of_somebody_else_s_is_told_and_not_its_neighbours(self, roe, context):
        with pytest.raises(RoeRequestError, match="has no access to this organization"):
            new([*jobs(roe, 3), roe.add_foreign_job()]).execute(context)

    @pytest.mark.parametrize("cancels", [False, True])
    def test_out_of_time_it_leaves_the_jobs_alone_unless_told_otherwise(self, roe, context, cancels):
        job_id = roe.run_agent({}, RUNS_ON)
        with pytest.raises(AirflowSensorTimeout, match=f"^Agent job {job_id} is still STARTED"):
            new(job_id, timeout=0.2, cancel_on_kill=cancels).execute(context)
        assert roe.jobs[job_id].cancelled == cancels

    @pytest.mark.parametrize("cancels", [False, True])
    def test_so_it_does_when_it_is_killed(self, roe, cancels):
        job_id = roe.run_agent({}, RUNS_ON)
        new(job_id, cancel_on_kill=cancels).on_kill()
        assert roe.jobs[job_id].cancelled == cancels


class TestDeferral:
    def test_what_is_stored_names_the_jobs(self, roe, context):
        job_ids = [roe.run_agent({}, RUNS_ON) for _ in range(2)]
        with pytest.raises(TaskDeferred) as deferral:
            new(job_ids, deferrable=True, defer_after=0, max_failed=1).execute(context)
        path, kwargs = deferral.value.trigger.serialize()
        assert path == "airflow_provider_roe.triggers.roe_agent.RoeAgentJobTrigger"
        assert (kwargs["job_ids"], kwargs["max_failed"], kwargs["cancel_on_kill"]) == (job_ids, 1, False)

    @pytest.mark.parametrize("many", [False, True])
    def test_the_trigger_s_event_is_returned_as_on_a_worker(self, roe, context, many):
        job = {"job_id": UNKNOWN, "status": "SUCCESS"}
        event = {"outcome": "success", "ended": {"status": "SUCCESS", "jobs": [job]}}
        sensor = new([UNKNOWN] if many else UNKNOWN)
        assert sensor.execute_complete(context, event) == ([job] if many else job)
