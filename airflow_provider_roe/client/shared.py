"""
What the waits of an event loop that name the same Airflow connection share.

A thousand waits of a triggerer look the connection up once, use one HTTP session, hold back together when the
service says so, and send no more at once than it bears.
"""

from __future__ import annotations

import asyncio
import math
from contextlib import asynccontextmanager
from copy import copy
from importlib import import_module
from typing import TYPE_CHECKING, ClassVar
from weakref import WeakKeyDictionary

from airflow_provider_roe.client.connection import RoeConnection
from airflow_provider_roe.client.hold import Hold
from airflow_provider_roe.client.lanes import Lanes
from airflow_provider_roe.client.lookup import KEY_CHANGED, alook_up
from airflow_provider_roe.client.pace import Pace
from airflow_provider_roe.exceptions import (
    RoeAuthenticationError,
    RoeError,
    RoeRequestError,
    RoeUnavailableError,
)
from airflow_provider_roe.metrics import OF_TRIGGERER

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import TracebackType

    from airflow_provider_roe.client.lanes import Place
    from airflow_provider_roe.client.retry import Retries
    from airflow_provider_roe.client.session import Session
    from airflow_provider_roe.client.together import Together

    _ByLoop = WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, "SharedConnection"]]

#: Seconds after which a connection is looked up again: its key may have been replaced, and still be accepted.
RENEW_AFTER = 300.0
#: Seconds after which it is looked up again where a refusal, or a failed look-up, makes that worth while.
DOUBT_AFTER = 10.0
#: Seconds between two look-ups of which the first failed: all waits ask for the second.
LOOK_AGAIN_AFTER = 1.0
#: Requests a second that all waits of a connection send together. Where they want more, each waits in a line,
#: which makes the intervals between its polls longer by the same time for all.
MOST_A_SECOND = 200.0


class SharedConnection:
    """
    A connection of Airflow's, as shared by all who are within :meth:`of` on one event loop.

    :param conn_id: The connection's id in Airflow.
    """

    _all: ClassVar[_ByLoop] = WeakKeyDictionary()

    def __init__(self, conn_id: str) -> None:
        self.conn_id = conn_id
        self._holders = 0
        self._session: Session | None = None
        self.hold = Hold()
        self._pace = Pace(MOST_A_SECOND)
        #: Who asks for the jobs of an organization together
        self.together: dict[str | None, Together] = {}
        self._lanes = Lanes()
        self._was_there = False
        self._retry_window = RoeConnection.retry_window
        self._looking_up = asyncio.Lock()
        self._looked_up_at = self._renew_at = self._look_again_at = -math.inf
        self._failure: RoeError | None = None

    @classmethod
    @asynccontextmanager
    async def of(cls, conn_id: str, retry_window: float | None = None) -> AsyncIterator[SharedConnection]:
        """
        Share a connection; the last who leaves closes its session.

        :param conn_id: The connection's id in Airflow.
        :param retry_window: The connection's, where somebody has read it before: its look-up is then retried
            whatever Airflow says.
        """
        connections = cls._all.setdefault(asyncio.get_running_loop(), {})
        shared = connections.get(conn_id)
        if shared is None:
            shared = connections[conn_id] = cls(conn_id)
        if retry_window is not None:
            if not shared._was_there:
                shared._was_there, shared._failure = True, None
            shared._retry_window = retry_window
        shared._holders += 1
        OF_TRIGGERER.level("roe.waits", shared._holders, conn_id=conn_id)
        try:
            yield shared
        finally:
            shared._holders -= 1
            OF_TRIGGERER.level("roe.waits", shared._holders, conn_id=conn_id)
            if not shared._holders:
                del connections[conn_id]
                if shared._session:
                    await shared._session.retire()

    @property
    def retry_window(self) -> float:
        """Seconds for which the connection lets a call be retried."""
        return self._session.connection.retry_window if self._session else self._retry_window

    def doubt(self) -> None:
        """Let the connection be looked up again soon: somebody may have mended it."""
        self._renew_at = min(self._renew_at, self._looked_up_at + DOUBT_AFTER)

    async def turn(self, retries: Retries, refused: Turn | None = None) -> Turn:
        """
        Return a turn to send one request, once the service wants to be asked and there is room for it.

        :param retries: Those of the call: their time bounds how long it is held back.
        :param refused: The turn whose key was refused, after which the connection must have changed.
        :raises RoeInputError: The connection cannot be used.
        :raises RoeUnavailableError: It could not be looked up, or no room came free in time.
        :raises RoeAuthenticationError: It has not changed.
        """
        await self._pace.keep()
        retries.due()
        clock = asyncio.get_running_loop().time
        ready_by = clock() + retries.left(self.retry_window)
        while True:
            if self.hold.is_on:
                began = clock()
                await self.hold.wait(ready_by - began)
                OF_TRIGGERER.time("roe.held_back", clock() - began, conn_id=self.conn_id)
            session = await self._current_session(retries, refused)
            give_up_at = clock() + session.connection.request_timeout
            place = await self._place(session.connection, give_up_at)
            # Meanwhile others may have been told to hold back, or have renewed the session.
            if session is self._session and (not self.hold.is_on or clock() >= ready_by):
                return Turn(self, session, place, give_up_at)
            place.leave()

    async def _place(self, connection: RoeConnection, give_up_at: float) -> Place:
        if not self._lanes.quick.locked():
            return await self._lanes.enter()
        try:
            async with asyncio.timeout_at(give_up_at):
                return await self._lanes.enter()
        except TimeoutError:
            error = RoeUnavailableError(
                f"A request had to wait for {connection.request_timeout:g} s for others, to which"
                f" {connection.base_url} gives no answer, and was not sent.",
                cause="no room beside unanswered requests",
            )
        error.name_connection(self.conn_id)
        raise error

    async def _current_session(self, retries: Retries, refused: Turn | None) -> Session:
        now = asyncio.get_running_loop().time()
        if self._session is None:
            async with self._looking_up:
                if self._session is None:
                    await self._renew()
        elif refused and refused.session is self._session:
            async with self._looking_up:
                if refused.session is self._session and self._looked_up_at < refused.asked_at:
                    await self._renew()
                if refused.session is self._session and refused.refusal:
                    raise refused.refusal
            retries.troubles.note(KEY_CHANGED)
        elif now >= self._renew_at and not self._looking_up.locked():
            self._renew_at = now + DOUBT_AFTER  # meanwhile others go on with what is known
            try:
                async with self._looking_up:
                    await self._renew()
            except RoeError as e:
                retries.troubles.met(e, "Going on with what the connection said before.")
        assert self._session is not None  # noqa: S101 - what raised did not come here
        return self._session

    async def _renew(self) -> None:
        """Look the connection up, and open a session for it if it is not what it was."""
        now = asyncio.get_running_loop().time()
        if self._failure and now < self._look_again_at:
            raise copy(self._failure)
        was_there = self._was_there
        try:
            former = self._session
            connection = await alook_up(self.conn_id, was_there=was_there, was_here=former is not None)
            if former is None or former.connection != connection:
                self._session = await _open_session(connection)
                if former:
                    await former.retire()
        except RoeError as e:
            if was_there == self._was_there:  # else somebody came meanwhile for whom it is another error
                self._failure = copy(e)  # without a traceback, and what is counted for one wait
                self._look_again_at = asyncio.get_running_loop().time() + LOOK_AGAIN_AFTER
            raise
        self._was_there = True
        self._looked_up_at, self._renew_at = now, now + RENEW_AFTER


async def _open_session(connection: RoeConnection) -> Session:
    # To import aiohttp takes long enough to be felt by everybody's triggers.
    module = await asyncio.to_thread(import_module, "airflow_provider_roe.client.session")
    session: Session = await module.Session.open(connection)
    return session


class Turn:
    """
    The right to make one call, from when its request may be sent until it has its answer.

    :param shared: The connection, which is told what the answer means for others.
    :param session: What to send it with.
    :param place: Is left at the end.
    :param give_up_at: Time of the event loop's clock at which there has to be an answer.
    """

    def __init__(self, shared: SharedConnection, session: Session, place: Place, give_up_at: float) -> None:
        self._shared = shared
        self.session = session
        self._place = place
        self.give_up_at = give_up_at
        self.asked_at = asyncio.get_running_loop().time()
        self.refusal: RoeAuthenticationError | None = None

    async def __aenter__(self) -> Turn:
        self.session.enter()
        return self

    async def __aexit__(
        self, _: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._place.leave()
        if error is None:
            self._shared.hold.answered(self.asked_at)
        elif isinstance(error, RoeRequestError):
            error.name_connection(self._shared.conn_id)
        if isinstance(error, RoeUnavailableError):
            if error.status_code == 429:
                self._shared.hold.begin(error.retry_after, self.asked_at)
                error.retry_after = None  # which the hold heeds for all
        elif isinstance(error, RoeError) and not isinstance(error, RoeAuthenticationError):
            self._shared.doubt()
        await self.session.leave()
