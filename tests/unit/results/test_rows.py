from __future__ import annotations

import pytest
from airflow import __version__ as airflow_version
from packaging.version import Version

from airflow_provider_roe.exceptions import RoeError, RoeInputError, RoeResultError
from airflow_provider_roe.results import json_stream
from airflow_provider_roe.results.rows import check_names_for_xcom, rows
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


RESERVED = ["__classname__", "__version__", "__data__", "__id__", "__cache__", "__type", "__source", "__var"]


class TestWhatAnXComCannotHold:
    @pytest.mark.parametrize("character", ["\0", "\ud800"], ids=ascii)
    @pytest.mark.parametrize(
        ("type_name", "cell"),
        [
            ("String", "a{}b"),
            ("Nullable(String)", "{}"),
            ("LowCardinality(String)", "{}"),
            ("Array(String)", "['a','{}']"),
            ("Map(String, UInt8)", "{{'a{}':1}}"),
            ("Map(String, Array(String))", "{{'a':['{}']}}"),
            ("Tuple(String, UInt8)", "('{}',1)"),
        ],
    )
    def test_a_character_in_a_cell_is_refused(self, type_name, cell, character):
        answer = body(
            INSERT, statement(ok=("UInt8", ["1", "2"]), n=(type_name, ["\\N", cell.format(character)]))
        )
        if "Nullable" not in type_name:
            answer["results"][1]["result_rows"][0][1] = cell.format("")
        with pytest.raises(RoeResultError, match=r"or set output_path to have the rows written") as e:
            rows(read(answer))
        what = f"the character U+{ord(character):04X} in an XCom. Let the SQL replace it"
        assert f"Statement 2, row 2, column n: Airflow's database refuses {what}" in str(e.value)

    @pytest.mark.parametrize("name", ["a\0", "\ud800", *RESERVED], ids=ascii)
    @pytest.mark.parametrize("cells", [[], ["1"]], ids=["no rows", "rows"])
    def test_a_column_s_name_is_refused(self, name, cells):
        with pytest.raises(RoeResultError, match=r"Statement 1, column '.*': .*another name with AS"):
            rows(read(body(statement(**{name: ("UInt8", cells)}))))

    @pytest.mark.parametrize("key", RESERVED)
    def test_a_key_in_a_cell_that_airflow_keeps_to_itself_is_refused(self, key):
        answer = body(statement(n=("Map(String, UInt8)", [f"{{'{key}':1}}"])))
        with pytest.raises(RoeResultError, match=f"row 1, column n: Airflow keeps the key {key} in an XCom"):
            rows(read(answer))

    def test_such_a_key_is_a_value_like_any_other(self):
        assert rows(read(body(statement(n=("String", ["__type"]))))) == [[{"n": "__type"}]]
        check_names_for_xcom(read(body(statement(__type=("UInt8", ["1"])))))

    @pytest.mark.parametrize("text", ["\x01\x7f", "\uffff", "😀", "\\u0000", "\\ud800"], ids=ascii)
    def test_all_other_characters_are_kept(self, text):
        assert rows(read(body(statement(**{text: ("String", [text])})))) == [[{text: text}]]

    def test_python_values_may_be_anything(self):
        answer = body(statement(**{"a\0": ("String", ["\0"]), "__type": ("UInt8", ["1"])}))
        assert rows(read(answer), form="value") == [[{"a\0": "\0", "__type": 1}]]

    if Version(airflow_version) >= Version("3.3"):

        def test_airflow_has_the_same_keys(self):
            from airflow._shared.serialization import FORBIDDEN_XCOM_KEYS

            assert set(RESERVED) == FORBIDDEN_XCOM_KEYS
