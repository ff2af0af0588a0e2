"""One request for many waits: those of an event loop that are due within a moment ask together."""

from __future__ import annotations

import asyncio
import time
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_roe.api.agents import MOST_JOBS, in_order
from airflow_provider_roe.client.calls import AsyncCalls
from airflow_provider_roe.client.retry import Retries
from airflow_provider_roe.exceptions import RoeError, RoeUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from airflow_provider_roe.api.agents import AgentJobStatus
    from airflow_provider_roe.client.client import AsyncClient

    _Found = dict[str, AgentJobStatus | RoeError]

#: Seconds for which whoever is due first waits for others. A thousand waits that poll once a second take five
#: requests then, instead of a thousand.
MOMENT = 0.2


@dataclass(frozen=True, slots=True)
class Repeat:
    """
    How to ask again for statuses that are known, until one of them is another.

    :param seen: The statuses, in the jobs' order.
    :param next_interval: Returns the seconds until the next request.
    :param deadline: Unix time after which an answer is told even if nothing has changed.
    """

    seen: Sequence[AgentJobStatus]
    next_interval: Callable[[], float]
    deadline: float


@dataclass(frozen=True, slots=True, eq=False)
class _Due:
    """Jobs whose statuses somebody waits for."""

    job_ids: Sequence[str]
    retries: Retries
    found: asyncio.Future[_Found | None]
    repeat: Repeat | None


class Together:
    """
    Asks for the statuses of jobs, for all who do so on one connection and for one organization.

    What goes wrong with a request is told to each whose jobs it named, who decides for itself whether to ask
    again: so every wait keeps its own deadline, window and log.

    :param client: Makes the calls.
    """

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        #: Who is due at which multiple of MOMENT, on the event loop's clock
        self._due: dict[int, list[_Due]] = {}
        self._sending: set[asyncio.Task[None]] = set()
        #: Jobs for which Roe refuses a request that names others, too; they are asked for alone.
        self._refused: set[str] = set()

    async def ask(
        self, job_ids: Sequence[str], retries: Retries, repeat: Repeat | None = None
    ) -> list[AgentJobStatus] | None:
        """
        Ask for statuses, once or until one of them is another; None if requests are held back meanwhile.

        Whoever asks again is not woken by an answer that is like the one before: a thousand wake-ups, each
        at a time of its own, cost more than all else that a poll takes.

        :param job_ids: The jobs, in canonical form.
        :param retries: Are told of each answer; their troubles, what the request comes through.
        :param repeat: How to ask again. Default: once, at once.
        :raises RoeRequestError: There is none of one of them, and why.
        """
        loop = asyncio.get_running_loop()
        due = _Due(job_ids, retries, loop.create_future(), repeat)
        self._add(due, loop.time() + (repeat.next_interval() if repeat else 0))
        found = await due.found
        return None if found is None else in_order(job_ids, found)

    def _add(self, due: _Due, at: float) -> None:
        tick = int(at // MOMENT) + 1
        if tick not in self._due:
            self._due[tick] = []
            asyncio.get_running_loop().call_at(tick * MOMENT, self._send_all, tick)
        self._due[tick].append(due)

    def _send_all(self, tick: int) -> None:
        due = [each for each in self._due.pop(tick) if not each.found.done()]
        for each in due:
            each.retries.due()
        if self._client.is_held_back:
            # Whoever does not ask again comes from there, and has no more time.
            for each in due:
                if each.repeat:
                    each.found.set_result(None)
        for group in self._groups(each for each in due if not each.found.done()):
            sending = asyncio.create_task(self._send(group))
            self._sending.add(sending)
            sending.add_done_callback(self._sending.discard)

    def _groups(self, due: Iterable[_Due]) -> Iterator[list[_Due]]:
        """Yield those who can ask in one request each; who has more jobs than one may name is sent alone."""
        group: list[_Due] = []
        count = 0
        for each in due:
            if self._refused and not self._refused.isdisjoint(each.job_ids):
                yield [each]
                continue
            if group and count + len(each.job_ids) > MOST_JOBS:
                yield group
                group, count = [], 0
            group.append(each)
            count += len(each.job_ids)
        if group:
            yield group

    async def _send(self, group: list[_Due]) -> None:
        job_ids = list(dict.fromkeys(job_id for each in group for job_id in each.job_ids))
        # One attempt, but for a key that was replaced: whether there is another, each decides.
        retries = Retries(group[0].retries.troubles, deadline=0)
        try:
            found = await self._client.call(retries, AsyncCalls.job_statuses, job_ids)
        except Exception as e:
            for each in group:
                if not each.found.done():
                    each.found.set_exception(copy(e))  # without what is counted for another wait
            return
        refused = {job_id for job_id, status in found.items() if _is_refusal(status)}
        self._refused = (self._refused - set(job_ids)) | refused
        now, wall = asyncio.get_running_loop().time(), time.time()
        for each in group:
            if each.found.done():
                continue
            if (repeat := each.repeat) and wall < repeat.deadline and _are_same(repeat.seen, found):
                each.retries.over()
                self._add(each, now + repeat.next_interval())
            else:
                each.found.set_result(found)


def _is_refusal(found: AgentJobStatus | RoeError) -> bool:
    return isinstance(found, RoeError) and not isinstance(found, RoeUnavailableError)


def _are_same(seen: Sequence[AgentJobStatus], found: _Found) -> bool:
    return all(_is_same(status, found[status.job_id]) for status in seen)


def _is_same(seen: AgentJobStatus, found: AgentJobStatus | RoeError) -> bool:
    return not isinstance(found, RoeError) and (seen.status, seen.error) == (found.status, found.error)
