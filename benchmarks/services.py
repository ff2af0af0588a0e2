"""What the polled services answer: Roe, and those of the peers that are measured on the same work."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Answer:
    """An answer of HTTP 200 unless it says otherwise."""

    body: Any
    status: str = "200 OK"

    def encode(self) -> bytes:
        """Return all that goes over the wire."""
        body = json.dumps(self.body).encode()
        head = (
            f"HTTP/1.1 {self.status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


@dataclass(frozen=True)
class Service:
    """
    An API that tells whether something has ended.

    :param path: The path of number ``{}``; without a placeholder the number is in the body, as ``run_id``.
    :param running: What it answers while a number runs.
    :param ended: What it answers afterwards.
    """

    path: str
    running: Callable[[int], Answer]
    ended: Callable[[int], Answer]

    def path_of(self, number: int) -> str:
        """Return the path at which a number is asked for."""
        return self.path.format(query_id(number) if self is SERVICES["roe"] else number)


def query_id(number: int) -> str:
    """Return the id of the query with this number."""
    return str(UUID(int=number))


def _roe(status: str, finished_at: str | None) -> Callable[[int], Answer]:
    return lambda number: Answer(
        {
            "worksheet_query_id": query_id(number),
            "status": status,
            "error": None,
            "created_at": "2026-01-05T08:00:00.123456Z",
            "finished_at": finished_at,
        }
    )


def _dbt_cloud(status: int) -> Callable[[int], Answer]:
    return lambda number: Answer({"status": {"code": 200}, "data": {"id": number, "status": status}})


def _databricks(**state: str) -> Callable[[int], Answer]:
    return lambda number: Answer({"run_id": number, "state": {"state_message": "", **state}, "tasks": []})


def _airbyte(status: str) -> Callable[[int], Answer]:
    return lambda number: Answer(
        {
            "jobId": number,
            "status": status,
            "jobType": "sync",
            "startTime": "2026-01-05T08:00:00Z",
            "connectionId": query_id(number),
        }
    )


SERVICES = {
    "roe": Service(
        "/v1/database/query/{}/status/",
        _roe("STARTED", None),
        _roe("SUCCESS", "2026-01-05T08:01:00.123456Z"),
    ),
    "dbt_cloud": Service("/api/v2/accounts/1/runs/{}/", _dbt_cloud(3), _dbt_cloud(10)),
    "databricks": Service(
        "/api/2.2/jobs/runs/get",
        _databricks(life_cycle_state="RUNNING"),
        _databricks(life_cycle_state="TERMINATED", result_state="SUCCESS"),
    ),
    "http": Service(
        "/things/{}",
        lambda number: Answer({"id": number}, "404 Not Found"),
        lambda number: Answer({"id": number}),
    ),
    "airbyte": Service("/jobs/{}", _airbyte("running"), _airbyte("succeeded")),
}
