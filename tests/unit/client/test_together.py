from __future__ import annotations

import asyncio
import logging
import math
import time
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from airflow_provider_roe.client.calls import AsyncCalls
from airflow_provider_roe.client.client import AsyncClient
from airflow_provider_roe.client.retry import Retries
from airflow_provider_roe.client.shared import SharedConnection
from airflow_provider_roe.client.together import MOMENT, Repeat
from airflow_provider_roe.client.trouble import Troubles
from airflow_provider_roe.exceptions import (
    RoeAuthenticationError,
    RoeInputError,
    RoeNoConnectionError,
    RoeNotFoundError,
    RoeRequestError,
    RoeUnavailableError,
)
from airflow_provider_roe.testing import Fault, JobPlan
from dev.patience import patient

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from airflow_provider_roe.testing import RecordedRequest, RoeSimulator

OTHER_ORGANIZATION = "7b1e4c93-5a2f-4d08-9e36-c0f8a1d27b54"
RUNS_ON = JobPlan(statuses=[(1, math.inf)])


@pytest.fixture
def roe(roe: RoeSimulator, connect: Callable[..., None]) -> RoeSimulator:
    connect(roe)
    roe.job_plan = RUNS_ON
    return roe


async def at_once(calls: Iterable[Coroutine[Any, Any, Any]]) -> list[Any]:
    """Make calls in the same moment, however long it takes to make them, and return their ends."""
    loop = asyncio.get_running_loop()
    now = loop.time()
    loop.time = lambda: now
    asked = [asyncio.ensure_future(call) for call in calls]
    for _ in range(10):  # then each waits for the moment to be over
        await asyncio.sleep(0)
    del loop.time
    return await asyncio.gather(*asked, return_exceptions=True)


class Asking:
    """Asks on a connection that stays."""

    def __init__(self, shared: SharedConnection) -> None:
        self._client = AsyncClient(shared)

    async def round(self, *job_ids: str) -> list[Any]:
        """Ask for each job by itself, within a moment."""
        return await at_once(
            self._client.job_statuses(Retries(Troubles(logging)), [job_id]) for job_id in job_ids
        )


async def ask(*groups: list[str], rounds: int = 1) -> list[Any]:
    """Ask for each group of jobs at once, as so many waits do; return the statuses or the error of each."""
    async with SharedConnection.of("roe_default") as shared:
        client = AsyncClient(shared)
        for _ in range(rounds):
            answers = await at_once(
                client.job_statuses(Retries(Troubles(logging)), group) for group in groups
            )
    return answers


def words(answers: list[Any]) -> list[Any]:
    return [a if isinstance(a, Exception) else [job.status for job in a] for a in answers]


def sizes(roe: RoeSimulator) -> list[int]:
    """Return how many jobs each request for statuses has named."""
    return [len(request.job_ids) for request in roe.requests_of("job_statuses")]


def seconds_after(moment: datetime, request: RecordedRequest) -> float:
    return (request.received_at - moment).total_seconds()


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

    async def test_is_not_filled_beyond_a_thousand_by_one_who_waits_for_many(self, roe):
        job_ids = [roe.run_agent() for _ in range(1400)]
        groups = [job_ids[:600], job_ids[600:1000], job_ids[1000:]]
        answers = await ask(*groups)
        assert [[job.job_id for job in answer] for answer in answers] == groups
        assert sorted(sizes(roe)) == [400, 1000]

    async def test_is_not_sent_for_those_who_have_all_gone(self, roe):
        async with SharedConnection.of("roe_default") as shared:
            client = AsyncClient(shared)
            gone = asyncio.ensure_future(client.job_statuses(Retries(Troubles(logging)), [roe.run_agent()]))
            await asyncio.sleep(0)
            gone.cancel()
            await asyncio.sleep(2 * MOMENT)
            assert roe.requests == []

    @pytest.mark.parametrize("code", [None, 402, 503])
    async def test_is_answered_to_the_others_though_one_goes_meanwhile(self, roe, asked, code):
        roe.add_fault(Fault(call="job_statuses", delay=0.5, **({"status_code": code} if code else {})))
        async with SharedConnection.of("roe_default") as shared:
            client = AsyncClient(shared)
            await asyncio.sleep(MOMENT - asyncio.get_running_loop().time() % MOMENT)
            gone, *others = (
                asyncio.ensure_future(client.job_statuses(Retries(Troubles(logging)), [roe.run_agent()]))
                for _ in range(3)
            )
            await asked(1)
            gone.cancel()
            async with asyncio.timeout(patient(30)):
                answers = await asyncio.gather(*others, return_exceptions=True)
        assert gone.cancelled()
        assert [getattr(answer, "status_code", None) for answer in answers] == [code, code]
        assert len(roe.requests) == 1

    async def test_is_for_one_organization(self, roe):
        async with SharedConnection.of("roe_default") as shared:
            retries = Retries(Troubles(logging))
            clients = [AsyncClient(shared), AsyncClient(shared, OTHER_ORGANIZATION), AsyncClient(shared)]
            await asyncio.gather(
                *(client.job_statuses(retries, [roe.run_agent()]) for client in clients),
                return_exceptions=True,
            )
        organizations = {request.query["organization_id"] for request in roe.requests}
        assert organizations == {roe.organization_id, OTHER_ORGANIZATION}

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

    async def test_as_long_as_it_is_refused(self, roe):
        job_ids = [roe.run_agent() for _ in range(50)]
        foreign = [roe.run_agent() for _ in range(2)]
        roe.foreign_jobs.update(foreign)
        async with SharedConnection.of("roe_default") as shared:
            asking = Asking(shared)
            await asking.round(*job_ids, *foreign)
            for _ in range(3):
                roe.requests.clear()
                await asking.round(*job_ids, *foreign)
                assert sorted(sizes(roe)) == [1, 1, 50]
            roe.foreign_jobs.clear()
            await asking.round(*job_ids, *foreign)
            roe.requests.clear()
            await asking.round(*job_ids, *foreign)
            assert sizes(roe) == [52]

    async def test_trouble_that_may_pass_is_no_reason_to_ask_alone(self, roe):
        silent = roe.run_agent({}, JobPlan(statuses=[(1, math.inf)], fields={"status": None}))
        job_id = roe.run_agent()
        async with SharedConnection.of("roe_default") as shared:
            asking = Asking(shared)
            for _ in range(2):
                roe.requests.clear()
                await asking.round(job_id, silent)
                assert sizes(roe) == [2]

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

    async def test_it_is_not_that_of_those_in_another_request(self, roe):
        roe.add_fault(Fault(call="job_statuses", status_code=402, times=1))
        job_ids = [roe.run_agent() for _ in range(1200)]
        answers = await ask(job_ids[:600], job_ids[600:])
        assert sorted(type(answer).__name__ for answer in answers) == ["RoeRequestError", "list"]

    async def test_what_nobody_expects_is_told_to_each(self, roe, monkeypatch):
        """Better than that all wait for ever."""

        async def broken(calls: AsyncCalls, job_ids: list[str]) -> None:
            raise LookupError("broken")

        monkeypatch.setattr(AsyncCalls, "job_statuses", broken)
        async with asyncio.timeout(patient(30)):
            answers = await ask([roe.run_agent()], [roe.run_agent()])
        assert [repr(answer) for answer in answers] == ["LookupError('broken')"] * 2

    async def test_a_connection_that_is_gone_is_told_to_each(self, roe, monkeypatch):
        monkeypatch.delenv("AIRFLOW_CONN_ROE_DEFAULT")
        async with asyncio.timeout(patient(30)):
            answers = await ask([roe.run_agent()], [roe.run_agent()])
        assert [type(answer) for answer in answers] == [RoeNoConnectionError] * 2
        assert roe.requests == []

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
        assert len(roe.requests) <= 20  # two, but where the machine takes longer than a moment for all


class TestAskingAgain:
    """Whoever has seen statuses asks until one of them is another."""

    @pytest.fixture
    async def again(self, roe: RoeSimulator) -> Any:
        """Return what asks for jobs until one has changed, or the wait is over after so many seconds."""

        async def again(job_ids: list[str], seconds: float = 3600) -> list[str]:
            async with SharedConnection.of("roe_default") as shared:
                client = AsyncClient(shared)
                deadline = time.time() + seconds
                retries = Retries(Troubles(logging), deadline)
                seen = await client.job_statuses(retries, job_ids)
                found = await client.job_statuses(retries, job_ids, Repeat(seen, lambda: 0.05, deadline))
            return [job.status for job in found]

        return again

    async def test_one_that_has_ended_is_told(self, roe, again, asked):
        job_ids = [roe.run_agent() for _ in range(3)]
        waiting = asyncio.ensure_future(again(job_ids))
        await asked(5)
        assert not waiting.done()
        roe.finish_job(job_ids[1], 3)
        async with asyncio.timeout(patient(30)):  # long before the deadline
            assert await waiting == ["STARTED", "SUCCESS", "STARTED"]

    async def test_nobody_asks_before_the_interval_is_over(self, roe, asked):
        job_id = roe.run_agent()
        async with SharedConnection.of("roe_default") as shared:
            client, retries = AsyncClient(shared), Retries(Troubles(logging))
            seen = await client.job_statuses(retries, [job_id])
            repeat = Repeat(seen, lambda: 1.0, math.inf)
            waiting = asyncio.ensure_future(client.job_statuses(retries, [job_id], repeat))
            await asked(2, 200)
            roe.finish_job(job_id, 3)
            await waiting
        at = [request.received_at for request in roe.requests]
        assert all((later - earlier).total_seconds() >= 1 for earlier, later in pairwise(at))
        assert len(at) == 3

    async def test_those_of_another_pace_go_with_whom_they_meet(self, roe):
        """Of a thousand waits at intervals of their own, each tick sends one request."""
        job_ids = [roe.run_agent() for _ in range(40)]
        async with SharedConnection.of("roe_default") as shared:
            client, deadline = AsyncClient(shared), time.time() + 2

            async def wait(job_id: str, interval: float) -> None:
                retries = Retries(Troubles(logging))
                seen = await client.job_statuses(retries, [job_id])
                await client.job_statuses(retries, [job_id], Repeat(seen, lambda: interval, deadline))

            await asyncio.gather(*(wait(job_id, 0.05 + n / 100) for n, job_id in enumerate(job_ids)))
        assert len(roe.requests) <= 20  # 5 a second; each by itself, they were 200

    async def test_each_answer_begins_the_window_anew(self, roe, connect, asked, impatient):
        connect(roe, retry_window=1)
        async with SharedConnection.of("roe_default") as shared:
            client, retries = AsyncClient(shared), Retries(Troubles(logging))
            seen = await client.job_statuses(retries, [job_id := roe.run_agent()])
            repeat = Repeat(seen, lambda: 0.05, math.inf)
            waiting = asyncio.ensure_future(client.job_statuses(retries, [job_id], repeat))
            await asyncio.sleep(1.5)  # longer than the window
            roe.add_fault(Fault(call="job_statuses", status_code=503, times=1))
            await asked(1, 503)
            roe.finish_job(job_id, 3)
            assert (await waiting)[0].status == "SUCCESS"

    async def test_so_is_another_error_text(self, roe, again, asked):
        job_id = roe.run_agent({}, JobPlan(statuses=[(2, 3, "first"), (2, math.inf, "second")]))
        async with asyncio.timeout(patient(30)):  # long before the deadline
            assert await again([job_id]) == ["RETRY"]
        assert len(roe.requests) > 2

    async def test_at_the_deadline_all_is_told_as_it_is(self, roe, again):
        assert await again([roe.run_agent()], seconds=1) == ["STARTED"]
        assert len(roe.requests) > 1

    async def test_trouble_is_retried_and_a_rate_limit_is_heeded(self, roe, connect, again, asked):
        connect(roe, retry_window=30)
        job_id = roe.run_agent()
        waiting = asyncio.ensure_future(again([job_id]))
        await asked(3)
        roe.add_fault(Fault(call="job_statuses", status_code=503, times=1))
        await asked(1, 503)
        roe.add_fault(Fault(call="job_statuses", status_code=429, retry_after=1, times=1))
        await asked(1, 429)
        roe.finish_job(job_id, 3)
        assert await waiting == ["SUCCESS"]

    async def test_a_hold_is_heeded_by_all_though_one_of_them_goes(self, roe, connect, asked):
        connect(roe, retry_window=30)
        async with SharedConnection.of("roe_default") as shared:
            client = AsyncClient(shared)

            async def again(job_id: str) -> list[Any]:
                retries = Retries(Troubles(logging))
                seen = await client.job_statuses(retries, [job_id])
                return await client.job_statuses(retries, [job_id], Repeat(seen, lambda: 0.05, math.inf))

            job_ids = [roe.run_agent() for _ in range(3)]
            gone, *others = (asyncio.ensure_future(again(job_id)) for job_id in job_ids)
            await asked(4, 200)
            shared.hold.begin(2, asyncio.get_running_loop().time())
            held_at = datetime.now(UTC)
            gone.cancel()
            for job_id in job_ids:
                roe.finish_job(job_id, 3)
            async with asyncio.timeout(patient(30)):
                answers = await asyncio.gather(*others)
        assert words(answers) == [["SUCCESS"]] * 2
        # One request may have been under way when the hold began, and arrive late.
        assert len([request for request in roe.requests if 0 < seconds_after(held_at, request) < 1.9]) <= 1

    @pytest.mark.parametrize("seen", [True, False])
    async def test_a_wait_that_is_held_back_ends_when_its_time_is_up(self, roe, connect, again, asked, seen):
        connect(roe, retry_window=300)
        job_id = roe.run_agent()
        limit = Fault(call="job_statuses", status_code=429, retry_after=600)
        if not seen:
            roe.add_fault(limit)
        began = time.monotonic()
        waiting = asyncio.ensure_future(again([job_id], seconds=3))
        if seen:
            await asked(2)
            roe.add_fault(limit)
        with pytest.raises(RoeUnavailableError, match="answered with 429"):
            await waiting
        assert time.monotonic() - began < patient(60)

    async def test_a_refusal_is_told(self, roe, again, asked):
        waiting = asyncio.ensure_future(again([roe.run_agent()]))
        await asked(3)
        roe.jobs.clear()
        with pytest.raises(RoeNotFoundError):
            await waiting

    async def test_one_who_goes_asks_no_more(self, roe, again, asked):
        waiting = asyncio.ensure_future(again([roe.run_agent()]))
        await asked(3)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        before = len(roe.requests)
        await asyncio.sleep(1)
        assert len(roe.requests) <= before + 1
