from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
import requests

from airflow_provider_roe.testing import QueryPlan, RoeSimulator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

AT_ONCE = QueryPlan(statuses=())


class Client(requests.Session):
    """Calls the simulator the way ROE_API.md documents it."""

    def __init__(self, roe: RoeSimulator) -> None:
        super().__init__()
        self.trust_env = False
        self.headers["Authorization"] = f"Bearer {roe.api_key}"
        self.base = f"{roe.url}/v1/database/query/"
        self.organization = {"organization_id": roe.organization_id}

    def request(self, method: str, url: str, **kwargs: Any) -> requests.Response:  # type: ignore[override]
        return super().request(method, url, **{"timeout": 10} | kwargs)

    def submit(self, sql: str = "SELECT 1", **kwargs: Any) -> requests.Response:
        return self.post(
            f"{self.base}async/", **{"params": self.organization, "json": {"query": sql}} | kwargs
        )

    def status(self, query_id: str, **kwargs: Any) -> requests.Response:
        return self.get(f"{self.base}{query_id}/status/", **{"params": self.organization} | kwargs)

    def result(self, query_id: str, **kwargs: Any) -> requests.Response:
        return self.get(f"{self.base}{query_id}/result/", **{"params": self.organization} | kwargs)

    def run(self, sql: str = "SELECT 1", **kwargs: Any) -> requests.Response:
        return self.post(self.base, **{"json": {"query": sql, **self.organization}} | kwargs)


@pytest.fixture
def roe() -> Iterator[RoeSimulator]:
    with RoeSimulator(plan=AT_ONCE) as roe:
        yield roe


@pytest.fixture
def client(roe: RoeSimulator) -> Iterator[Client]:
    with Client(roe) as client:
        yield client


@pytest.fixture
def until() -> Callable[[Callable[[], Any]], None]:
    def until(condition: Callable[[], Any]) -> None:
        deadline = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.005)

    return until


@pytest.fixture
def ended(roe: RoeSimulator, until: Callable[[Callable[[], Any]], None]) -> Callable[..., str]:
    """Return a function that submits a query and returns its id when it has ended."""

    def ended(sql: str, plan: QueryPlan | None = None) -> str:
        query_id = roe.submit(sql, plan)
        until(lambda: roe.queries[query_id].finished_at)
        return query_id

    return ended
