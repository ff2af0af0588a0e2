from __future__ import annotations

import pytest

from airflow_provider_roe.exceptions import RoeError, RoeInputError
from airflow_provider_roe.results import json_stream
from airflow_provider_roe.results.rows import rows
from tests.unit.results.answers import INSERT, INVOICES, NUMBERS, body, read, statement


class TestRows:
    def test_they_are_dicts_of_what_json_can_carry_for_each_statement(self):
        assert rows(read(body(INVOICES, INSERT, NUMBERS)), 5) == [
            [
                {
                    "id": 1,
                    "name": 'Ada, "Countess"\nLovelace',
                    "total": "0.1",
                    "due": "2026-07-01T10:00:00+02:00",
                    "tags": ["a", "b"],
                    "comment": "",
                },
                {
                    "id": 18446744073709551615,
                    "name": None,
                    "total": "-12345678901234.5678",
                    "due": "2026-12-01T10:00:00+01:00",
                    "tags": [],
                    "comment": "Grüße",
                },
            ],
            [{"n": 1}, {"n": 2}, {"n": 3}],
        ]

    def test_no_rows_are_rows(self):
        assert rows(read(body(statement(n=("UInt8", [])))), 0) == [[]]

    def test_more_rows_than_the_bound_over_all_statements_are_an_error_that_says_what_to_do(self):
        with pytest.raises(RoeInputError, match=r"returns 5 rows, more than max_rows=4.*output_path"):
            rows(read(body(INVOICES, NUMBERS)), 4)

    def test_a_cell_that_cannot_be_read_is_named(self):
        wrong = statement(ok=("UInt8", ["1"] * 3), n=("UInt8", ["1", "2", "x" * 200]))
        with pytest.raises(RoeError, match=r"Statement 2, row 3, column n: .* as UInt8 .*toString\(\)") as e:
            rows(read(body(INSERT, wrong)), 10)
        assert f"{'x' * 98}…. " in str(e.value)
        assert "x" * 100 not in str(e.value)

    def test_rows_are_counted_over_batches(self, monkeypatch):
        monkeypatch.setattr(json_stream, "PIECE", 10_000)
        wrong = statement(n=("UInt32", [*map(str, range(40_000)), "x"]))
        with pytest.raises(RoeError, match="row 40001, column n"):
            rows(read(body(wrong)), 100_000)

    def test_two_columns_of_the_same_name_are_an_error(self):
        twice = statement(a=("UInt8", ["1"]), b=("UInt8", ["2"])) | {"column_names": ["a", "a"]}
        with pytest.raises(
            RoeInputError, match="Statement 1 returns 2 columns called a: tell them apart with AS"
        ):
            rows(read(body(twice)), 1)
