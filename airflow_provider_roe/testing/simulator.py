import asyncio
import dataclasses
import ssl
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from ipaddress import ip_address
from typing import Literal, Self
from urllib.parse import quote
from uuid import UUID

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from airflow_provider_roe.testing import endpoints
from airflow_provider_roe.testing.clickhouse import ClickHouse
from airflow_provider_roe.testing.faults import Fault, Faults, deliver
from airflow_provider_roe.testing.outcome import Cells
from airflow_provider_roe.testing.plan import QueryPlan
from airflow_provider_roe.testing.query import Query
from airflow_provider_roe.testing.recording import RecordedRequest
from airflow_provider_roe.testing.sql import run

DEFAULT_API_KEY = "roe-9fWm2Qz7Lx4Tn8Vb1Kd6Rs3Yp5Hc0Jg"
DEFAULT_ORGANIZATION_ID = "3f0c7a52-8d1e-4b6f-9a27-5c1b0e84d6f3"


class RoeSimulator:
    """
    A Roe query API on a port of this machine, to test DAGs with.

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
        """Remove all faults, also those that queries brought along."""
        self._faults.clear()

    def requests_of(self, call: str, query_id: str | None = None) -> list[RecordedRequest]:
        """
        Return the requests of one kind so far, in the order in which they came.

        :param call: ``"submit"``, ``"status"``, ``"result"``, ``"run"`` or ``"other"``.
        :param query_id: only those of this query. Default: of all.
        """
        return [r for r in list(self.requests) if r.call == call and query_id in (None, r.query_id)]

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
        call, query_id = endpoints.route(request.path)
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
        )
        self.requests.append(record)
        record.body = await request.content.read()
        fault = self._faults.take(call, query_id)
        executes = fault is None or fault.executes
        answer = await endpoints.answer(self, record) if executes else None
        return await deliver(request, answer, fault, record)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
