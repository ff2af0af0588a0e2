"""
Calls that are sent again where that helps: after trouble that may pass, and with a key that was replaced.

Both loops are the same, but that the one blocks.
"""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from airflow_provider_roe.api.base import uuid
from airflow_provider_roe.client import blocking
from airflow_provider_roe.client.calls import AsyncCalls, Calls
from airflow_provider_roe.client.connection import RoeConnection
from airflow_provider_roe.client.lookup import KEY_CHANGED, look_up
from airflow_provider_roe.client.together import Together
from airflow_provider_roe.exceptions import RoeAuthenticationError, RoeRequestError, RoeUnavailableError
from airflow_provider_roe.metrics import OF_TASK, OF_TRIGGERER

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from airflow_provider_roe.api.agents import AgentJobStatus
    from airflow_provider_roe.client.retry import Retries
    from airflow_provider_roe.client.shared import SharedConnection, Turn
    from airflow_provider_roe.client.together import Repeat

P = ParamSpec("P")
T = TypeVar("T")

# Threads that share a client look up and replace its connection one at a time. One lock for all clients, for
# Airflow copies operators, and a client with a lock of its own could not be copied.
_replacing = threading.RLock()


def _name(call: Callable[..., object]) -> str:
    return getattr(call, "__name__", "other")


def _cause(error: RoeUnavailableError) -> str:
    """Return one of few words for why a request failed: the status code, if there was an answer."""
    return str(error.status_code or "no_answer")


class Client:
    """
    Makes blocking calls with a connection, which is looked up when the first is made.

    :param conn_id: The connection's id in Airflow.
    :param organization_id: UUID of the organization that calls are for; by default the connection's.
    """

    def __init__(self, conn_id: str, organization_id: str | None = None) -> None:
        self._conn_id = conn_id
        self._organization_id = organization_id
        self._connection: RoeConnection | None = None
        self._calls: Calls | None = None
        #: Whether Airflow is known to have the connection, though it may not find it now.
        self.was_there = False

    @property
    def connection(self) -> RoeConnection:
        """The connection's checked fields."""
        with _replacing:
            if self._connection is None:
                self._connection = look_up(self._conn_id, was_there=self.was_there)
                self.was_there = True
            return self._connection

    @property
    def retry_window(self) -> float:
        """Seconds for which the connection, as far as it is known, lets a call be retried."""
        return (self._connection or RoeConnection).retry_window

    @property
    def calls(self) -> Calls:
        """The calls over an open session."""
        with _replacing:
            if self._calls is None:
                session = blocking.open_session(self.connection)
                self._calls = Calls(self.connection, session, self._organization_id)
            return self._calls

    def call(
        self, retries: Retries, call: Callable[Concatenate[Calls, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """
        Make a call until it succeeds, or fails for good.

        :param retries: Decides when to try again.
        :param call: One of :class:`~airflow_provider_roe.client.calls.Calls`, or what takes their place.
        :raises RoeUnavailableError: The last transient error; it says how often and how long it was tried.
        """
        refused: Calls | None = None
        while True:
            try:
                calls = self._calls_after(refused, retries)
                answer = self.attempt(calls, call, *args, **kwargs)
            except RoeAuthenticationError as e:
                if refused:
                    raise
                refused, calls.refusal = calls, e
            except RoeUnavailableError as e:
                OF_TASK.count("roe.failures", conn_id=self._conn_id, cause=_cause(e))
                pause = retries.pause(e, self.retry_window)
                time.sleep(pause)
                if e.status_code == 429:
                    OF_TASK.time("roe.held_back", pause, conn_id=self._conn_id)
            else:
                retries.over()
                return answer

    def attempt(
        self, calls: Calls, call: Callable[Concatenate[Calls, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Make a call once."""
        OF_TASK.count("roe.requests", conn_id=self._conn_id, call=_name(call))
        try:
            return call(calls, *args, **kwargs)
        except RoeRequestError as e:
            e.name_connection(self._conn_id)
            raise

    def _calls_after(self, refused: Calls | None, retries: Retries) -> Calls:
        """Return the calls; after those whose key was refused, such with another connection."""
        with _replacing:
            if refused and refused is self._calls:
                connection = look_up(self._conn_id, was_there=True)
                if connection == refused.connection and refused.refusal:
                    raise refused.refusal
                retries.troubles.note(KEY_CHANGED)
                refused.session.close()
                self._connection, self._calls = connection, None
            return self.calls


class AsyncClient:
    """
    Makes calls on an event loop.

    :param shared: The connection, which others use, too.
    :param organization_id: UUID of the organization that calls are for; by default the connection's.
    """

    def __init__(self, shared: SharedConnection, organization_id: str | None = None) -> None:
        self._shared = shared
        self._organization_id = organization_id

    async def call(
        self,
        retries: Retries,
        call: Callable[Concatenate[AsyncCalls, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Make a call as :meth:`Client.call` does, without blocking the event loop."""
        refused: Turn | None = None
        while True:
            try:
                turn = await self._shared.turn(retries, refused)
                async with turn:
                    OF_TRIGGERER.count("roe.requests", conn_id=self._shared.conn_id, call=_name(call))
                    answer = await call(AsyncCalls(turn, self._organization_id), *args, **kwargs)
            except RoeAuthenticationError as e:
                if refused:
                    raise
                refused, turn.refusal = turn, e
            except RoeUnavailableError as e:
                window, hold, began = self._shared.retry_window, self._shared.hold, time.monotonic()
                OF_TRIGGERER.count("roe.failures", conn_id=self._shared.conn_id, cause=_cause(e))
                await asyncio.sleep(retries.pause(e, window))
                if e.status_code == 429:
                    if not hold.is_on:  # it was shorter than the pause
                        await hold.return_in_turn(retries.left(window))
                    OF_TRIGGERER.time("roe.held_back", time.monotonic() - began, conn_id=self._shared.conn_id)
            else:
                retries.over()
                return answer

    @property
    def is_held_back(self) -> bool:
        """Whether the service wants nobody to ask just now."""
        return self._shared.hold.is_on

    async def job_statuses(
        self, retries: Retries, job_ids: Sequence[str], repeat: Repeat | None = None
    ) -> list[AgentJobStatus]:
        """
        Ask for the statuses of jobs, together with all others who are due within a moment.

        Raises as :meth:`call` does.
        """
        ids = [uuid(job_id, "job_id") for job_id in job_ids]
        shared, organization_id = self._shared, self._organization_id
        while True:
            try:
                if shared.hold.is_on:
                    await shared.hold.end(retries.left(shared.retry_window))
                if organization_id not in shared.together:
                    shared.together[organization_id] = Together(self)
                statuses = await shared.together[organization_id].ask(ids, retries, repeat)
            except RoeUnavailableError as e:
                e.name_connection(shared.conn_id)
                await asyncio.sleep(retries.pause(e, shared.retry_window))
            except RoeRequestError as e:
                e.name_connection(shared.conn_id)
                shared.doubt()
                raise
            else:
                if statuses is not None:
                    retries.over()
                    return statuses
            repeat = None  # it is due
