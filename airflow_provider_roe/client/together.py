"""One request for many waits: those of an event loop that are due within a moment ask together."""

from __future__ import annotations

import asyncio
from copy import copy
from typing import TYPE_CHECKING, NamedTuple

from airflow_provider_roe.api.agents import MOST_JOBS, in_order
from airflow_provider_roe.client.calls import AsyncCalls
from airflow_provider_roe.client.retry import Retries
from airflow_provider_roe.exceptions import RoeError, RoeUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from airflow_provider_roe.api.agents import AgentJobStatus
    from airflow_provider_roe.client.client import AsyncClient
    from airflow_provider_roe.client.trouble import Troubles

    _Found = dict[str, AgentJobStatus | RoeError]

#: Seconds for which whoever is due first waits for others. A thousand waits that poll once a second take five
#: requests then, instead of a thousand.
MOMENT = 0.2


class _Due(NamedTuple):
    """Jobs whose statuses somebody waits for."""

    job_ids: Sequence[str]
    troubles: Troubles
    found: asyncio.Future[_Found]


class Together:
    """
    Asks for the statuses of jobs, for all who do so on one connection and for one organization.

    What goes wrong with a request is told to each whose jobs it named, who decides for itself whether to ask
    again: so every wait keeps its own deadline, window and log.

    :param client: Makes the calls.
    """

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._due: list[_Due] = []
        self._sending: set[asyncio.Task[None]] = set()
        #: Jobs for which Roe refuses a request that names others, too; they are asked for alone.
        self._refused: set[str] = set()

    async def ask(self, job_ids: Sequence[str], troubles: Troubles) -> list[AgentJobStatus]:
        """
        Ask for statuses once.

        :param job_ids: The jobs, in canonical form.
        :param troubles: Is told what the request comes through.
        :raises RoeRequestError: There is none of one of them, and why.
        """
        loop = asyncio.get_running_loop()
        if not self._due:
            loop.call_later(MOMENT, self._send_all)
        found: asyncio.Future[_Found] = loop.create_future()
        self._due.append(_Due(job_ids, troubles, found))
        return in_order(job_ids, await found)

    def _send_all(self) -> None:
        due, self._due = self._due, []
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
        retries = Retries(group[0].troubles, deadline=0)
        try:
            found = await self._client.call(retries, AsyncCalls.job_statuses, job_ids)
        except Exception as e:
            for each in group:
                if not each.found.done():
                    each.found.set_exception(copy(e))  # without what is counted for another wait
            return
        refused = {job_id for job_id, status in found.items() if _is_refusal(status)}
        self._refused = (self._refused - set(job_ids)) | refused
        for each in group:
            if not each.found.done():
                each.found.set_result(found)


def _is_refusal(found: AgentJobStatus | RoeError) -> bool:
    return isinstance(found, RoeError) and not isinstance(found, RoeUnavailableError)
