"""Another project's code, which `make check-wheel` checks with mypy --strict against the wheel."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_type

import requests
from airflow.sdk import DAG, task

from airflow_provider_roe.api.agents import AgentJobResult, AgentJobStatus, AgentOutput
from airflow_provider_roe.api.base import State
from airflow_provider_roe.api.queries import (
    QueryResult,
    QueryStatus,
    StatementResult,
    SubmittedQuery,
)
from airflow_provider_roe.exceptions import RoeError, RoeRequestError, RoeUnavailableError
from airflow_provider_roe.hooks.roe import RoeHook
from airflow_provider_roe.operators.roe import RoeQueryOperator
from airflow_provider_roe.operators.roe_agent import RoeAgentOperator
from airflow_provider_roe.results.spool import SpooledResult
from airflow_provider_roe.sensors.roe import RoeQueryStatusSensor
from airflow_provider_roe.sensors.roe_agent import RoeAgentJobSensor
from airflow_provider_roe.testing import Fault, JobPlan, QueryPlan, RecordedRequest, RoeSimulator
from airflow_provider_roe.triggers.roe import RoeQueryStatusTrigger
from airflow_provider_roe.triggers.roe_agent import RoeAgentJobTrigger

if TYPE_CHECKING:
    from airflow_provider_roe.waiting.stored import AgentJobTriggerArguments


@task
def submit() -> str:
    hook = RoeHook(roe_conn_id="roe_default", organization_id=None)
    query = assert_type(hook.submit_query("SELECT 1", worksheet_id=None, use_admin=False), SubmittedQuery)
    status = assert_type(hook.wait_for_query(query.query_id, timeout=60, poll_interval=1), QueryStatus)
    assert_type(status.state is State.SUCCEEDED, bool)
    result = assert_type(hook.get_query_result(query.query_id), QueryResult)
    assert_type(result.results[0], StatementResult)
    with hook.open_query_result(query.query_id) as spooled:
        assert_type(spooled, SpooledResult)
        for statement, batches in spooled.batches():
            print(statement.row_count, [column.name for column in statement.columns], sum(map(len, batches)))
    assert_type(hook.get_conn(), requests.Session)
    assert_type(hook.test_connection(), tuple[bool, str])
    return query.query_id


@task
def start(agent_id: str) -> list[str]:
    hook = RoeHook()
    job_id = assert_type(hook.run_agent(agent_id, {"text": "A letter"}, skip_cache=True), str)
    assert_type(hook.get_agent_job_status(job_id), AgentJobStatus)
    result = assert_type(hook.get_agent_job_result(job_id), AgentJobResult)
    assert_type(result.outputs, tuple[AgentOutput, ...])
    hook.cancel_agent_job(job_id)
    return hook.run_agent_many(agent_id, [{"text": "A letter"}, {"text": "An invoice"}])


async def ask(query_id: str) -> QueryStatus | None:
    async with RoeHook() as hook:
        try:
            return await hook.aget_query_status(query_id)
        except RoeUnavailableError as e:
            assert_type(e.retry_after, float | None)
        except RoeRequestError as e:
            assert_type(e.request_id, str | None)
        except RoeError:
            pass
    return None


with DAG("report"):
    wait = RoeQueryStatusSensor(
        task_id="wait", query_id="{{ ti.xcom_pull('submit') }}", deferrable=True, timeout=60
    )
    extract = RoeQueryOperator(task_id="extract", sql="SELECT 1", result="rows", max_rows=10)
    submit() >> wait >> extract
    wait_for_jobs = RoeAgentJobSensor(task_id="wait_for_jobs", job_ids=["…"], max_failed=1, deferrable=True)
    classify = RoeAgentOperator(task_id="classify", agent_id="…", inputs={"text": "A letter"}, timeout=60)
    start("…") >> wait_for_jobs >> classify


def stored(now: float) -> RoeQueryStatusTrigger:
    return RoeQueryStatusTrigger(query_id="…", deferred_at=now, started_at=now, timeout=60.0)


def stored_jobs(arguments: AgentJobTriggerArguments) -> RoeAgentJobTrigger:
    return RoeAgentJobTrigger(**arguments)


def test_report() -> None:
    with RoeSimulator(plan=QueryPlan(statuses=[("STARTED", 1)], ends_as="SUCCESS")) as roe:
        roe.add_fault(Fault(call="status", status_code=503, retry_after=1, times=2))
        assert_type(roe.submit("SELECT 1"), str)
        assert_type(roe.requests_of("status"), list[RecordedRequest])
        assert_type(roe.run_agent({"text": "A letter"}, JobPlan(statuses=[(1, 1)], ends_as=3)), str)
        assert_type(roe.requests_of("job_statuses"), list[RecordedRequest])
