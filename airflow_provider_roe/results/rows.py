"""Rows as plain or Python values, for XCom and for Python tasks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_roe.exceptions import RoeInputError
from airflow_provider_roe.results.columns import dicts

if TYPE_CHECKING:
    from airflow_provider_roe.results.spool import SpooledResult


def rows(
    result: SpooledResult, max_rows: float = math.inf, *, form: Literal["plain", "value"] = "plain"
) -> list[list[dict[str, Any]]]:
    """
    Return the rows of each statement that returns columns, as dicts from column to value.

    :param max_rows: How many rows there may be, over all statements.
    :param form: ``plain`` for values that JSON, and so XCom, carries without loss, as
        :meth:`~airflow_provider_roe.results.clickhouse.ColumnType.plain` says; ``value`` for those of
        :meth:`~airflow_provider_roe.results.clickhouse.ColumnType.value`: Decimal, datetime, ….
    :raises RoeInputError: There are more rows, or two columns of the same name.
    :raises RoeError: A cell is not what its column's type says.
    """
    result.check_names()
    if (count := sum(statement.row_count for statement in result.statements)) > max_rows:
        raise RoeInputError(
            f"The query returns {count:,} rows, more than max_rows={max_rows:,}: let the SQL return fewer,"
            " raise max_rows, or set output_path to have them written to a file of any size."
        )
    return [
        [row for batch in dicts(statement, batches, form) for row in batch]
        for statement, batches in result.batches()
    ]


def the_one(found: list[list[dict[str, Any]]]) -> list[Any]:
    """Return the rows of the only statement, or of several a list for each."""
    return found[0] if len(found) == 1 else found
