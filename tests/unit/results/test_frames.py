from __future__ import annotations

import pandas as pd
import polars as pl
import pytest

from airflow_provider_roe.exceptions import RoeInputError
from airflow_provider_roe.results import frames
from tests.unit.results.answers import body, read, statement

BIG = 9007199254740993  # the first integer that no float is
INTEGERS = [f"{sign}Int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)]


def frame(df_type: str, **columns: tuple[str, list[str]]) -> pd.DataFrame | pl.DataFrame:
    return frames.frame_maker(df_type)(*frames.last_tables(read(body(statement(**columns)))))


class TestPandas:
    @pytest.mark.parametrize("name", INTEGERS)
    @pytest.mark.parametrize("cells", [["7", "\\N"], ["7", "8"], []])
    def test_an_integer_column_has_its_own_type_whatever_is_in_it(self, name, cells):
        column = frame("pandas", n=(f"Nullable({name})", cells))["n"]
        assert str(column.dtype) == name
        assert [None if value is pd.NA else value for value in column] == [
            None if cell == "\\N" else int(cell) for cell in cells
        ]

    def test_integers_beside_null_lose_no_digit(self):
        column = frame("pandas", n=("Nullable(Int64)", [str(BIG), "\\N"]))["n"]
        assert (column[0], column[1]) == (BIG, pd.NA)

    def test_booleans_beside_null_stay_such(self):
        column = frame("pandas", b=("Nullable(Bool)", ["true", "\\N"]))["b"]
        assert (str(column.dtype), column.tolist()) == ("boolean", [True, pd.NA])

    @pytest.mark.parametrize(
        ("name", "cell", "value"),
        [
            ("Array(Nullable(Int64))", f"[{BIG},NULL]", [BIG, None]),
            ("Array(Array(Nullable(Bool)))", "[[true,NULL]]", [[True, None]]),
            ("Map(String, Nullable(Int64))", f"{{'k':{BIG},'k':NULL}}", [("k", BIG), ("k", None)]),
            ("Tuple(a Nullable(Int64), b UInt8)", "(NULL,1)", {"a": None, "b": 1}),
        ],
    )
    def test_within_others_values_are_python_s(self, name, cell, value):
        [found] = frame("pandas", c=(name, [cell]))["c"]
        assert repr(found) == repr(value)


class TestPolars:
    def test_integers_beside_null_lose_no_digit(self):
        column = frame("polars", n=("Nullable(Int64)", [str(BIG), "\\N"]))["n"]
        assert (column.dtype, column.to_list()) == (pl.Int64, [BIG, None])


def test_another_kind_of_frame_is_refused():
    with pytest.raises(RoeInputError, match="df_type must be 'pandas' or 'polars', not 'dask'"):
        frames.frame_maker("dask")
