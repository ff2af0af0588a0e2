"""The calls of Roe's API, and what answers them, for tests of what reads the answers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_roe.api import queries
from airflow_provider_roe.api.base import Request, Response

if TYPE_CHECKING:
    from collections.abc import Callable

QUERY = "7d9c3b1e-52f4-4a8d-9e60-1b7f2c4d8a35"
OTHER_QUERY = "11111111-2222-4333-8444-555555555555"
ORGANIZATION = "3f0c7a52-8d1e-4b6f-9a27-5c1b0e84d6f3"

STATUS = queries.status_request(QUERY, ORGANIZATION)
RESULT = queries.result_request(QUERY, ORGANIZATION)
SUBMIT = queries.submit_request("SELECT 1", ORGANIZATION)

READERS: list[tuple[Request, Callable[[Request, Response], Any]]] = [
    (STATUS, queries.read_status),
    (SUBMIT, queries.read_submitted),
    (RESULT, queries.read_result),
]
each_call = pytest.mark.parametrize(("call", "read"), READERS, ids=["status", "submit", "result"])


def answer(body: Any, code: int = 200, *, overlong: bool = False, **headers: str) -> Response:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(code, headers, raw, "the-request-id", overlong=overlong)
