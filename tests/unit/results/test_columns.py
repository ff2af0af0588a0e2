from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from airflow_provider_roe import results
from airflow_provider_roe.exceptions import RoeResultError
from airflow_provider_roe.results import columns
from airflow_provider_roe.results.columns import csv_lines, json_lines
from tests.unit.results.answers import INVOICES, body, read, statement

AWKWARD = statement(
    **{
        '100% "sure"\n{s}': ("Nullable(String)", ['a "quoted"\\', "\\N", "100%", "", "\x1f", "é"]),
        "%s": ("Array(Nullable(Int8))", ["[]", "[1,NULL]", "[1, 2]", "[]", "[]", "[]"]),
        "f": ("Float64", ["nan", "-inf", "1e300", "0.1", "-0", "100000"]),
        "t": ("DateTime64(3, 'Europe/Berlin')", [f"2026-0{n}-01 10:00:00.500" for n in range(1, 7)]),
        "m": ("Map(String, Decimal(9, 2))", ["{'k':1.50}", "{}", "{}", "{}", "{}", "{}"]),
    }
)


def lines(of: Any, make: Any, *arguments: Any) -> bytes:
    statement_, batches = next(read(body(of)).batches())
    return b"".join(bytes(part) for part in make(statement_, batches, *arguments))


class TestJsonLines:
    @pytest.mark.parametrize(
        "of", [INVOICES, AWKWARD, statement(n=("UInt8", []))], ids=["few", "awkward", "none"]
    )
    @pytest.mark.parametrize("characters", [1, columns.LINES])
    def test_they_are_the_same_without_pyarrow_and_whatever_is_made_at_a_time(
        self, of, characters, monkeypatch
    ):
        fast = lines(of, json_lines)
        monkeypatch.setattr(columns, "LINES", characters)
        assert lines(of, json_lines) == fast
        monkeypatch.setitem(sys.modules, "airflow_provider_roe.results.casts", None)
        monkeypatch.delattr(results, "casts")
        assert lines(of, json_lines) == fast

    def test_any_column_s_name_is_one(self):
        first = json.loads(lines(AWKWARD, json_lines).split(b"\n")[0])
        assert list(first) == AWKWARD["column_names"]


class TestHalfASurrogatePair:
    @pytest.mark.parametrize(("make", "arguments"), [(json_lines, ()), (csv_lines, ("",))])
    def test_it_is_no_text_and_is_named(self, make, arguments):
        half = statement(ok=("UInt8", ["1", "2"]), s=("String", ["x", "a\ud800"]))
        with pytest.raises(RoeResultError, match="Statement 1, row 2, column s: "):
            lines(half, make, *arguments)
