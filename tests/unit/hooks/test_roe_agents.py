from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from airflow_provider_roe.exceptions import (
    RoeInputError,
    RoeNotFoundError,
    RoeRequestError,
    RoeUnavailableError,
)
from airflow_provider_roe.hooks.roe import RoeHook
from airflow_provider_roe.testing import Fault, JobPlan

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_roe.testing import RoeSimulator

ENDED = JobPlan(statuses=())


@pytest.fixture
def roe(roe: RoeSimulator, connect: Callable[..., None]) -> RoeSimulator:
    connect(roe)
    roe.job_plan = ENDED
    return roe


class TestRunning:
    def test_one(self, roe):
        job_id = RoeHook().run_agent(roe.agent_id, {"a": "b"}, metadata={"m": 1}, skip_cache=True)
        job = roe.jobs[job_id]
        assert (job.inputs, job.metadata, job.skip_cache) == ({"a": "b"}, {"m": 1}, True)
        assert roe.requests[0].query == {"organization_id": roe.organization_id}

    def test_many_in_their_order(self, roe):
        job_ids = RoeHook().run_agent_many(roe.agent_id, [{"n": str(n)} for n in range(1200)])
        assert [roe.jobs[job_id].inputs["n"] for job_id in job_ids] == [str(n) for n in range(1200)]
        assert len(roe.requests) == 2

    def test_with_files(self, roe, tmp_path):
        scan = tmp_path / "scan.pdf"
        scan.write_bytes(b"page")
        job_id = RoeHook().run_agent(roe.agent_id, {"document": str(scan)}, files=["document"])
        assert roe.jobs[job_id].inputs["document"].size == 4

    def test_each_call_is_another_run_unless_it_has_the_key_of_one(self, roe):
        hook = RoeHook()
        one, other = (hook.run_agent(roe.agent_id, {"a": "b"}) for _ in range(2))
        assert one != other
        first, again = (hook.run_agent(roe.agent_id, {"a": "b"}, idempotency_key="k") for _ in range(2))
        assert first == again
        lists = [hook.run_agent_many(roe.agent_id, [{"a": "b"}] * 2, idempotency_key="k") for _ in range(2)]
        assert lists[0] == lists[1]
        assert len(roe.jobs) == 5

    def test_a_lost_answer_is_no_second_run(self, roe, connect, impatient):
        connect(roe, retry_window=30)
        roe.add_fault(Fault(call="run_agent", status_code=504, executed=True, times=2))
        RoeHook().run_agent(roe.agent_id, {"a": "b"})
        assert (len(roe.requests), len(roe.jobs)) == (3, 1)

    def test_of_many_the_error_says_how_many_were_accepted(self, roe):
        roe.credits = 2
        with pytest.raises(
            RoeRequestError,
            match=r"^2 of 5 inputs were accepted, and their jobs go on\. inputs\[\d\]: .*credits",
        ):
            RoeHook().run_agent_many(roe.agent_id, [{"a": "b"}] * 5, metadata={"m": 1})

    @pytest.mark.parametrize("agent_id", ["my-agent", "", None, 7], ids=repr)
    def test_an_agent_that_is_none(self, roe, agent_id):
        with pytest.raises(RoeInputError, match=r"^agent_id must be a UUID"):
            RoeHook().run_agent(agent_id, {"a": "b"})
        assert roe.requests == []


class TestStatusesAndResults:
    def test_statuses_in_their_order_with_one_request(self, roe):
        job_ids = [roe.run_agent({}, JobPlan(statuses=(), ends_as=code)) for code in (3, 4, 6)]
        statuses = RoeHook().get_agent_job_statuses(job_ids)
        assert [(status.job_id, status.status) for status in statuses] == [
            (job_ids[0], "SUCCESS"),
            (job_ids[1], "FAILURE"),
            (job_ids[2], "CACHED"),
        ]
        assert len(roe.requests) == 1
        assert asyncio.run(RoeHook().aget_agent_job_statuses(job_ids)) == statuses

    def test_results_with_all_that_roe_tells(self, roe):
        job_id = RoeHook().run_agent(roe.agent_id, {"a": "b"})
        result = RoeHook().get_agent_job_result(job_id)
        assert (result.job_id, result.status, result.agent_id) == (job_id, "SUCCESS", roe.agent_id)
        assert [(output.key, output.parse()) for output in result.outputs] == [("inputs", {"a": "b"})]
        assert (result.cost, result.input_tokens, result.output_tokens) == (0.01, 100, 50)

    def test_results_of_more_than_a_request_may_ask_for(self, roe):
        job_ids = [roe.run_agent({"n": str(number)}) for number in range(250)]
        results = RoeHook().get_agent_job_results(job_ids)
        assert [result.outputs[0].parse()["n"] for result in results] == [str(n) for n in range(250)]
        assert len(roe.requests) == 3

    def test_a_job_that_runs_has_no_result_yet(self, roe):
        job_id = roe.run_agent({}, JobPlan(statuses=[(1, float("inf"))]))
        with pytest.raises(RoeUnavailableError, match="its job is still STARTED"):
            RoeHook().get_agent_job_result(job_id)

    @pytest.mark.parametrize("call", ["get_agent_job_status", "get_agent_job_result", "cancel_agent_job"])
    def test_a_job_that_roe_does_not_know(self, roe, call):
        error = RoeUnavailableError if call == "get_agent_job_result" else RoeNotFoundError
        with pytest.raises(error, match=r"job"):
            getattr(RoeHook(), call)(str(uuid4()))

    @pytest.mark.parametrize("call", ["get_agent_job_status", "get_agent_job_result", "cancel_agent_job"])
    def test_an_id_that_is_none_fails_before_any_request(self, roe, call):
        with pytest.raises(RoeInputError, match=r"^job_id must be a UUID"):
            getattr(RoeHook(), call)("../x")
        assert roe.requests == []

    def test_what_is_returned_is_no_xcom(self, roe):
        job_id = roe.run_agent({"a": "b"})
        hook = RoeHook()
        for value, instead in (
            (hook.get_agent_job_status(job_id), r"as_dict\(\)"),
            (hook.get_agent_job_result(job_id), "the values of its outputs"),
        ):
            with pytest.raises(RoeInputError, match=f"cannot be an XCom: let the task return .*{instead}"):
                value.serialize()


def test_cancelling(roe):
    job_id = roe.run_agent({}, JobPlan(statuses=[(1, float("inf"))]))
    RoeHook().cancel_agent_job(job_id)
    assert roe.jobs[job_id].cancelled
    assert RoeHook().get_agent_job_status(job_id).status == "CANCELLED"
