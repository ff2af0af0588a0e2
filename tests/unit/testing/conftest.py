from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
import requests

from airflow_provider_roe.testing import JobPlan, QueryPlan, RoeSimulator
from airflow_provider_roe.testing.simulator import DEFAULT_AGENT_ID
from dev.patience import patient

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

    def agents(self, method: str, path: str, **kwargs: Any) -> requests.Response:
        """Make a call of those below /v1/agents/, as the vendor's specification has them."""
        url = self.base.replace("/database/query/", "/agents/") + path
        return self.request(method, url, **{"params": self.organization} | kwargs)

    def run_agent(
        self, inputs: object = None, *, agent_id: str = DEFAULT_AGENT_ID, version: str = "", **kwargs: Any
    ) -> requests.Response:
        path = f"run/{agent_id}/versions/{version}/async/" if version else f"run/{agent_id}/async/"
        return self.agents("POST", path, **{"json": inputs} | kwargs)

    def run_many(
        self, inputs: object, *, agent_id: str = DEFAULT_AGENT_ID, **kwargs: Any
    ) -> requests.Response:
        return self.agents("POST", f"run/{agent_id}/async/many/", **{"json": {"inputs": inputs}} | kwargs)

    def job_status(self, job_id: str, **kwargs: Any) -> requests.Response:
        return self.agents("GET", f"jobs/{job_id}/status/", **kwargs)

    def job_result(self, job_id: str, **kwargs: Any) -> requests.Response:
        return self.agents("GET", f"jobs/{job_id}/result/", **kwargs)

    def cancel_job(self, job_id: str, **kwargs: Any) -> requests.Response:
        return self.agents("POST", f"jobs/{job_id}/cancel/", **kwargs)

    def job_statuses(self, job_ids: object, **kwargs: Any) -> requests.Response:
        return self.agents("POST", "jobs/statuses/", **{"json": {"job_ids": job_ids}} | kwargs)

    def job_results(self, job_ids: object, **kwargs: Any) -> requests.Response:
        return self.agents("POST", "jobs/results/", **{"json": {"job_ids": job_ids}} | kwargs)


@pytest.fixture
def roe() -> Iterator[RoeSimulator]:
    with RoeSimulator(plan=AT_ONCE) as roe:
        roe.job_plan = JobPlan(statuses=())
        yield roe


@pytest.fixture
def client(roe: RoeSimulator) -> Iterator[Client]:
    with Client(roe) as client:
        yield client


@pytest.fixture
def until() -> Callable[[Callable[[], Any]], None]:
    def until(condition: Callable[[], Any]) -> None:
        deadline = time.monotonic() + patient(30)
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
