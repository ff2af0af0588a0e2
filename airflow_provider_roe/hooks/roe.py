"""RoeHook: an Airflow connection turned into calls to Roe's query API, blocking and async."""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import contextmanager
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from airflow.providers.common.compat.connection import get_async_connection
from airflow.providers.common.compat.sdk import AirflowException, AirflowNotFoundException, BaseHook

from airflow_provider_roe.api import base, queries
from airflow_provider_roe.client import blocking, shared
from airflow_provider_roe.client.connection import WEEK, RoeConnection
from airflow_provider_roe.client.trouble import Troubles
from airflow_provider_roe.exceptions import (
    RoeAuthenticationError,
    RoeError,
    RoeInputError,
    RoeNotFoundError,
    RoeQueryFailedError,
    RoeRequestError,
    RoeTimeoutError,
    RoeUnavailableError,
)
from airflow_provider_roe.waiting.wait import Wait, seconds

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from datetime import timedelta
    from typing import Self

    import pandas
    import polars
    import requests

    from airflow_provider_roe.api.base import Request, Response
    from airflow_provider_roe.api.queries import QueryResult, QueryStatus, SubmittedQuery
    from airflow_provider_roe.results.spool import SpooledResult

T = TypeVar("T")


class RoeHook(BaseHook):
    """
    Calls Roe's query API.

    Transient errors are retried for as long as the connection's ``retry_window`` says. When Roe does not
    accept the key, the connection is read once more, for the key may have been rotated.

    Whoever makes many async calls enters it, ``async with RoeHook() as hook``: that keeps the HTTP session
    open which all hooks of the same connection and event loop share.

    :param roe_conn_id: The Airflow connection of type ``roe``.
    :param organization_id: UUID of the organization that calls are for; by default the connection's.
    """

    conn_name_attr = "roe_conn_id"
    default_conn_name = "roe_default"
    conn_type = "roe"
    hook_name = "Roe AI"

    def __init__(self, roe_conn_id: str = default_conn_name, *, organization_id: str | None = None) -> None:
        super().__init__()
        self.roe_conn_id = roe_conn_id
        self.organization_id = organization_id
        self._connection: RoeConnection | None = None
        self._session: requests.Session | None = None
        self._entries = 0
        self._shared: shared.SharedSession | None = None

    # What Airflow before 3.2 asks for the connection's form; later versions read the provider info.

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the form's fields for Airflow 2.11."""
        from airflow_provider_roe.get_provider_info import form_widgets

        return form_widgets()

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return the form's labels and placeholders for Airflow 2.11."""
        from airflow_provider_roe.get_provider_info import ui_field_behaviour

        return ui_field_behaviour()

    # Calls

    def get_conn(self) -> requests.Session:
        """Return the HTTP session that the blocking calls use, with the connection's key in its headers."""
        if self._session is None:
            self._session = blocking.open_session(self.connection)
        return self._session

    def submit_query(
        self, sql: str, *, worksheet_id: str | None = None, use_admin: bool = False
    ) -> SubmittedQuery:
        """
        Submit SQL to be run, and return the id by which to ask for it.

        It is sent again only where the server certainly did not act on the first request. Airflow cannot hand
        on what is returned: a ``@task`` returns its ``query_id``.

        :param sql: One or more statements, separated by ``;``.
        :param worksheet_id: UUID of the worksheet to run it in; needed if no organization is set.
        :param use_admin: Roe's ``use_admin``.
        :raises RoeInputError: An argument or a field of the connection cannot be used.
        :raises RoeRequestError: Roe refused the query, or could not be asked.
        """
        return self._call(
            _Call(
                lambda organization_id: queries.submit_request(
                    sql, organization_id, worksheet_id=worksheet_id, use_admin=use_admin
                ),
                lambda _, request, response: queries.read_submitted(request, response),
            )
        )

    def get_query_status(
        self, query_id: str, *, deadline: float | None = None, troubles: Troubles | None = None
    ) -> QueryStatus:
        """
        Ask how far a query is.

        An end with a status that is unknown is believed only when it is read twice.

        :param query_id: The UUID that :meth:`submit_query` returned.
        :param deadline: Unix time after which transient errors are not retried.
        :param troubles: Counts transient errors over many calls; by default each call tells of its own.
        :raises RoeInputError: An argument or a field of the connection cannot be used.
        :raises RoeRequestError: Roe refused the request, or could not be asked.
        """
        call = _status(query_id)
        status = self._call(call, deadline, troubles)
        return self._call(call, deadline, troubles) if status.ended_unknown else status

    def get_query_result(self, query_id: str) -> QueryResult:
        """
        Fetch a query's rows, which are read into memory: at most 64 MiB of JSON.

        A result that says that its query has not ended is asked for again, as after a transient error.

        :param query_id: The UUID that :meth:`submit_query` returned, of a query that has succeeded.
        :raises RoeInputError: An argument or a field of the connection cannot be used.
        :raises RoeRequestError: Roe refused the request, or could not be asked.
        :raises RoeQueryFailedError: The result says that the query has failed.
        :raises RoeError: The result is not as Roe documents it, or holds fewer rows than it says.
        """
        result = self._call(
            _Call(
                lambda organization_id: queries.result_request(query_id, organization_id),
                lambda connection, request, response: queries.read_result(
                    request, response, **_statuses(connection)
                ),
            )
        )
        self._tell(result)
        return result

    @contextmanager
    def open_query_result(self, query_id: str) -> Iterator[SpooledResult]:
        """
        Fetch a query's rows of any number: into a temporary file, which is gone after the block.

        Raises as :meth:`get_query_result` does.

        :param query_id: The UUID that :meth:`submit_query` returned, of a query that has succeeded.
        """
        from airflow_provider_roe.results import spool

        with TemporaryFile(prefix="roe-") as body, TemporaryFile(prefix="roe-") as rows:
            spooled = self._call(
                _Call(
                    lambda organization_id: queries.result_request(query_id, organization_id),
                    lambda connection, request, response: spool.read(
                        request, response, body, rows, **_statuses(connection)
                    ),
                    lambda session, connection, request: blocking.download(
                        session, connection, request, body
                    ),
                )
            )
            self._tell(spooled.result)
            yield spooled

    def _tell(self, result: QueryResult) -> None:
        if result.error:
            self.log.warning(
                "Roe says of the result of query %s, which is %s: %s",
                result.query_id,
                result.status,
                result.error,
            )

    def wait_for_query(
        self,
        query_id: str,
        *,
        timeout: float | timedelta = WEEK,
        poll_interval: float | timedelta = 60.0,
    ) -> QueryStatus:
        """
        Wait, blocking, until a query has succeeded, and return its status.

        Airflow cannot hand a status on: a ``@task`` returns its
        :meth:`~airflow_provider_roe.api.queries.QueryStatus.as_dict`.

        :param query_id: The UUID that :meth:`submit_query` returned.
        :param timeout: Seconds, or a timedelta, after which to give up. Default: 7 days.
        :param poll_interval: Seconds, or a timedelta, between two polls; the first come after 1, 2, 4, … s.
        :raises RoeQueryFailedError: The query ended otherwise.
        :raises RoeTimeoutError: It has not ended in time.
        :raises RoeInputError: An argument or a field of the connection cannot be used.
        :raises RoeRequestError: Roe refused the request, or could not be asked.
        """
        wait = Wait(
            query_id=query_id,
            started_at=time.time(),
            timeout=seconds(timeout, "timeout"),
            poke_interval=seconds(poll_interval, "poll_interval"),
            exponential_backoff=False,
            max_wait=None,
            silent_fail=False,
            log=self.log,
        )
        while True:
            status = self.get_query_status(query_id, deadline=wait.deadline, troubles=wait.troubles)
            match wait.saw(status):
                case {"kind": "success"}:
                    return status
                case {"kind": "query_failed", "message": message}:
                    raise RoeQueryFailedError(message)
                case {"kind": "timeout", "message": message}:
                    raise RoeTimeoutError(message)
            time.sleep(wait.next_interval())

    def run(
        self,
        sql: str,
        *,
        worksheet_id: str | None = None,
        use_admin: bool = False,
        timeout: float | timedelta = WEEK,
        poll_interval: float | timedelta = 60.0,
    ) -> list[Any]:
        """
        Run SQL, wait, and return its rows: dicts from column to Python value.

        The rows of the one statement that returns columns; where several do, a list of rows for each.
        All of them are held in memory. Raises as :meth:`submit_query`, :meth:`wait_for_query` and
        :meth:`get_query_result` do.

        :param sql: One or more statements, separated by ``;``.
        :param worksheet_id: UUID of the worksheet to run it in; needed if no organization is set.
        :param use_admin: Roe's ``use_admin``.
        :param timeout: Seconds, or a timedelta, after which to give up. Default: 7 days.
        :param poll_interval: Seconds, or a timedelta, between two polls; the first come after 1, 2, 4, … s.
        """
        from airflow_provider_roe.results.rows import rows, the_one

        with self._result_of(sql, worksheet_id, use_admin, timeout, poll_interval) as result:
            return the_one(rows(result, form="value"))

    def get_df(
        self,
        sql: str,
        *,
        df_type: Literal["pandas", "polars"] = "pandas",
        worksheet_id: str | None = None,
        use_admin: bool = False,
        timeout: float | timedelta = WEEK,
        poll_interval: float | timedelta = 60.0,
    ) -> pandas.DataFrame | polars.DataFrame:
        """
        Do as :meth:`run` does, and return a data frame: of the last statement that returns columns.

        :param df_type: ``pandas`` or ``polars``: whichever it is has to be installed, as an extra of ours.
        :raises RoeInputError: No statement returns columns, or a package is missing.
        """
        from airflow_provider_roe.results import frames

        to_frame = frames.frame_maker(df_type)
        with self._result_of(sql, worksheet_id, use_admin, timeout, poll_interval) as result:
            tables = frames.tables(result)
        if not tables:
            raise RoeInputError("None of the query's statements returns columns to make a data frame of.")
        return to_frame(tables[-1])

    @contextmanager
    def _result_of(
        self,
        sql: str,
        worksheet_id: str | None,
        use_admin: bool,
        timeout: float | timedelta,
        poll_interval: float | timedelta,
    ) -> Iterator[SpooledResult]:
        # Checked before the query is submitted.
        timeout, poll_interval = seconds(timeout, "timeout"), seconds(poll_interval, "poll_interval")
        query_id = self.submit_query(sql, worksheet_id=worksheet_id, use_admin=use_admin).query_id
        self.wait_for_query(query_id, timeout=timeout, poll_interval=poll_interval)
        with self.open_query_result(query_id) as result:
            yield result

    async def aget_query_status(
        self, query_id: str, *, deadline: float | None = None, troubles: Troubles | None = None
    ) -> QueryStatus:
        """Do as :meth:`get_query_status` does, without blocking the event loop."""
        call = _status(query_id)
        status = await self._acall(call, deadline, troubles)
        return await self._acall(call, deadline, troubles) if status.ended_unknown else status

    def test_connection(self) -> tuple[bool, str]:
        """
        Say whether Roe accepts the connection, for the Test button of Airflow's connection form.

        Asks for the status of a query that does not exist: that Roe does not know it means that it accepted
        key and organization.
        """
        try:
            self._attempt(_status(base.NIL_UUID))
        except RoeNotFoundError:
            pass
        except RoeError as e:
            # Airflow tests a copy of the connection, whose id it makes up: that would only puzzle.
            if isinstance(e, RoeRequestError):
                e.conn_id = None
            return False, str(e).replace(f"Connection {self.roe_conn_id!r}", "The connection")
        where = self._organization_id(self.connection)
        return True, (
            f"{self.connection.base_url} accepts the API key"
            + (f" for organization {where}." if where else "; no organization is set.")
        )

    # How calls are made

    @property
    def connection(self) -> RoeConnection:
        """
        The connection's checked fields.

        :raises RoeInputError: Airflow does not have the connection, or one of its fields cannot be used.
        """
        if self._connection is None:
            try:
                self._connection = RoeConnection.read(self.get_connection(self.roe_conn_id))
            except Exception as e:
                raise self._explain(e) from None
        return self._connection

    async def _aconnection(self) -> RoeConnection:
        if self._connection is None:
            try:
                self._connection = RoeConnection.read(await get_async_connection(self.roe_conn_id, self))
            except Exception as e:
                raise self._explain(e) from None
        return self._connection

    def _explain(self, error: Exception) -> RoeError:
        """Say why the connection cannot be read. Airflow's own words may hold the key, and are left out."""
        match error:
            case RoeError():
                return error
            case AirflowNotFoundException():
                return RoeInputError(
                    f"roe_conn_id: Airflow has no connection {self.roe_conn_id!r}, or none that it can read;"
                    " add one of type Roe AI."
                )
            case ValueError() | AirflowException():
                return RoeInputError(
                    f"Airflow cannot read connection {self.roe_conn_id!r} ({type(error).__name__}): in a URI,"
                    " login, password and host must be percent-encoded, and port must be a number."
                )
        return RoeUnavailableError(
            f"Airflow could not look up connection {self.roe_conn_id!r} ({type(error).__name__})."
        )

    def _organization_id(self, connection: RoeConnection) -> str | None:
        if self.organization_id is None:
            return connection.organization_id
        return base.uuid(self.organization_id, "organization_id")

    def _window(self, deadline: float | None) -> Callable[[], float]:
        """Return what tells for how many seconds from now a call may retry, once the connection is read."""
        left = math.inf if deadline is None else max(deadline - time.time(), 0)
        return lambda: min((self._connection or RoeConnection).retry_window, left)

    def _call(self, call: _Call[T], deadline: float | None = None, troubles: Troubles | None = None) -> T:
        from airflow_provider_roe.client import retry

        def attempts() -> T:
            return retry.call(
                lambda: self._attempt(call),
                window=self._window(deadline),
                troubles=troubles or Troubles(self.log),
            )

        try:
            return attempts()
        except RoeAuthenticationError as e:
            refusal, refused, self._connection = e, self._connection, None
        if self.connection == refused:
            raise refusal
        self._log_change()
        if self._session:
            self._session.close()
            self._session = None
        return attempts()

    def _attempt(self, call: _Call[T]) -> T:
        connection = self.connection
        request = call.build(self._organization_id(connection))
        try:
            return call.read(connection, request, call.send(self.get_conn(), connection, request))
        except RoeRequestError as e:
            self._complete(e)
            raise

    async def _acall(
        self, call: _Call[T], deadline: float | None = None, troubles: Troubles | None = None
    ) -> T:
        from airflow_provider_roe.client import retry

        def attempts() -> Awaitable[T]:
            window, now = self._window(deadline), asyncio.get_running_loop().time()
            return retry.acall(
                lambda: self._aattempt(call, until=lambda: now + window()),
                window=window,
                troubles=troubles or Troubles(self.log),
            )

        async with self:
            try:
                return await attempts()
            except RoeAuthenticationError as e:
                refusal, refused, self._connection = e, self._connection, None
            if await self._aconnection() == refused:
                raise refusal
            self._log_change()
            await self._keep(None)
            return await attempts()

    async def _aattempt(self, call: _Call[T], until: Callable[[], float]) -> T:
        session = self._shared or await self._open_shared()
        request = call.build(self._organization_id(session.connection))
        try:
            answer = call.read(session.connection, request, await session.send(request, until()))
        except RoeRequestError as e:
            self._complete(e)
            if e.status_code == 429 and isinstance(e, RoeUnavailableError):
                session.hold_back(e.retry_after)
            raise
        session.carry_on()
        return answer

    def _complete(self, error: RoeRequestError) -> None:
        error.conn_id = self.roe_conn_id
        # The libraries' own errors hold the request's headers, and what a server made of them.
        error.__cause__ = error.__context__ = None

    def _log_change(self) -> None:
        self.log.info(
            "The key was refused, but the connection has changed: trying again with what it says now."
        )

    async def _open_shared(self) -> shared.SharedSession:
        """Return the shared session of the connection, which is kept until this hook is left."""
        session = await shared.SharedSession.open(await self._aconnection())
        await self._keep(session)
        return session

    async def _keep(self, session: shared.SharedSession | None) -> None:
        former, self._shared = self._shared, session
        if former:
            await former.release()

    async def __aenter__(self) -> Self:
        self._entries += 1
        return self

    async def __aexit__(self, *_: object) -> None:
        self._entries -= 1
        if not self._entries:
            await self._keep(None)


@dataclass(frozen=True, slots=True)
class _Call(Generic[T]):
    """A call to Roe: what is asked, for an organization or None, how the answer is read, how it is sent."""

    build: Callable[[str | None], Request]
    read: Callable[[RoeConnection, Request, Response], T]
    send: Callable[[requests.Session, RoeConnection, Request], Response] = blocking.send


def _status(query_id: object) -> _Call[QueryStatus]:
    def read(connection: RoeConnection, request: Request, response: Response) -> QueryStatus:
        return queries.read_status(request, response, **_statuses(connection))

    return _Call(lambda organization_id: queries.status_request(query_id, organization_id), read)


def _statuses(connection: RoeConnection) -> dict[str, frozenset[str]]:
    """Return the status values that a connection names, as the readers of answers take them."""
    return {
        "success_statuses": connection.success_statuses,
        "failure_statuses": connection.failure_statuses,
    }
