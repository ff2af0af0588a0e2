"""Rows as data frames of pandas and polars, and as Arrow tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_roe import api
from airflow_provider_roe.exceptions import RoeInputError
from airflow_provider_roe.results.columns import record_batches, schema

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow

    from airflow_provider_roe.results.spool import SpooledResult


def frame_maker(df_type: str) -> Callable[[pyarrow.Table], Any]:
    """
    Return what makes a data frame of an Arrow table.

    :param df_type: ``pandas`` or ``polars``.
    :raises RoeInputError: It is neither, or not installed.
    """
    try:
        import pyarrow  # noqa: F401

        match df_type:
            case "pandas":
                import pandas  # noqa: F401

                return lambda table: table.to_pandas()
            case "polars":
                import polars

                return lambda table: polars.from_arrow(table)
    except ImportError as e:
        raise RoeInputError(f"{e.name} is missing: install airflow-provider-roe[{df_type}].") from None
    raise RoeInputError(f"df_type must be 'pandas' or 'polars', not {api.clip(repr(df_type), 100)}.")


def tables(result: SpooledResult) -> list[pyarrow.Table]:
    """
    Return the rows of each statement that returns columns, as an Arrow table. Needs pyarrow.

    :raises RoeInputError: Two columns have the same name.
    :raises RoeError: A cell is not what its column's type says.
    """
    import pyarrow

    result.check_names()
    found = []
    for statement, batches in result.batches():
        columns = schema(statement)
        found.append(pyarrow.Table.from_batches(record_batches(statement, batches, columns), columns))
    return found
