"""Answers of Roe to a result call, made of statements' columns, and how they are read."""

from __future__ import annotations

import io
import json
from typing import Any

from airflow_provider_roe.api import queries
from airflow_provider_roe.api.base import Response
from airflow_provider_roe.results import spool

QUERY = "7d9c3b1e-52f4-4a8d-9e60-1b7f2c4d8a35"
REQUEST = queries.result_request(QUERY, None)


def statement(**columns: tuple[str, list[Any]]) -> dict[str, Any]:
    """Give a statement's result, from its columns' types and cells."""
    cells = [cells for _, cells in columns.values()]
    return {
        "query": "SELECT …",
        "row_count": len(cells[0]) if cells else 0,
        "column_names": list(columns),
        "column_types": [type_name for type_name, _ in columns.values()],
        "result_rows": [list(row) for row in zip(*cells, strict=True)],
    }


INVOICES = statement(
    id=("UInt64", ["1", "18446744073709551615"]),
    name=("Nullable(String)", ["Ada, \"Countess\"\nLovelace", "\\N"]),
    total=("Decimal(18, 4)", ["0.1", "-12345678901234.5678"]),
    due=("DateTime('Europe/Berlin')", ["2026-07-01 10:00:00", "2026-12-01 10:00:00"]),
    tags=("Array(String)", ["['a','b']", "[]"]),
    comment=("String", ["", "Grüße"]),
)  # fmt: skip
NUMBERS = statement(n=("UInt8", ["1", "2", "3"]))
INSERT = statement()


def body(*statements: Any, **fields: Any) -> dict[str, Any]:
    return {
        "worksheet_query_id": QUERY,
        "status": "SUCCESS",
        "error": None,
        "results": list(statements),
    } | fields


def read(answer: Any, code: int = 200) -> spool.SpooledResult:
    raw = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return spool.read(
        REQUEST, Response(code, {}, raw[:100], "the-request-id", overlong=True), io.BytesIO(raw), io.BytesIO()
    )
