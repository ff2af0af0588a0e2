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

from airflow_provider_roe.exceptions import RoeError, RoeInputError
from airflow_provider_roe.results import files, spool
from airflow_provider_roe.results.rows import rows
from tests.unit.results.answers import INSERT, INVOICES, NUMBERS, body, read, statement

FORMATS = ("csv", "jsonl", "parquet")
each_format = pytest.mark.parametrize("output_format", FORMATS)


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
        assert files.check_output(f"file://{tmp_path}/{name}", given_format).format == expected

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
            files.check_output(path, output_format)

    def test_parquet_without_pyarrow_says_what_to_install(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        monkeypatch.delitem(sys.modules, "pyarrow.parquet")
        with pytest.raises(RoeInputError, match=r"install airflow-provider-roe\[parquet\]"):
            files.check_output("/tmp/x.parquet")

    def test_without_pyarrow_the_others_work(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        assert files.check_output("/tmp/x.csv").format == "csv"
        assert files.check_output("/tmp/x.jsonl").format == "jsonl"

    def test_several_statements_have_a_number_before_the_extension(self):
        output = files.Output("s3://aws@bucket/a.b/report.v2.csv", "csv")
        assert output.urls(1) == ["s3://aws@bucket/a.b/report.v2.csv"]
        assert output.urls(2) == [
            "s3://aws@bucket/a.b/report.v2-1.csv",
            "s3://aws@bucket/a.b/report.v2-2.csv",
        ]
        assert files.Output("/data.d/report", "csv").urls(2) == ["/data.d/report-1", "/data.d/report-2"]


def write(tmp_path: Path, output_format: str, *statements: Any) -> list[dict[str, Any]]:
    output = files.check_output(f"file://{tmp_path}/made/rows.{output_format}")
    return files.write(read(body(*statements)), output)


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
        monkeypatch.setattr(spool, "BATCH", 1)
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
        output = files.check_output(f"s3://for_test@bucket/day/rows.{output_format}")
        told = files.write(read(body(INVOICES, NUMBERS)), output)
        assert [file["path"] for file in told] == output.urls(2)
        assert storage.find("/") == [f"/bucket/day/rows-{number}.{output_format}" for number in (1, 2)]

    def test_an_error_leaves_nothing_behind(self):
        storage = MemoryFileSystem()
        io_of_airflow.store.attach("s3", "for_test", fs=storage)
        storage.store.clear()
        output = files.check_output("s3://for_test@bucket/day/rows.jsonl")
        with pytest.raises(RoeError, match="row 1, column n"):
            files.write(read(body(NUMBERS, statement(n=("UInt8", ["x"])))), output)
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
        monkeypatch.setattr(spool, "BATCH", 1)
        monkeypatch.setattr(files, "ROW_GROUP", 1)
        write(tmp_path, "parquet", statement(n=("UInt32", [str(n) for n in range(20_000)])))
        file = pq.ParquetFile(tmp_path / "made/rows.parquet")
        assert file.num_row_groups > 1
        assert file.read()["n"].to_pylist() == list(range(20_000))


class TestJsonLines:
    def test_each_line_is_a_row_as_xcom_has_it(self, tmp_path):
        write(tmp_path, "jsonl", INVOICES)
        text = (tmp_path / "made/rows.jsonl").read_text(encoding="utf-8")
        assert [json.loads(line) for line in text.splitlines()] == rows(read(body(INVOICES)), 2)[0]
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
            files._write_csv(statement_, batches, file)
        assert list(csv.reader(io.StringIO(file.getvalue().decode(), newline=""))) == [
            ["a", "b"],
            *map(list, pairs),
        ]

    def test_null_and_the_empty_string_differ_for_who_looks(self, tmp_path):
        write(tmp_path, "csv", statement(a=("UInt8", ["1"] * 2), b=("Nullable(String)", ["", "\\N"])))
        options = pyarrow.csv.ConvertOptions(strings_can_be_null=True, quoted_strings_can_be_null=False)
        table = pyarrow.csv.read_csv(tmp_path / "made/rows.csv", convert_options=options)
        assert table["b"].to_pylist() == ["", None]
