"""RoeHook: an Airflow connection turned into calls to Roe's API, blocking and async."""

from __future__ import annotations

from contextlib import AsyncExitStack, contextmanager
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from airflow.providers.common.compat.sdk import BaseHook

from airflow_provider_roe.api.base import NIL_UUID
from airflow_provider_roe.client.calls import AsyncCalls, Calls
from airflow_provider_roe.client.client import AsyncClient, Client
from airflow_provider_roe.client.connection import WEEK
from airflow_provider_roe.client.inputs import read_all_inputs, read_inputs
from airflow_provider_roe.client.retry import Retries
from airflow_provider_roe.client.shared import SharedConnection
from airflow_provider_roe.client.submission import Submission, accepted
from airflow_provider_roe.client.trouble import Troubles
from airflow_provider_roe.exceptions import (
    RoeError,
    RoeNotFoundError,
    RoeRequestError,
)
from airflow_provider_roe.waiting.blocking import wait_for_query
from airflow_provider_roe.waiting.wait import seconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import timedelta
    from typing import Self

    import requests

    from airflow_provider_roe.api.agents import AgentJobResult, AgentJobStatus
    from airflow_provider_roe.api.queries import QueryResult, QueryStatus, SubmittedQuery
    from airflow_provider_roe.client.connection import RoeConnection
    from airflow_provider_roe.client.inputs import Inputs
    from airflow_provider_roe.results.spool import SpooledResult


class RoeHook(BaseHook):
    """
    Calls Roe's API: its queries, and its agents.

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
        self.client = Client(roe_conn_id, organization_id)
        self._kept_open = AsyncExitStack()

    def get_conn(self) -> requests.Session:
        """Return the HTTP session that the blocking calls use, with the connection's key in its headers."""
        return self.client.calls.session

    # Queries

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
        return self.client.call(self._retries(), Calls.submit, sql, worksheet_id, use_admin)

    def get_query_status(self, query_id: str) -> QueryStatus:
        """
        Ask for a query's status.

        An end with a status that is unknown is believed only when it is read twice.

        :param query_id: The UUID that :meth:`submit_query` returned.
        :raises RoeInputError: An argument or a field of the connection cannot be used.
        :raises RoeRequestError: Roe refused the request, or could not be asked.
        """
        return self.client.call(self._retries(), Calls.status, query_id)

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
        result = self.client.call(self._retries(), Calls.result, query_id)
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
            spooled = self.client.call(self._retries(), spool.fetch, query_id, body, rows)
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
        :param poll_interval: Seconds, or a timedelta, between two polls; the first come sooner, from
            0.1 s on.
        :raises RoeQueryFailedError: The query ended otherwise.
        :raises RoeTimeoutError: It has not ended in time.
        :raises RoeInputError: An argument or a field of the connection cannot be used.
        :raises RoeRequestError: Roe refused the request, or could not be asked.
        """
        return wait_for_query(
            self.client,
            query_id,
            log=self.log,
            timeout=seconds(timeout, "timeout"),
            poll_interval=seconds(poll_interval, "poll_interval"),
        )

    def query(
        self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """
        Run SQL, wait, and return its rows: dicts from column to Python value.

        The rows of the last statement that returns columns; all of them are held in memory. Raises as
        :meth:`submit_query`, :meth:`wait_for_query` and :meth:`get_query_result` do.

        :param sql: One or more statements, separated by ``;``.
        :param parameters: Values for the SQL's placeholders, ``%s`` or ``%(name)s``. Default: it has none.
        """
        from airflow_provider_roe.results.rows import rows
        from airflow_provider_roe.sql.literals import bind

        query_id = self.submit_query(bind(sql, parameters)).query_id
        self.wait_for_query(query_id)
        with self.open_query_result(query_id) as result:
            found = rows(result, form="value")
        return found[-1] if found else []

    # Agents

    def run_agent(
        self,
        agent_id: str,
        inputs: Mapping[str, Any],
        *,
        version_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        files: Sequence[str] = (),
        skip_cache: bool = False,
        idempotency_key: str | None = None,
    ) -> str:
        """
        Run an agent, and return the id of the job by which to ask for it.

        The request carries an ``Idempotency-Key``, so that it is sent again after trouble without a second
        run, as far as Roe heeds the key.

        :param agent_id: The agent's UUID.
        :param inputs: The agent's inputs by their keys: texts, or what else JSON can say, which is sent as
            its text.
        :param version_id: UUID of the agent's version. Default: the current one.
        :param metadata: What Roe is to keep with the job.
        :param files: Keys of those inputs that are URLs of files, as ``ObjectStoragePath`` takes them. They
            are streamed. An ``ObjectStoragePath`` is a file in any case.
        :param skip_cache: Whether Roe shall not answer with what the same inputs came to before.
        :param idempotency_key: What makes this run the same as an earlier one. Default: it is another.
        :raises RoeInputError: An argument or a field of the connection cannot be used.
        :raises RoeRequestError: Roe refused the run, or could not be asked.
        """
        submission = self._submission(
            agent_id, [read_inputs(inputs, files)], version_id, metadata, skip_cache, idempotency_key
        )
        [started] = submission.start({0: 0})
        return started[0]

    def run_agent_many(
        self,
        agent_id: str,
        inputs: Sequence[Mapping[str, Any]],
        *,
        version_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        files: Sequence[str] = (),
        skip_cache: bool = False,
        idempotency_key: str | None = None,
    ) -> list[str]:
        """
        Run an agent for each of many inputs, and return the ids of the jobs in their order.

        Up to 1,000 inputs go in a request. Such with files, a version or metadata, which Roe does not take
        for many, have one each.

        :param inputs: The inputs of each job. The other parameters are those of :meth:`run_agent`.
        :raises RoeInputError: An argument or a field of the connection cannot be used.
        :raises RoeRequestError: Roe refused one of the inputs, which the error names, or could not be asked.
            What was accepted before goes on: with an ``idempotency_key``, the same call returns it, too.
        """
        read = read_all_inputs(inputs, files)
        submission = self._submission(agent_id, read, version_id, metadata, skip_cache, idempotency_key)
        started: dict[int, str] = {}
        try:
            for some in submission.start(dict.fromkeys(range(len(read)), 0)):
                started |= some
        except RoeError as e:
            e.begin_with(accepted(len(started), len(read)))
            raise
        return [started[index] for index in range(len(read))]

    def _submission(
        self,
        agent_id: str,
        inputs: Sequence[Inputs],
        version_id: str | None,
        metadata: Mapping[str, Any] | None,
        skip_cache: bool,
        idempotency_key: str | None,
    ) -> Submission:
        return Submission(
            client=self.client,
            log=self.log,
            agent_id=agent_id,
            inputs=inputs,
            scope=[idempotency_key or uuid4().hex],
            version_id=version_id,
            metadata=metadata,
            skip_cache=skip_cache,
        )

    def get_agent_job_status(self, job_id: str) -> AgentJobStatus:
        """
        Ask for the status of an agent's job.

        :param job_id: The UUID that :meth:`run_agent` returned.
        :raises RoeInputError: An argument or a field of the connection cannot be used.
        :raises RoeRequestError: Roe refused the request, or could not be asked.
        """
        return self.get_agent_job_statuses([job_id])[0]

    def get_agent_job_statuses(self, job_ids: Sequence[str]) -> list[AgentJobStatus]:
        """
        Ask for the statuses of agents' jobs, 1,000 with a request, and return them in the jobs' order.

        Raises as :meth:`get_agent_job_status` does, also for one of the jobs.

        :param job_ids: The jobs' UUIDs.
        """
        return self.client.call(self._retries(), Calls.job_statuses, job_ids)

    def get_agent_job_result(self, job_id: str) -> AgentJobResult:
        """
        Fetch the outputs of an agent's job.

        A result that says that its job has not ended is asked for again, as after a transient error. One of a
        job that has failed, or was cancelled, has no outputs.

        :param job_id: The UUID that :meth:`run_agent` returned, of a job that has ended.
        :raises RoeInputError: An argument or a field of the connection cannot be used.
        :raises RoeRequestError: Roe refused the request, or could not be asked.
        :raises RoeError: The result is not as Roe documents it.
        """
        return self.get_agent_job_results([job_id])[0]

    def get_agent_job_results(self, job_ids: Sequence[str]) -> list[AgentJobResult]:
        """
        Fetch the outputs of agents' jobs, 100 with a request, and return them in the jobs' order.

        All are held in memory. Raises as :meth:`get_agent_job_result` does, also for one of the jobs.

        :param job_ids: The jobs' UUIDs.
        """
        return self.client.call(self._retries(), Calls.job_results, job_ids)

    def cancel_agent_job(self, job_id: str) -> None:
        """
        Cancel an agent's job.

        :param job_id: The UUID that :meth:`run_agent` returned.
        :raises RoeInputError: An argument or a field of the connection cannot be used.
        :raises RoeRequestError: Roe refused the request, or could not be asked.
        """
        self.client.call(self._retries(), Calls.cancel_job, job_id)

    async def aget_agent_job_statuses(self, job_ids: Sequence[str]) -> list[AgentJobStatus]:
        """
        Ask for statuses as :meth:`get_agent_job_statuses` does, without blocking the event loop.

        All who do so within a moment on the same event loop and connection ask together.
        """
        async with SharedConnection.of(self.roe_conn_id) as shared:
            return await AsyncClient(shared, self.organization_id).job_statuses(self._retries(), job_ids)

    async def aget_query_status(self, query_id: str) -> QueryStatus:
        """Ask for a query's status as :meth:`get_query_status` does, without blocking the event loop."""
        async with SharedConnection.of(self.roe_conn_id) as shared:
            client = AsyncClient(shared, self.organization_id)
            return await client.call(self._retries(), AsyncCalls.status, query_id)

    def test_connection(self) -> tuple[bool, str]:
        """
        Say whether Roe accepts the connection, for the Test button of Airflow's connection form.

        Asks for the status of a query that does not exist: that Roe does not know it means that it accepted
        key and organization.
        """
        try:
            self.client.attempt(self.client.calls, Calls.status, NIL_UUID)
        except RoeNotFoundError:
            pass
        except RoeError as e:
            # Airflow tests a copy of the connection, whose id it makes up: that would only puzzle.
            if isinstance(e, RoeRequestError):
                e.conn_id = None
            return False, str(e).replace(f"Connection {self.roe_conn_id!r}", "The connection")
        where = self.client.calls.organization_id
        return True, (
            f"{self.connection.base_url} accepts the API key"
            + (f" for organization {where}." if where else "; no organization is set.")
        )

    @property
    def connection(self) -> RoeConnection:
        """
        The connection's checked fields.

        :raises RoeInputError: Airflow does not have the connection, or one of its fields cannot be used.
        """
        return self.client.connection

    def _retries(self) -> Retries:
        return Retries(Troubles(self.log))

    async def __aenter__(self) -> Self:
        await self._kept_open.enter_async_context(SharedConnection.of(self.roe_conn_id))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._kept_open.aclose()
