"""What SQL comes to, in the same form whichever engine has run it."""

from dataclasses import dataclass
from typing import Any, Final, Literal

#: How cells are written: as Python's ``str()`` of what clickhouse-connect reads, or as ClickHouse's text.
Cells = Literal["client", "text"]

#: NULL as ClickHouse's text
NULL_TEXT: Final = "ᴺᵁᴸᴸ"

#: Bytes of the rows of one statement, which an engine holds in memory
RESULT_BYTES: Final = 10_000_000


@dataclass(frozen=True)
class Outcome:
    """
    What became of a query.

    :param results: the statement results as Roe's API writes them, of the statements that went well.
    :param error: the database's message if a statement failed, which also ends the query.
    :param ended: when it was done, on the monotonic clock.
    """

    results: list[dict[str, Any]]
    error: str | None
    ended: float


def statement_result(
    statement: str,
    query_id: str,
    columns: list[tuple[str, str]],
    rows: list[list[str | None]],
    times: tuple[float, float],
    **counts: int,
) -> dict[str, Any]:
    """
    Write a statement result as Roe's API does.

    :param statement: its SQL.
    :param query_id: its id at the database.
    :param columns: names and ClickHouse types of the columns.
    :param rows: the rows, each a list of cells; None is NULL.
    :param times: when it started and ended, in Unix seconds.
    :param counts: what else the summary tells, as ``written_rows``.
    """
    start, end = times
    return {
        "query": statement,
        "query_id": query_id,
        "row_count": len(rows),
        "column_names": [name for name, _ in columns],
        "column_types": [type_name for _, type_name in columns],
        "result_rows": rows,
        "start_timestamp": start,
        "end_timestamp": end,
        "summary": {
            "query_id": query_id,
            **counts,
            "result_rows": len(rows),
            "result_bytes": sum(len(cell.encode()) for cells in rows for cell in cells if cell),
            "elapsed_ns": round((end - start) * 1e9),
        },
    }
