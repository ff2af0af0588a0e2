"""Rows as data frames of pandas and polars, and as Arrow tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_roe.api import base
from airflow_provider_roe.exceptions import RoeInputError
from airflow_provider_roe.results.columns import record_batches, schema
from airflow_provider_roe.results.garbage import no_search_for_cycles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pandas
    import pyarrow

    from airflow_provider_roe.results.spool import SpooledResult


def frame_maker(df_type: str) -> Callable[[pyarrow.Table], Any]:
    """
    Return the function that makes a data frame of an Arrow table.

    :param df_type: ``pandas`` or ``polars``.
    :raises RoeInputError: It is neither, or not installed.
    """
    try:
        import pyarrow  # noqa: F401

        match df_type:
            case "pandas":
                import pandas  # noqa: F401

                return _pandas
            case "polars":
                import polars

                return polars.from_arrow
    except ImportError as e:
        raise RoeInputError(f"{e.name} is missing: install airflow-provider-roe[{df_type}].") from None
    raise RoeInputError(f"df_type must be 'pandas' or 'polars', not {base.clip(repr(df_type), 100)}.")


def _pandas(table: pyarrow.Table) -> pandas.DataFrame:
    """
    Return a frame in which integers and booleans stay such beside NULL, in pandas' own nullable types.

    Lists, maps and structs have Python's values.
    """
    import pandas
    import pyarrow

    types: dict[pyarrow.DataType, Any] = {pyarrow.bool_(): pandas.BooleanDtype()}
    for name in ("Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64"):
        types[getattr(pyarrow, name.lower())()] = getattr(pandas, f"{name}Dtype")()
    columns = {}
    with no_search_for_cycles():
        for name, column in zip(table.column_names, table.columns, strict=True):
            if pyarrow.types.is_nested(column.type):
                columns[name] = pandas.Series(column.to_pylist(), dtype=object)
            else:
                columns[name] = column.to_pandas(types_mapper=types.get)
        return pandas.DataFrame(columns)


def last_tables(result: SpooledResult, rows_each: int | None = None) -> Iterator[pyarrow.Table]:
    """
    Yield the rows of the last statement that returns columns, as Arrow tables. Needs pyarrow.

    :param rows_each: How many rows a table has; the last may have fewer. Default: all of them are one table.
    :raises RoeInputError: No statement returns columns, or two columns have the same name.
    :raises RoeError: A cell is not what its column's type says.
    """
    import pyarrow

    if not result.statements:
        raise RoeInputError("None of the query's statements returns columns to make a data frame of.")
    result.check_names()
    for statement, batches in result.batches():
        if statement is not result.statements[-1]:
            continue
        columns = schema(statement)
        found = record_batches(statement, batches, columns)
        if rows_each is None:
            yield pyarrow.Table.from_batches(found, columns)
            return
        held = columns.empty_table()
        for batch in found:
            held = pyarrow.concat_tables([held, pyarrow.Table.from_batches([batch])])
            while held.num_rows > rows_each:
                yield held.slice(0, rows_each)
                held = held.slice(rows_each)
        yield held
