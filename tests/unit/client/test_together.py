from __future__ import annotations

import asyncio
import logging
import math
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from airflow_provider_roe.client.client import AsyncClient
from airflow_provider_roe.client.retry import Retries
from airflow_provider_roe.client.shared import SharedConnection
from airflow_provider_roe.client.trouble import Troubles
from airflow_provider_roe.exceptions import (
    RoeAuthenticationError,
    RoeInputError,
    RoeNotFoundError,
    RoeRequestError,
    RoeUnavailableError,
)
from airflow_provider_roe.testing import Fault, JobPlan

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_roe.testing import RoeSimulator

RUNS_ON = JobPlan(statuses=[(1, math.inf)])


@pytest.fixture
def roe(roe: RoeSimulator, connect: Callable[..., None]) -> RoeSimulator:
    connect(roe)
    roe.job_plan = RUNS_ON
    return roe


async def ask(*groups: list[str], rounds: int = 1) -> list[Any]:
    """Ask for each group of jobs at once, as so many waits do; return the statuses or the error of each."""
    async with SharedConnection.of("roe_default") as shared:
        client = AsyncClient(shared)
        for _ in range(rounds):
            asked = (client.job_statuses(Retries(Troubles(logging)), group) for group in groups)
            answers = await asyncio.gather(*asked, return_exceptions=True)
    return answers


def words(answers: list[Any]) -> list[Any]:
    return [a if isinstance(a, Exception) else [job.status for job in a] for a in answers]


def sizes(roe: RoeSimulator) -> list[int]:
    """Return how many jobs each request for statuses has named."""
    return [len(request.job_ids) for request in roe.requests_of("job_statuses")]


class TestOneRequest:
    async def test_is_for_all_who_ask_within_a_moment(self, roe):
        job_ids = [roe.run_agent() for _ in range(900)]
        assert words(await ask(*([job_id] for job_id in job_ids))) == [["STARTED"]] * 900
        assert sizes(roe) == [900]

    async def test_names_at_most_a_thousand_jobs(self, roe):
        job_ids = [roe.run_agent() for _ in range(2300)]
        answers = await ask(*([job_id] for job_id in job_ids))
        assert [answer[0].job_id for answer in answers] == job_ids
        assert sorted(sizes(roe)) == [300, 1000, 1000]

    async def test_names_each_once_though_several_wait_for_it(self, roe):
        job_id = roe.run_agent()
        assert words(await ask([job_id], [job_id], [job_id.upper()])) == [["STARTED"]] * 3
        assert sizes(roe) == [1]

    async def test_answers_each_in_the_order_of_its_own_jobs(self, roe):
        one, two, three = (roe.run_agent() for _ in range(3))
        answers = await ask([three, one], [two, three])
        assert [[job.job_id for job in answer] for answer in answers] == [[three, one], [two, three]]

    async def test_is_split_for_one_who_waits_for_more(self, roe):
        job_ids = [roe.run_agent() for _ in range(1500)]
        [answer] = await ask(job_ids)
        assert [job.job_id for job in answer] == job_ids
        assert sorted(sizes(roe)) == [500, 1000]

    async def test_is_sent_though_who_was_first_has_gone(self, roe):
        first, second = roe.run_agent(), roe.run_agent()
        async with SharedConnection.of("roe_default") as shared:
            client = AsyncClient(shared)
            gone, stays = (
                asyncio.ensure_future(client.job_statuses(Retries(Troubles(logging)), [job_id]))
                for job_id in (first, second)
            )
            await asyncio.sleep(0)
            gone.cancel()
            [job] = await stays
        assert job.job_id == second
        assert sizes(roe) == [1]


class TestTroubleOfOne:
    @pytest.mark.parametrize("others", [1, 20, 500])
    async def test_a_job_of_somebody_else_s_is_refused_alone(self, roe, others):
        job_ids = [roe.run_agent() for _ in range(others)]
        foreign = roe.add_foreign_job()
        answers = await ask(*([job_id] for job_id in job_ids), [foreign])
        assert words(answers[:-1]) == [["STARTED"]] * others
        assert isinstance(answers[-1], RoeRequestError)
        assert answers[-1].status_code == 403
        assert len(roe.requests) <= 2 * math.log2(others + 1) + 3

    async def test_and_asked_for_alone_from_then_on(self, roe):
        job_ids = [roe.run_agent() for _ in range(100)]
        await ask(*([job_id] for job_id in job_ids), [roe.add_foreign_job()], rounds=1)
        roe.requests.clear()
        answers = await ask(*([job_id] for job_id in job_ids), [roe.add_foreign_job()], rounds=2)
        assert words(answers[:-1]) == [["STARTED"]] * 100
        assert sizes(roe)[-2:] in ([1, 100], [100, 1])

    async def test_one_that_roe_does_not_know_is_asked_for_once_more_alone(self, roe):
        job_id, unknown = roe.run_agent(), str(uuid4())
        known, error = await ask([job_id], [unknown])
        assert known[0].status == "STARTED"
        assert isinstance(error, RoeNotFoundError)
        assert [request.call for request in roe.requests] == ["job_statuses", "job_status"]

    async def test_one_that_the_answer_says_nothing_of_is_asked_for_once_more_alone(self, roe):
        job_id = roe.run_agent()
        silent = roe.run_agent({}, JobPlan(statuses=[(1, math.inf)], fields={"status": None}))
        known, error = await ask([job_id], [silent])
        assert known[0].status == "STARTED"
        assert isinstance(error, RoeUnavailableError)
        assert len(roe.requests_of("job_status")) == 1

    async def test_one_that_is_no_id_is_refused_before_any_request(self, roe):
        known, error = await ask([roe.run_agent()], ["my-job"])
        assert known[0].status == "STARTED"
        assert isinstance(error, RoeInputError)
        assert sizes(roe) == [1]


class TestTroubleOfAll:
    async def test_each_asks_again_for_as_long_as_its_own_window(self, roe, connect, impatient):
        connect(roe, retry_window=30)
        roe.add_fault(Fault(call="job_statuses", status_code=503, times=2))
        job_ids = [roe.run_agent() for _ in range(50)]
        assert words(await ask(*([job_id] for job_id in job_ids))) == [["STARTED"]] * 50
        assert len(roe.requests) <= 6

    async def test_a_refusal_that_is_not_about_one_job_is_told_to_each(self, roe):
        roe.add_fault(Fault(call="job_statuses", status_code=402))
        answers = await ask([roe.run_agent()], [roe.run_agent()])
        assert [answer.status_code for answer in answers] == [402, 402]
        assert answers[0] is not answers[1]
        assert len(roe.requests) == 1

    async def test_a_rotated_key_is_looked_up_once_for_all(self, roe, connect, look_ups):
        job_ids = [roe.run_agent() for _ in range(50)]
        async with SharedConnection.of("roe_default"):
            await ask([job_ids[0]])
            roe.rotate_key("roe-another-key")
            connect(roe)
            assert words(await ask(*([job_id] for job_id in job_ids))) == [["STARTED"]] * 50
        assert [request.status_code for request in roe.requests] == [200, 401, 200]
        assert len(look_ups) == 2

    async def test_a_key_that_stays_wrong_is_told_to_each(self, roe):
        job_ids = [roe.run_agent() for _ in range(3)]
        roe.revoke_key()
        answers = await ask(*([job_id] for job_id in job_ids))
        assert [type(answer) for answer in answers] == [RoeAuthenticationError] * 3
        assert len(roe.requests) == 1

    async def test_a_rate_limit_holds_all_back_and_they_return_with_one_request(self, roe, connect):
        connect(roe, retry_window=30)
        roe.add_fault(Fault(call="job_statuses", status_code=429, retry_after=2, times=1))
        job_ids = [roe.run_agent() for _ in range(200)]
        assert words(await ask(*([job_id] for job_id in job_ids))) == [["STARTED"]] * 200
        first, second, *_ = (request.received_at for request in roe.requests)
        assert (second - first).total_seconds() >= 2
        assert len(roe.requests) <= 4
