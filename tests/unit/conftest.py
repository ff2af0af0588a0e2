from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psutil
import pytest
from airflow.providers.common.compat.sdk import BaseHook
from hypothesis import HealthCheck, settings

from airflow_provider_roe.client import lookup
from airflow_provider_roe.testing import QueryPlan, RoeSimulator
from dev.patience import patient

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from airflow_provider_roe.api.queries import QueryStatus
    from airflow_provider_roe.hooks.roe import RoeHook

# A busy machine is slow, and the first texts of all take a table of all characters.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


# On a busy machine everything is slow.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.fixture(autouse=True)
def _nothing_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away what the environment may say about proxies and certificates."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def roe(roe: RoeSimulator) -> RoeSimulator:
    """Let queries have succeeded as soon as they are submitted."""
    roe.plan = QueryPlan(statuses=(), ends_as="SUCCESS")
    return roe


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """
    Return a function that makes an Airflow connection lead to a simulator, or to another base URL.

    Its further keyword arguments are the connection's extra. Transient errors are not retried unless they
    ask for it.
    """

    def connect(
        server: RoeSimulator | str,
        *,
        conn_id: str = "roe_default",
        api_key: str | None = None,
        organization_id: str | None = None,
        **extra: Any,
    ) -> None:
        known = isinstance(server, RoeSimulator)
        fields = {
            "conn_type": "roe",
            "host": server.url if known else server,
            "login": organization_id or (server.organization_id if known else None),
            "password": api_key or (server.api_key if known else "a-key"),
            "extra": {"request_timeout": 30, "retry_window": 0} | extra,
        }
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(fields))

    return connect


@pytest.fixture
def left_open(roe: RoeSimulator) -> Callable[[int], Awaitable[bool]]:
    """Return what waits until so many of the connections to the simulator that were opened since are left."""

    def to_roe() -> set[int]:
        return {
            connection.laddr.port
            for connection in psutil.Process().net_connections("tcp")
            if connection.status == psutil.CONN_ESTABLISHED
            and connection.raddr.port == urlsplit(roe.url).port
        }

    before = to_roe()

    async def left_open(number: int) -> bool:
        async with asyncio.timeout(patient(30)):
            while len(to_roe() - before) != number:  # noqa: ASYNC110 - the simulator closes them in another thread
                await asyncio.sleep(0.01)
        return True

    return left_open


@pytest.fixture
def none_open(left_open: Callable[[int], Awaitable[bool]]) -> Callable[[], Awaitable[bool]]:
    """Return what waits until all connections to the simulator that were opened since are closed."""

    async def none_open() -> bool:
        return await left_open(0)

    return none_open


def _blocking(hook: RoeHook, query_id: Any, **kwargs: Any) -> QueryStatus:
    return hook.get_query_status(query_id, **kwargs)


def _async(hook: RoeHook, query_id: Any, **kwargs: Any) -> QueryStatus:
    return asyncio.run(hook.aget_query_status(query_id, **kwargs))


@pytest.fixture
def asked(roe: RoeSimulator) -> Callable[..., Awaitable[None]]:
    """Return what waits until the simulator has had so many requests, or has answered them with a code."""

    async def asked(times: int, code: int | None = None) -> None:
        async with asyncio.timeout(patient(30)):
            while sum(code in (None, request.status_code) for request in roe.requests) < times:  # noqa: ASYNC110 - they come in another thread
                await asyncio.sleep(0.01)

    return asked


@pytest.fixture(params=[_blocking, _async], ids=["blocking", "async"])
def ask(request: pytest.FixtureRequest) -> Callable[..., QueryStatus]:
    """Return what asks a hook for a query's status: once the blocking way, once on an event loop."""
    return request.param


@pytest.fixture
def look_ups(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the ids of the connections that Airflow is asked for, whether it finds them or not."""
    asked_for: list[str] = []

    def counted(look_up: Callable[..., Any]) -> Callable[..., Any]:
        def look_up_and_count(conn_id: str) -> Any:
            asked_for.append(conn_id)
            return look_up(conn_id)

        return look_up_and_count

    monkeypatch.setattr(lookup, "get_async_connection", counted(lookup.get_async_connection))
    # Not on Airflow's class, by which older versions look up on an event loop, too.
    hook = SimpleNamespace(get_connection=counted(BaseHook.get_connection))
    monkeypatch.setattr(lookup, "BaseHook", hook)
    return asked_for


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Return what SQL hooks tell of their lineage, which does not get to Airflow's collector."""
    told: list[dict[str, Any]] = []

    class Collector:
        def add_extra(self, context: Any, key: str, value: dict[str, Any]) -> None:
            told.append({"context": context, "key": key} | value)

    monkeypatch.setattr("airflow.providers.common.sql.hooks.lineage.get_hook_lineage_collector", Collector)
    return told
