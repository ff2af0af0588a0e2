from __future__ import annotations

import csv
import io
import json
import sys
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from airflow.providers.common.compat.sdk import io as io_of_airflow
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_roe import api, results
from airflow_provider_roe.api import Response
from airflow_provider_roe.exceptions import RoeError, RoeInputError, RoeUnavailableError

QUERY = "7d9c3b1e-52f4-4a8d-9e60-1b7f2c4d8a35"
REQUEST = api.result_request(QUERY, None)
FORMATS = ("csv", "jsonl", "parquet")
each_format = pytest.mark.parametrize("output_format", FORMATS)


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


def read(answer: Any, code: int = 200) -> results.SpooledResult:
    raw = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return results.read(
        REQUEST, Response(code, {}, raw[:100], "the-request-id", overlong=True), io.BytesIO(raw)
    )


class TestReading:
    def test_all_but_the_rows_is_read_as_of_a_short_answer(self):
        answer = body(INVOICES, INSERT, NUMBERS)
        whole = api.read_result(REQUEST, Response(200, {}, json.dumps(answer).encode(), "x"))
        read_ = read(answer).result
        assert (read_.query_id, read_.status, read_.error) == (whole.query_id, whole.status, whole.error)
        for statement_, of_whole in zip(read_.results, whole.results, strict=True):
            assert statement_.rows == ()
            assert (statement_.column_names, statement_.row_count) == (
                of_whole.column_names,
                of_whole.row_count,
            )

    def test_statements_that_return_columns_are_told_apart_from_those_that_do_not(self):
        statements = read(body(INVOICES, INSERT, NUMBERS)).statements
        assert [(s.number, s.row_count, s.columns[0].name) for s in statements] == [
            (1, 2, "id"),
            (3, 3, "n"),
        ]

    @pytest.mark.parametrize(("bound", "batches"), [(1, 10), (200_000, 3), (results.BATCH, 1)])
    def test_rows_come_in_batches_of_a_size(self, monkeypatch, bound, batches):
        monkeypatch.setattr(results, "BATCH", bound)
        many = statement(n=("UInt32", [str(n) for n in range(50_000)]))
        seen = [
            (s.number, [list(part) for part in parts]) for s, parts in read(body(many, NUMBERS)).batches()
        ]
        assert [[row for part in parts for row in part] for _, parts in seen] == [
            many["result_rows"],
            NUMBERS["result_rows"],
        ]
        assert len(seen[0][1]) == pytest.approx(batches, abs=1)

    @given(st.permutations(list(INVOICES)), st.permutations(list(body())))
    def test_the_order_of_fields_does_not_matter(self, names, top):
        shuffled = {name: body({name: INVOICES[name] for name in names}, NUMBERS)[name] for name in top}
        assert results.rows(read(shuffled), 10) == results.rows(read(body(INVOICES, NUMBERS)), 10)

    def test_a_failed_query_has_no_statements(self):
        failed = read(body(status="FAILURE", error="Unknown table"))
        assert (failed.statements, failed.result.error) == ((), "Unknown table")

    @pytest.mark.parametrize(
        "wrong",
        [
            {"column_names": "n"},
            {"column_names": ["n", "m"]},
            {"column_types": []},
            {"column_names": [], "column_types": []},
            {"result_rows": None},
            {"result_rows": {"item": ["1"]}},
            {"result_rows": "ab"},
            {"result_rows": ["a"]},
            {"result_rows": [None]},
            {"result_rows": [[]]},
            {"result_rows": [["1"], ["1", "2"]]},
            {"result_rows": [[1]]},
            {"result_rows": [[["1"]]]},
            {"result_rows": [["1", ["2"]]], "row_count": 1},
            {"result_rows": [[]], "column_names": [], "column_types": []},
            {"result_rows": [[{"item": "1"}]]},
            {"row_count": "3"},
        ],
        ids=repr,
    )
    def test_a_statement_of_the_wrong_shape_is_no_answer(self, wrong):
        with pytest.raises(
            RoeUnavailableError, match=r"a body that is not the result of this query.*not Roe's"
        ):
            read(body(INVOICES, NUMBERS | wrong))

    @pytest.mark.parametrize(
        "wrong",
        [
            {"worksheet_query_id": REQUEST.path},
            {"results": {"item": NUMBERS}},
            {"results": [7]},
            {"status": 7},
        ],
        ids=repr,
    )
    def test_a_result_of_the_wrong_shape_is_no_answer(self, wrong):
        with pytest.raises(RoeUnavailableError, match="not the result of this query"):
            read(body(NUMBERS) | wrong)

    def test_rows_that_come_twice_are_no_answer(self):
        twice = json.dumps(body(NUMBERS)).replace('"result_rows"', '"result_rows": [["9"]], "result_rows"')
        with pytest.raises(RoeUnavailableError, match="not the result of this query"):
            read(twice.encode())

    @pytest.mark.parametrize("cut", [0, 1, 50, -20, -1])
    def test_a_body_that_is_cut_is_no_answer(self, cut):
        with pytest.raises(RoeUnavailableError, match="a body that is not JSON; it starts with"):
            read(json.dumps(body(INVOICES)).encode()[:cut])

    @pytest.mark.parametrize(
        "raw", [b"<html>", b"[" * 99_999, b"[" * 99_999 + b"]" * 99_999, b'"\xff"', b"{} {}"]
    )
    def test_what_is_not_json_is_no_answer(self, raw):
        with pytest.raises(RoeUnavailableError, match="a body that is not JSON") as e:
            read(raw)
        assert e.value.request_id == "the-request-id"

    def test_a_refusal_is_read_as_ever(self):
        with pytest.raises(RoeUnavailableError, match="answered with 503: busy"):
            read({"detail": "busy"}, 503)

    def test_an_answer_that_holds_fewer_rows_than_it_counts_is_an_error(self):
        with pytest.raises(RoeError, match=rf"holds 3 of the 10,000 rows of statement 2 of query {QUERY}"):
            read(body(INVOICES, NUMBERS | {"row_count": 10_000}))

    @given(
        st.recursive(
            st.none() | st.integers() | st.text(max_size=3),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from([*INVOICES, *body(), "item"]), inner, max_size=4)
            ),
        ),
        st.sampled_from(["results", "result_rows"]),
    )
    def test_any_other_shape_is_an_error_of_ours_or_as_the_short_reader_reads_it(self, value, place):
        answer = (
            body(NUMBERS, value) if place == "results" else body(NUMBERS | {place: value, "row_count": 0})
        )
        try:
            expected = api.read_result(REQUEST, Response(200, {}, json.dumps(answer).encode(), "x"))
        except RoeUnavailableError:
            with pytest.raises(RoeUnavailableError):
                read(answer)
        else:
            held = [
                [list(row) for batch in batches for row in batch] for _, batches in read(answer).batches()
            ]
            assert held == [[list(row) for row in s.rows] for s in expected.results if s.column_names]


class TestRows:
    def test_they_are_dicts_of_what_json_can_carry_for_each_statement(self):
        assert results.rows(read(body(INVOICES, INSERT, NUMBERS)), 5) == [
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
        assert results.rows(read(body(statement(n=("UInt8", [])))), 0) == [[]]

    def test_more_rows_than_the_bound_over_all_statements_are_an_error_that_says_what_to_do(self):
        with pytest.raises(RoeInputError, match=r"returns 5 rows, more than max_rows=4.*output_path"):
            results.rows(read(body(INVOICES, NUMBERS)), 4)

    def test_a_cell_that_cannot_be_read_is_named(self):
        wrong = statement(ok=("UInt8", ["1"] * 3), n=("UInt8", ["1", "2", "x" * 200]))
        with pytest.raises(RoeError, match=r"Statement 2, row 3, column n: .* as UInt8 .*toString\(\)") as e:
            results.rows(read(body(INSERT, wrong)), 10)
        assert f"{'x' * 98}…. " in str(e.value)
        assert "x" * 100 not in str(e.value)

    def test_rows_are_counted_over_batches(self, monkeypatch):
        monkeypatch.setattr(results, "BATCH", 1)
        wrong = statement(n=("UInt32", [*map(str, range(40_000)), "x"]))
        with pytest.raises(RoeError, match="row 40001, column n"):
            results.rows(read(body(wrong)), 100_000)

    def test_two_columns_of_the_same_name_are_an_error(self):
        twice = statement(a=("UInt8", ["1"]), b=("UInt8", ["2"])) | {"column_names": ["a", "a"]}
        with pytest.raises(
            RoeInputError, match="Statement 1 returns 2 columns called a: tell them apart with AS"
        ):
            results.rows(read(body(twice)), 1)


class TestOutput:
    @pytest.mark.parametrize(
        ("name", "given_format", "expected"),
        [
            ("x.csv", None, "csv"),
            ("x.CSV", None, "csv"),
            ("x.jsonl", None, "jsonl"),
            ("x.ndjson", None, "jsonl"),
            ("x.parquet", None, "parquet"),
            ("x.dat", "parquet", "parquet"),
            ("x", "csv", "csv"),
            ("x.csv", "jsonl", "jsonl"),
        ],
    )
    def test_the_format_is_given_or_the_extension_s(self, tmp_path, name, given_format, expected):
        assert results.check_output(f"file://{tmp_path}/{name}", given_format).format == expected

    @pytest.mark.parametrize(
        ("path", "output_format", "message"),
        [
            ("/tmp/x.json", None, r"must end in \.csv, .*, or output_format be one of csv, jsonl, parquet"),
            ("/tmp/x", None, "must end in"),
            ("", None, "must end in"),
            ("/tmp/x.csv", "orc", "not 'orc'"),
            ("/tmp/[x].csv", None, r"must not contain \*, \? or \["),
            ("foo://bucket/x.csv", None, r"'foo://bucket/x\.csv' cannot be used .*provider for its scheme"),
            ("gs://bucket/x.csv", None, "cannot be used"),
            ("x.csv", None, "absolute path of a file"),
            ("file://data/x.csv", None, "absolute path of a file"),
            ("/tmp/missing/", "csv", "absolute path of a file"),
            ("/tmp", "csv", "absolute path of a file"),
            (None, None, "must end in"),
        ],
    )
    def test_what_cannot_be_used_is_refused_before(self, path, output_format, message):
        with pytest.raises(RoeInputError, match=message):
            results.check_output(path, output_format)

    def test_parquet_without_pyarrow_says_what_to_install(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        monkeypatch.delitem(sys.modules, "pyarrow.parquet")
        with pytest.raises(RoeInputError, match=r"install airflow-provider-roe\[parquet\]"):
            results.check_output("/tmp/x.parquet")

    def test_without_pyarrow_the_others_work(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        assert results.check_output("/tmp/x.csv").format == "csv"
        assert results.check_output("/tmp/x.jsonl").format == "jsonl"

    def test_several_statements_have_a_number_before_the_extension(self):
        output = results.Output("s3://aws@bucket/a.b/report.v2.csv", "csv")
        assert output.urls(1) == ["s3://aws@bucket/a.b/report.v2.csv"]
        assert output.urls(2) == [
            "s3://aws@bucket/a.b/report.v2-1.csv",
            "s3://aws@bucket/a.b/report.v2-2.csv",
        ]
        assert results.Output("/data.d/report", "csv").urls(2) == ["/data.d/report-1", "/data.d/report-2"]


def write(tmp_path: Path, output_format: str, *statements: Any) -> list[dict[str, Any]]:
    output = results.check_output(f"file://{tmp_path}/made/rows.{output_format}")
    return results.write(read(body(*statements)), output)


def names(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in tmp_path.rglob("*") if path.is_file())


class TestFiles:
    @each_format
    def test_path_rows_and_columns_are_told(self, tmp_path, output_format):
        told = write(tmp_path, output_format, NUMBERS)
        assert told == [
            {
                "path": f"file://{tmp_path}/made/rows.{output_format}",
                "row_count": 3,
                "columns": [{"name": "n", "type": "UInt8"}],
            }
        ]
        assert json.loads(json.dumps(told)) == told
        assert names(tmp_path) == [f"rows.{output_format}"]

    @each_format
    def test_there_is_one_for_each_statement_that_returns_columns(self, tmp_path, output_format):
        told = write(tmp_path, output_format, INVOICES, INSERT, NUMBERS)
        assert [(Path(file["path"]).name, file["row_count"]) for file in told] == [
            (f"rows-1.{output_format}", 2),
            (f"rows-2.{output_format}", 3),
        ]
        assert names(tmp_path) == [f"rows-1.{output_format}", f"rows-2.{output_format}"]

    @each_format
    def test_there_is_none_where_nothing_returns_columns(self, tmp_path, output_format):
        assert write(tmp_path, output_format, INSERT) == []
        assert names(tmp_path) == []

    @each_format
    def test_what_was_there_is_replaced(self, tmp_path, output_format):
        write(tmp_path, output_format, INVOICES)
        write(tmp_path, output_format, NUMBERS)
        again = (tmp_path / f"made/rows.{output_format}").read_bytes()
        write(tmp_path / "fresh", output_format, NUMBERS)
        assert again == (tmp_path / f"fresh/made/rows.{output_format}").read_bytes()

    @pytest.mark.parametrize("output_format", ["jsonl", "parquet"])  # CSV takes any cell
    def test_an_error_leaves_all_as_it_was(self, tmp_path, output_format):
        (tmp_path / "made").mkdir()
        old = tmp_path / f"made/rows-1.{output_format}"
        old.write_text("old")
        with pytest.raises(RoeError, match="row 2, column n"):
            write(tmp_path, output_format, NUMBERS, statement(n=("UInt8", ["1", "x"])))
        assert names(tmp_path) == [old.name]
        assert old.read_text() == "old"

    @each_format
    def test_an_error_of_the_storage_is_told_and_leaves_nothing_behind(
        self, tmp_path, output_format, monkeypatch
    ):
        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(LocalFileSystem, "mv", full)
        with pytest.raises(OSError, match="No space left"):
            write(tmp_path, output_format, NUMBERS)
        assert names(tmp_path) == []

    @each_format
    def test_two_columns_of_the_same_name_are_an_error(self, tmp_path, output_format):
        twice = statement(a=("UInt8", ["1"]), b=("UInt8", ["2"])) | {"column_names": ["a", "a"]}
        with pytest.raises(RoeInputError, match="2 columns called a"):
            write(tmp_path, output_format, twice)
        assert names(tmp_path) == []

    @each_format
    def test_batches_make_one_file(self, tmp_path, output_format, monkeypatch):
        many = statement(n=("UInt32", [str(n) for n in range(20_000)]))
        write(tmp_path / "at-once", output_format, many)
        monkeypatch.setattr(results, "BATCH", 1)
        write(tmp_path / "in-batches", output_format, many)
        files = [tmp_path / name / f"made/rows.{output_format}" for name in ("at-once", "in-batches")]
        if output_format == "parquet":  # whose pages end where batches do
            at_once, batched = map(pq.read_table, files)
        else:
            at_once, batched = (file.read_bytes() for file in files)
        assert at_once == batched


class TestObjectStorage:
    @each_format
    def test_rows_go_through_airflow_s_file_system_for_scheme_and_connection(self, output_format):
        storage = MemoryFileSystem()
        io_of_airflow.store.attach("s3", "for_test", fs=storage)
        storage.store.clear()
        output = results.check_output(f"s3://for_test@bucket/day/rows.{output_format}")
        told = results.write(read(body(INVOICES, NUMBERS)), output)
        assert [file["path"] for file in told] == output.urls(2)
        assert storage.find("/") == [f"/bucket/day/rows-{number}.{output_format}" for number in (1, 2)]

    def test_an_error_leaves_nothing_behind(self):
        storage = MemoryFileSystem()
        io_of_airflow.store.attach("s3", "for_test", fs=storage)
        storage.store.clear()
        output = results.check_output("s3://for_test@bucket/day/rows.jsonl")
        with pytest.raises(RoeError, match="row 1, column n"):
            results.write(read(body(NUMBERS, statement(n=("UInt8", ["x"])))), output)
        assert storage.find("/") == []


class TestParquet:
    def test_it_has_clickhouse_s_types_and_values(self, tmp_path):
        write(tmp_path, "parquet", INVOICES)
        table = pq.read_table(tmp_path / "made/rows.parquet")
        assert dict(zip(table.schema.names, map(str, table.schema.types), strict=True)) == {
            "id": "uint64",
            "name": "string",
            "total": "decimal128(18, 4)",
            "due": "timestamp[ms, tz=Europe/Berlin]",  # Parquet has no seconds
            "tags": "list<element: string>",
            "comment": "string",
        }
        assert table.to_pylist()[1] == {
            "id": 2**64 - 1,
            "name": None,
            "total": Decimal("-12345678901234.5678"),
            "due": datetime(2026, 12, 1, 10, tzinfo=ZoneInfo("Europe/Berlin")),
            "tags": [],
            "comment": "Grüße",
        }

    def test_without_rows_it_has_the_types(self, tmp_path):
        write(tmp_path, "parquet", statement(n=("UInt8", []), t=("Nullable(DateTime64(9))", [])))
        table = pq.read_table(tmp_path / "made/rows.parquet")
        assert (table.num_rows, table.schema.types) == (0, [pa.uint8(), pa.timestamp("ns")])

    def test_row_groups_have_a_size(self, tmp_path, monkeypatch):
        monkeypatch.setattr(results, "BATCH", 1)
        monkeypatch.setattr(results, "ROW_GROUP", 1)
        write(tmp_path, "parquet", statement(n=("UInt32", [str(n) for n in range(20_000)])))
        file = pq.ParquetFile(tmp_path / "made/rows.parquet")
        assert file.num_row_groups > 1
        assert file.read()["n"].to_pylist() == list(range(20_000))


class TestJsonLines:
    def test_each_line_is_a_row_as_xcom_has_it(self, tmp_path):
        write(tmp_path, "jsonl", INVOICES)
        text = (tmp_path / "made/rows.jsonl").read_text(encoding="utf-8")
        assert [json.loads(line) for line in text.splitlines()] == results.rows(read(body(INVOICES)), 2)[0]
        assert "Grüße" in text


class TestCsv:
    def test_cells_are_as_roe_sends_them_and_null_is_an_empty_field(self, tmp_path):
        write(tmp_path, "csv", INVOICES)
        assert (tmp_path / "made/rows.csv").read_bytes().decode() == (
            "id,name,total,due,tags,comment\n"
            '1,"Ada, ""Countess""\nLovelace",0.1,2026-07-01 10:00:00,"[\'a\',\'b\']",""\n'
            "18446744073709551615,,-12345678901234.5678,2026-12-01 10:00:00,[],Grüße\n"
        )

    def test_no_row_of_a_single_column_is_an_empty_line(self, tmp_path):
        write(tmp_path, "csv", statement(n=("Nullable(UInt8)", ["1", None, "\\N"])))
        assert (tmp_path / "made/rows.csv").read_text() == 'n\n1\n""\n""\n'

    @given(st.lists(st.tuples(st.text(), st.text()), max_size=5))
    def test_any_strings_are_read_back(self, pairs):
        file = io.BytesIO()
        answer = read(
            body(statement(a=("String", [a for a, _ in pairs]), b=("String", [b for _, b in pairs])))
        )
        for statement_, batches in answer.batches():
            results._write_csv(statement_, batches, file)
        assert list(csv.reader(io.StringIO(file.getvalue().decode(), newline=""))) == [
            ["a", "b"],
            *map(list, pairs),
        ]

    def test_null_and_the_empty_string_differ_for_who_looks(self, tmp_path):
        write(tmp_path, "csv", statement(a=("UInt8", ["1"] * 2), b=("Nullable(String)", ["", "\\N"])))
        options = pyarrow.csv.ConvertOptions(strings_can_be_null=True, quoted_strings_can_be_null=False)
        table = pyarrow.csv.read_csv(tmp_path / "made/rows.csv", convert_options=options)
        assert table["b"].to_pylist() == ["", None]
