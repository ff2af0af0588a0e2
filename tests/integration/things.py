"""The two things that are waited for: tests that hold for both are parametrised over them."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_roe.sensors.roe import RoeQueryStatusSensor
from airflow_provider_roe.sensors.roe_agent import RoeAgentJobSensor
from airflow_provider_roe.testing import JobPlan, QueryPlan
from airflow_provider_roe.triggers.roe import RoeQueryStatusTrigger
from airflow_provider_roe.triggers.roe_agent import RoeAgentJobTrigger

if TYPE_CHECKING:
    from airflow_provider_roe.testing import Fault, RoeSimulator
    from airflow_provider_roe.testing.plan import Plan
    from tests.faults import Row


class Query:
    """A query."""

    name = "query"
    call = "status"
    trigger = RoeQueryStatusTrigger

    def start(self, roe: RoeSimulator, seconds: float = math.inf) -> str:
        """Start one that succeeds after so many seconds."""
        return self.run(roe, QueryPlan([("STARTED", seconds)], ends_as="SUCCESS"))

    def run(self, roe: RoeSimulator, plan: Plan) -> str:
        """Start one that goes as planned."""
        assert isinstance(plan, QueryPlan)
        return roe.submit("SELECT 1", plan)

    def finish(self, roe: RoeSimulator, thing_id: str, end: str, error: str | None = None) -> None:
        roe.finish(thing_id, end, error)

    def sensor(self, thing_id: str, **arguments: Any) -> RoeQueryStatusSensor:
        return RoeQueryStatusSensor(task_id="wait", query_id=thing_id, **arguments)

    def new_trigger(self, thing_id: str, **arguments: Any) -> RoeQueryStatusTrigger:
        return RoeQueryStatusTrigger(query_id=thing_id, **deferred_now() | arguments)

    def fault(self, row: Row, thing_id: str, end: str, times: int | None = None) -> Fault:
        """Return the fault of a row that meets so many calls for the status of this one; None for all."""
        return row.fault(thing_id, end, times)

    def answered(self, roe: RoeSimulator) -> set[str | None]:
        """Return the ids of those whose status was told."""
        return {request.query_id for request in roe.requests_of(self.call) if request.status_code == 200}


class Job:
    """A job of an agent, whose status is told together with those of others."""

    name = "job"
    call = "job_statuses"
    trigger = RoeAgentJobTrigger
    codes = {"SUCCESS": 3, "FAILURE": 4, "REVOKED": 5}  # noqa: RUF012

    def start(self, roe: RoeSimulator, seconds: float = math.inf) -> str:
        """Start one that succeeds after so many seconds."""
        return self.run(roe, JobPlan([(1, seconds)]))

    def run(self, roe: RoeSimulator, plan: Plan) -> str:
        """Start one that goes as planned."""
        assert isinstance(plan, JobPlan)
        return roe.run_agent({}, plan)

    def finish(self, roe: RoeSimulator, thing_id: str, end: str, error: str | None = None) -> None:
        roe.finish_job(thing_id, self.codes[end], error)

    def sensor(self, thing_id: str | list[str], **arguments: Any) -> RoeAgentJobSensor:
        return RoeAgentJobSensor(task_id="wait", job_ids=thing_id, **arguments)

    def new_trigger(self, thing_id: str, **arguments: Any) -> RoeAgentJobTrigger:
        return RoeAgentJobTrigger(job_ids=[thing_id], **deferred_now() | arguments)

    def fault(self, row: Row, thing_id: str, end: str, times: int | None = None) -> Fault:
        """Return the fault of a row that meets so many calls for statuses; None for all."""
        return replace(row.fault(thing_id, end, times), call=self.call, query_id=None)

    def answered(self, roe: RoeSimulator) -> set[str | None]:
        """Return the ids of those whose status was told."""
        asked = (request for request in roe.requests_of(self.call) if request.status_code == 200)
        return {job_id for request in asked for job_id in request.job_ids or ()}


def deferred_now() -> dict[str, float]:
    """Return the arguments of a trigger that polls once a second, for a task that has just deferred."""
    now = time.time()
    return {"deferred_at": now, "hand_over": 0, "started_at": now, "timeout": 300, "poke_interval": 1}


Thing = Query | Job
QUERY, JOB = Query(), Job()
THINGS: list[Thing] = [QUERY, JOB]
each_thing = pytest.mark.parametrize("thing", THINGS, ids=lambda thing: thing.name)
