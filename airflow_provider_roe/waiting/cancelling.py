"""Cancels agents' jobs for which nobody waits any more, and tells the log which, and which could not be."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_provider_roe.api.base import State
from airflow_provider_roe.client.calls import AsyncCalls, Calls
from airflow_provider_roe.client.retry import Retries
from airflow_provider_roe.client.trouble import Troubles
from airflow_provider_roe.exceptions import RoeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_roe.api.agents import AgentJobStatus
    from airflow_provider_roe.client.client import AsyncClient, Client

#: Seconds in which all is to be done. Airflow gives a trigger 30, and a killed task 60.
CANCEL_WITHIN = 20.0
#: Jobs that a worker cancels at once
AT_ONCE = 8


def cancel(client: Client, job_ids: Sequence[str], log: Any) -> None:
    """
    Cancel jobs, blocking.

    :param client: Makes the calls.
    :param job_ids: The jobs; those that have ended are left as they are.
    :param log: A logger.
    """
    retries = partial(Retries, Troubles(log), time.time() + CANCEL_WITHIN)

    def cancel_one(job_id: str) -> RoeError | None:
        try:
            client.call(retries(), Calls.cancel_job, job_id)
        except RoeError as e:
            return e
        return None

    try:
        running = _running(client.call(retries(), Calls.job_statuses, job_ids))
    except RoeError as e:
        _tell_unknown(log, e)
        running = list(job_ids)
    with ThreadPoolExecutor(AT_ONCE) as threads:
        _tell(log, running, list(threads.map(cancel_one, running)))


async def acancel(client: AsyncClient, job_ids: Sequence[str], log: Any) -> None:
    """Cancel jobs as :func:`cancel` does, without blocking the event loop."""
    retries = partial(Retries, Troubles(log), time.time() + CANCEL_WITHIN)

    async def cancel_one(job_id: str) -> RoeError | None:
        try:
            await client.call(retries(), AsyncCalls.cancel_job, job_id)
        except RoeError as e:
            return e
        return None

    try:
        running = _running(await client.job_statuses(retries(), job_ids))
    except RoeError as e:
        _tell_unknown(log, e)
        running = list(job_ids)
    _tell(log, running, await asyncio.gather(*map(cancel_one, running)))


def _running(jobs: Sequence[AgentJobStatus]) -> list[str]:
    return [job.job_id for job in jobs if job.state is State.RUNNING]


def _tell_unknown(log: Any, error: RoeError) -> None:
    log.warning("Which agent jobs still run is not known, so all are cancelled: %s", error)


def _tell(log: Any, job_ids: Sequence[str], errors: Sequence[RoeError | None]) -> None:
    """Tell the log what was cancelled, and of each that was not, why."""
    outcomes = list(zip(job_ids, errors, strict=True))
    cancelled = [job_id for job_id, error in outcomes if error is None]
    if cancelled:
        log.warning(
            "Cancelled %d of %d agent jobs that still ran: %s", len(cancelled), len(outcomes), _few(cancelled)
        )
    for job_id, error in outcomes:
        if error:
            log.error("Agent job %s could not be cancelled, and goes on at Roe: %s", job_id, error)
    if not outcomes:
        log.info("There is no agent job to cancel: all have ended.")


def _few(job_ids: Sequence[str]) -> str:
    return ", ".join(job_ids[:10]) + (", …" if len(job_ids) > 10 else "")
