import asyncio
import dataclasses
import ssl
import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from ipaddress import ip_address
from typing import Any, Literal, Self
from urllib.parse import quote
from uuid import UUID, uuid4

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from airflow_provider_roe.testing import endpoints, forms
from airflow_provider_roe.testing.agents import SUCCESS, Agent, Inputs, Job
from airflow_provider_roe.testing.clickhouse import ClickHouse
from airflow_provider_roe.testing.faults import Fault, Faults, deliver
from airflow_provider_roe.testing.job_plan import JobPlan
from airflow_provider_roe.testing.outcome import Cells
from airflow_provider_roe.testing.plan import QueryPlan
from airflow_provider_roe.testing.query import Query
from airflow_provider_roe.testing.recording import RecordedRequest
from airflow_provider_roe.testing.sql import run

DEFAULT_API_KEY = "roe-9fWm2Qz7Lx4Tn8Vb1Kd6Rs3Yp5Hc0Jg"
DEFAULT_ORGANIZATION_ID = "3f0c7a52-8d1e-4b6f-9a27-5c1b0e84d6f3"
DEFAULT_AGENT_ID = "b4a1f3d6-07c5-4e92-8f1a-6d2e9c7053ab"
DEFAULT_AGENT_VERSION_ID = "e83c5f27-91bd-4d06-a74e-2f0b8c6d1953"


class RoeSimulator:
    """
    Roe's API for queries and agents on a port of this machine, to test DAGs with.

    It answers real HTTP from a thread of its own, and runs the SQL of a query on a private copy of a small
    data set (tables ``documents``, ``invoices`` and ``reviews``): on SQLite, each query on a copy of its own,
    or on the real ClickHouse engine, where a query sees what those before it made of the simulator's copy.
    **ClickHouse has no sandbox**: its SQL reads and writes files and asks other servers with your rights, so
    it is served on loopback alone. It takes a second to start and 400 MB of memory.

    What a query shows to its status calls, and when, is its :class:`QueryPlan`. What goes wrong on the way is
    a :class:`Fault`. A query that comes from another process can bring both along in a comment::

        /* simulate {"statuses": [["STARTED", 5]],
                     "faults": [{"call": "status", "status_code": 503, "times": 2}]} */
        SELECT count(*) FROM invoices

    Agents run no model: a job shows what its :class:`JobPlan` says, and puts out its own inputs if the plan
    names no outputs. One agent, ``agent_id``, is always there and takes any inputs; :meth:`add_agent` adds
    others. A job that comes from another process can bring its plan along in an input ``simulate``, JSON with
    the keys of a JobPlan, and ``faults``.

    Use it as a context manager, or call :meth:`start` and :meth:`stop`. A stopped simulator that is started
    again has the same address and still knows its queries: that is an outage.

    :param host: address to listen on. Default: loopback.
    :param port: port to listen on. Default: 0, any free one.
    :param api_key: the API key that is accepted.
    :param organization_id: UUID of the one organization.
    :param plan: how queries go that bring no plan of their own. Default: two statuses, ended after a second.
    :param ssl_context: serves https with this context. Default: plain http.
    :param engine: what runs the SQL, ``"sqlite"`` or ``"clickhouse"``, which needs the extra ``clickhouse``.
        Default: ``"sqlite"``.
    :param cells: how cells are written: ``"client"``, Python's ``str()`` of what clickhouse-connect reads,
        and null for NULL; or ``"text"``, ClickHouse's own text. Default: ``"client"``.
    :raises ValueError: the engine or the form of cells is none of these, or ClickHouse is to be served on
        another address than loopback.
    :raises ModuleNotFoundError: the extra ``clickhouse`` is needed and not installed.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        api_key: str = DEFAULT_API_KEY,
        organization_id: str = DEFAULT_ORGANIZATION_ID,
        plan: QueryPlan | None = None,
        ssl_context: ssl.SSLContext | None = None,
        engine: Literal["sqlite", "clickhouse"] = "sqlite",
        cells: Cells = "client",
    ) -> None:
        if engine not in ("sqlite", "clickhouse"):
            raise ValueError(f"engine must be sqlite or clickhouse, not {engine!r}")
        if cells not in ("client", "text"):
            raise ValueError(f"cells must be client or text, not {cells!r}")
        if engine == "clickhouse" and not _is_loopback(host):
            raise ValueError(
                f"host must be a loopback address, not {host!r}: ClickHouse has no sandbox, and whoever"
                " reaches it reaches your files"
            )
        self.api_key = api_key
        self.api_keys = {api_key}
        self.organization_id = str(UUID(organization_id))
        self.plan = plan or QueryPlan()
        self.requests: list[RecordedRequest] = []
        self.queries: dict[str, Query] = {}
        self.agents: dict[str, Agent] = {}
        self.agent_id = self.add_agent(DEFAULT_AGENT_ID, versions=[DEFAULT_AGENT_VERSION_ID])
        self.jobs: dict[str, Job] = {}
        self.job_plan = JobPlan()
        self.credits: int | None = None
        self.foreign_jobs: set[str] = set()
        self.idempotent_runs: dict[str, tuple[object, list[str]]] = {}
        self._alike: dict[object, list[Job]] = defaultdict(list)
        self.connections = 0
        self._host = host
        self._port = port
        self._ssl_context = ssl_context
        self._faults = Faults()
        self._clickhouse = ClickHouse() if engine == "clickhouse" else None
        self._run = partial(self._clickhouse.run if self._clickhouse else run, cells=cells)
        self._database = ThreadPoolExecutor(max_workers=4, thread_name_prefix="roe-simulator-sql")
        # An id is used again only when its connection is gone, and then overwritten.
        self._connection_numbers: dict[int, int] = {}
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """
        Start to listen; returns as soon as requests are answered.

        :raises OSError: the address is not free.
        """
        if self._thread:
            raise RuntimeError("The simulator is already running")
        listening: Future[int] = Future()
        thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(listening)), name="roe-simulator", daemon=True
        )
        thread.start()
        self._port = listening.result()
        self._thread = thread
        if self._clickhouse:
            self._clickhouse.start()

    def stop(self) -> None:
        """Stop to listen and drop the open connections. Does nothing if it is not running."""
        if self._thread:
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()
            self._thread = None
        if self._clickhouse:
            self._clickhouse.stop()

    @property
    def url(self) -> str:
        """Base URL, for example ``http://127.0.0.1:40123``."""
        return f"{self._scheme}://{self._host}:{self._port}"

    @property
    def connection_uri(self) -> str:
        """
        The Airflow connection to it, a value for ``AIRFLOW_CONN_ROE_DEFAULT``.

        Login is the organization, password the key, host scheme and address, port the port.
        """
        login, password = quote(self.organization_id, safe=""), quote(self.api_key, safe="")
        return f"roe://{self._scheme}://{login}:{password}@{self._host}:{self._port}"

    def submit(self, sql: str, plan: QueryPlan | None = None, *, worksheet_id: str | None = None) -> str:
        """
        Create a query at the server, without a request.

        :param sql: the query; a simulate comment in it replaces what the plan says.
        :param plan: how it goes. Default: the simulator's ``plan``.
        :param worksheet_id: the worksheet that it belongs to. Default: a new one.
        :return: its id, the ``worksheet_query_id`` of the API.
        :raises ValueError: the simulate comment is malformed.
        """
        plan, faults = (plan or self.plan).with_comment(sql)
        query = Query(sql, plan, self._database.submit(self._run, sql), worksheet_id)
        self.add_fault(*(dataclasses.replace(fault, query_id=query.id) for fault in faults))
        self.queries[query.id] = query
        return query.id

    def finish(self, query_id: str, status: str, error: str | None = None) -> None:
        """
        End a query now, whatever its plan says.

        :param query_id: the query.
        :param status: status that it ends in.
        :param error: error text. Default: none.
        """
        self.queries[query_id].finish(status, error)

    def add_agent(
        self,
        agent_id: str | None = None,
        *,
        versions: Sequence[str] = (),
        required: Sequence[str] = (),
        plan: JobPlan | None = None,
        caching: bool = False,
    ) -> str:
        """
        Add an agent, or replace the one with this id.

        :param agent_id: its id, a UUID. Default: a new one.
        :param versions: ids of its versions, UUIDs; the last one is current. Default: a new one.
        :param required: keys of the inputs that its jobs need. Default: none.
        :param plan: how its jobs go. Default: the simulator's ``job_plan``.
        :param caching: whether a job like one that has succeeded, with the same version and inputs, ends as
            CACHED at once with its outputs, unless the client wants no cached result. Default: False.
        :return: its id.
        """
        agent = Agent(
            id=str(UUID(agent_id) if agent_id else uuid4()),
            versions=tuple(str(UUID(version)) for version in versions) or (str(uuid4()),),
            required=tuple(required),
            plan=plan,
            caching=caching,
        )
        self.agents[agent.id] = agent
        return agent.id

    def run_agent(
        self,
        inputs: Inputs | None = None,
        plan: JobPlan | None = None,
        *,
        agent_id: str | None = None,
        version_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        skip_cache: bool = False,
        idempotency_key: str | None = None,
    ) -> str:
        """
        Create a job at the server, without a request and without a credit.

        :param inputs: texts and files by the keys of the inputs; JSON in the input ``simulate`` replaces what
            the plan says. Default: none.
        :param plan: how it goes. Default: the agent's plan, or else the simulator's ``job_plan``.
        :param agent_id: the agent. Default: the one that is always there.
        :param version_id: the version that runs. Default: the current one.
        :param metadata: what is noted with the job. Default: nothing.
        :param skip_cache: runs although the agent caches. Default: False.
        :param idempotency_key: noted with the job. Default: none.
        :return: its id.
        :raises ValueError: the input ``simulate`` is malformed.
        """
        inputs = inputs or {}
        agent = self.agents[agent_id or self.agent_id]
        plan, faults = (plan or agent.plan or self.job_plan).with_input(inputs)
        version_id = version_id or agent.versions[-1]
        alike = self._alike[agent.id, version_id, frozenset(inputs.items())] if agent.caching else []
        succeeded = [job for job in alike if job.status == SUCCESS]
        if succeeded and not skip_cache:
            plan = succeeded[-1].cached()
        job = Job(
            agent.id,
            version_id,
            inputs,
            plan,
            metadata=metadata,
            skip_cache=skip_cache,
            idempotency_key=idempotency_key,
        )
        alike.append(job)
        self.add_fault(*(dataclasses.replace(fault, job_id=job.id) for fault in faults))
        self.jobs[job.id] = job
        return job.id

    def add_foreign_job(self) -> str:
        """Add a job of another organization and return its id: whoever asks for it is refused."""
        job_id = str(uuid4())
        self.foreign_jobs.add(job_id)
        return job_id

    def finish_job(self, job_id: str, status: int, error: str | None = None) -> None:
        """
        End a job now, whatever its plan says.

        :param job_id: the job.
        :param status: code of the status that it ends in.
        :param error: error text. Default: none.
        """
        self.jobs[job_id].finish(status, error)

    def rotate_key(self, api_key: str) -> None:
        """Accept this API key and no other from now on."""
        self.api_key = api_key
        self.api_keys = {api_key}

    def revoke_key(self) -> None:
        """Accept no API key from now on."""
        self.api_keys = set()

    def add_fault(self, *faults: Fault) -> None:
        """Add faults. If several fit a request it meets the one that was added first."""
        self._faults.add(*faults)

    def clear_faults(self) -> None:
        """Remove all faults, also those that queries and jobs brought along."""
        self._faults.clear()

    def requests_of(
        self, call: str, query_id: str | None = None, job_id: str | None = None
    ) -> list[RecordedRequest]:
        """
        Return the requests of one kind so far, in the order in which they came.

        :param call: ``"submit"``, ``"status"``, ``"result"``, ``"run"``, ``"run_agent"``, or another that
            :class:`RecordedRequest` lists.
        :param query_id: only those of this query. Default: of all.
        :param job_id: only those that name this job or created it, alone or among others. Default: of all.
        """
        return [
            r
            for r in list(self.requests)
            if r.call == call and query_id in (None, r.query_id) and (job_id is None or job_id in r.job_ids)
        ]

    @property
    def _scheme(self) -> str:
        return "https" if self._ssl_context else "http"

    async def _serve(self, listening: Future[int]) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        # Cancelling the handler of a lost connection ends answers that nobody waits for any more.
        http = web.Server(self._handle, handler_cancellation=True, access_log=None)

        def accept() -> RequestHandler:
            connection = http()
            self.connections += 1
            self._connection_numbers[id(connection)] = self.connections
            return connection

        try:
            listener = await self._loop.create_server(
                accept, self._host, self._port, ssl=self._ssl_context, backlog=1024
            )
        except OSError as e:
            listening.set_exception(e)
            return
        listening.set_result(listener.sockets[0].getsockname()[1])
        await self._stopping.wait()
        listener.close()
        transports = [connection.transport for connection in http.connections]
        await http.shutdown(timeout=0.1)
        for transport in filter(None, transports):
            transport.abort()  # TLS would otherwise wait for the client's goodbye
        await asyncio.sleep(0)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        call, query_id, job_id = endpoints.route(request.path)
        record = RecordedRequest(
            call=call,
            method=request.method,
            path=request.path,
            query=dict(request.query),
            headers=request.headers,
            body=b"",
            received_at=datetime.now(UTC),
            connection=self._connection_numbers[id(request.protocol)],
            query_id=query_id,
            job_id=job_id,
            job_ids=[job_id] if job_id else [],
        )
        self.requests.append(record)
        record.body, record.form = await forms.read_body(request)
        fault = self._faults.take(record)
        executes = fault is None or fault.executes
        answer = await endpoints.answer(self, record) if executes else None
        return await deliver(request, answer, fault, record)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
