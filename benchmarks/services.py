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
        return with_head(self.encode_part(), self.status)

    def encode_part(self) -> bytes:
        """Return what goes over the wire as a part of a longer answer."""
        return json.dumps(self.body).encode()


@dataclass(frozen=True)
class Service:
    """
    An API that tells whether something has ended.

    :param path: The path of number ``{}``; without a placeholder the number is in the body, as ``run_id``.
    :param running: What it answers while a number runs.
    :param ended: What it answers afterwards.
    :param of_many: Whether a request is about many, by their ids in the body, as ``job_ids``; it is answered
        with a list of what is answered about each.
    """

    path: str
    running: Callable[[int], Answer]
    ended: Callable[[int], Answer]
    of_many: bool = False

    def path_of(self, number: int) -> str:
        """Return the path at which a number is asked for."""
        return self.path.format(roe_id(number) if self is SERVICES["roe"] else number)


def with_head(body: bytes, status: str = "200 OK") -> bytes:
    """Return an answer of JSON as it goes over the wire."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def roe_id(number: int) -> str:
    """Return the id of Roe's query or job with this number."""
    return str(UUID(int=number))


def _roe(status: str, finished_at: str | None) -> Callable[[int], Answer]:
    return lambda number: Answer(
        {
            "worksheet_query_id": roe_id(number),
            "status": status,
            "error": None,
            "created_at": "2026-01-05T08:00:00.123456Z",
            "finished_at": finished_at,
        }
    )


def _roe_agent(status: int) -> Callable[[int], Answer]:
    return lambda number: Answer(
        {
            "id": roe_id(number),
            "status": status,
            "created_at": "2026-01-05T08:00:00.123456Z",
            "last_updated_at": "2026-01-05T08:00:01.123456Z",
            "timestamp": 1767600001.123456,
            "error_message": None,
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
            "connectionId": roe_id(number),
        }
    )


SERVICES = {
    "roe": Service(
        "/v1/database/query/{}/status/",
        _roe("STARTED", None),
        _roe("SUCCESS", "2026-01-05T08:01:00.123456Z"),
    ),
    "roe_agent": Service("/v1/agents/jobs/statuses/", _roe_agent(1), _roe_agent(3), of_many=True),
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
