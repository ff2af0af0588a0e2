from __future__ import annotations

import csv
import io
import json
import os
import resource
import sys
import tempfile
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from airflow.providers.common.compat.sdk import ObjectStoragePath
from airflow.providers.common.compat.sdk import io as io_of_airflow
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_roe.exceptions import RoeError, RoeInputError
from airflow_provider_roe.results import files, json_stream
from airflow_provider_roe.results.rows import rows
from tests.awkward_names import AWKWARD
from tests.unit.results.answers import INSERT, INVOICES, NUMBERS, body, read, statement

if TYPE_CHECKING:
    from collections.abc import Iterator

each_format = pytest.mark.parametrize("extension", ["csv", "jsonl", "parquet"])


@pytest.fixture
def storage() -> MemoryFileSystem:
    """Return an empty storage, which Airflow has for ``s3://for_test@``."""
    storage = MemoryFileSystem()
    storage.store.clear()
    storage.pseudo_dirs[:] = [""]
    io_of_airflow.store.attach("s3", "for_test", fs=storage)
    return storage


@pytest.fixture
def private_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the directory for temporary files, which nobody else uses."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


class Lineage:
    """Keeps which files Airflow's lineage is told of."""

    def __init__(self) -> None:
        self.outputs: list[str] = []

    def add_output_asset(self, context: Any, uri: str) -> None:
        self.outputs.append(uri)


@pytest.fixture
def lineage(monkeypatch: pytest.MonkeyPatch) -> Lineage:
    lineage = Lineage()
    monkeypatch.setattr(files, "get_hook_lineage_collector", lambda: lineage)
    return lineage


@contextmanager
def little_space() -> Iterator[None]:
    """Let files grow to no more than 4 KB, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class TestOutput:
    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("x.csv", "CSV"),
            ("x.CSV", "CSV"),
            ("x.jsonl", "JSON Lines"),
            ("x.ndjson", "JSON Lines"),
            ("x.parquet", "Parquet"),
            ("x.csv.parquet", "Parquet"),
        ],
    )
    def test_the_extension_says_the_format(self, tmp_path, name, expected):
        assert files.check_output(f"file://{tmp_path}/{name}").format.name == expected

    @pytest.mark.parametrize("path", [None, "", "  ", "\n"])
    def test_nothing_is_refused(self, path):
        with pytest.raises(RoeInputError, match="output_path rendered to nothing"):
            files.check_output(path)

    @pytest.mark.parametrize(
        ("path", "message"),
        [
            ("/tmp/x.json", r"must end in \.csv, \.jsonl, \.ndjson or \.parquet, not '/tmp/x\.json'"),
            ("/tmp/x", "must end in"),
            ("/tmp", "must end in"),
            ("/tmp/x.csv/", "must end in"),
            ("s3://for_test@bucket/x.csv/", "must end in"),
            ("s3://for_test@bucket/x?versionId=1.csv", r"must not contain \?"),
            ("/tmp/a\nb.csv", r"must not contain .*'/tmp/a\\nb.csv'"),
            ("foo://bucket/x.csv", r"'foo://bucket/x\.csv' cannot be used .*provider for its scheme"),
            ("https://example.com/x.csv", "cannot be used .*provider for its scheme"),
            ("gs://bucket/x.csv", "cannot be used"),
            ("x.csv", "absolute path of a file, not 'x.csv'"),
            ("~/x.csv", "absolute path of a file, not '~/x.csv'"),
            ("file://data/x.csv", "absolute path of a file"),
            ("/dev/null/x.csv", "cannot be used .*Not a directory.*check the path"),
            ("s3://for_test@bucket.csv", "is a folder, or a bucket"),
        ],
    )
    def test_what_cannot_be_used_is_refused_before(self, storage, path, message):
        with pytest.raises(RoeInputError, match=message):
            files.check_output(path)

    def test_a_directory_is_refused(self, tmp_path):
        (tmp_path / "rows.csv").mkdir()
        with pytest.raises(RoeInputError, match=r"rows\.csv' is a folder"):
            files.check_output(f"{tmp_path}/rows.csv")

    def test_what_has_objects_under_it_is_refused(self, storage):
        storage.pipe("/bucket/rows.csv/part-1", b"")
        with pytest.raises(RoeInputError, match=r"rows\.csv' is a folder"):
            files.check_output("s3://for_test@bucket/rows.csv")

    def test_a_directory_that_takes_no_files_is_refused(self):
        files.check_output("/tmp/x.csv")  # imports what nobody else may be allowed to read
        with TemporaryDirectory(dir="/tmp") as directory:
            Path(directory).chmod(0o555)
            root = os.geteuid() == 0
            if root:
                os.seteuid(65534)
            try:
                with pytest.raises(RoeInputError, match=f"nothing may be added to {directory}"):
                    files.check_output(f"{directory}/made/rows.csv")
            finally:
                if root:
                    os.seteuid(0)

    def test_parquet_without_pyarrow_says_what_to_install(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        monkeypatch.delitem(sys.modules, "pyarrow.parquet")
        with pytest.raises(
            RoeInputError, match=r"install airflow-provider-roe\[parquet\].* \.csv, \.jsonl or \.ndjson\."
        ):
            files.check_output("/tmp/x.parquet")

    def test_without_pyarrow_the_others_work(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        assert files.check_output("/tmp/x.csv").format.name == "CSV"
        assert files.check_output("/tmp/x.jsonl").format.name == "JSON Lines"

    def test_several_statements_have_a_number_before_the_extension(self):
        output = files.Output("s3://aws@bucket/a.b/report.v2.csv", files.FORMATS[0])
        assert output.urls(1) == ["s3://aws@bucket/a.b/report.v2.csv"]
        assert output.urls(2) == [
            "s3://aws@bucket/a.b/report.v2-1.csv",
            "s3://aws@bucket/a.b/report.v2-2.csv",
        ]
        assert output.urls(0) == []


def write(tmp_path: Path, extension: str, *statements: Any) -> list[dict[str, Any]]:
    output = files.check_output(f"file://{tmp_path}/made/rows.{extension}")
    return files.write(read(body(*statements)), output)


def names(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in tmp_path.rglob("*") if path.is_file())


def content(told: dict[str, Any]) -> bytes:
    path = ObjectStoragePath(told["path"])
    return path.fs.cat_file(path.path)


class TestFiles:
    @each_format
    def test_path_rows_and_columns_are_told(self, tmp_path, extension):
        told = write(tmp_path, extension, NUMBERS)
        assert told == [
            {
                "path": f"file://{tmp_path}/made/rows.{extension}",
                "row_count": 3,
                "columns": [{"name": "n", "type": "UInt8"}],
            }
        ]
        assert json.loads(json.dumps(told)) == told
        assert names(tmp_path) == [f"rows.{extension}"]

    @each_format
    def test_there_is_one_for_each_statement_that_returns_columns(self, tmp_path, extension):
        told = write(tmp_path, extension, INVOICES, INSERT, NUMBERS)
        assert [(Path(file["path"]).name, file["row_count"]) for file in told] == [
            (f"rows-1.{extension}", 2),
            (f"rows-2.{extension}", 3),
        ]
        assert names(tmp_path) == [f"rows-1.{extension}", f"rows-2.{extension}"]

    @each_format
    def test_there_is_none_where_nothing_returns_columns(self, tmp_path, extension):
        assert write(tmp_path, extension, INSERT) == []
        assert names(tmp_path) == []

    @each_format
    def test_what_was_there_is_replaced(self, tmp_path, extension):
        write(tmp_path, extension, INVOICES)
        write(tmp_path, extension, NUMBERS)
        again = (tmp_path / f"made/rows.{extension}").read_bytes()
        write(tmp_path / "fresh", extension, NUMBERS)
        assert again == (tmp_path / f"fresh/made/rows.{extension}").read_bytes()

    @pytest.mark.parametrize("scheme", ["", "file://"])
    @pytest.mark.parametrize("name", AWKWARD)
    def test_rows_are_where_the_returned_path_says(self, tmp_path, scheme, name):
        [told] = files.write(read(body(NUMBERS)), files.check_output(f"{scheme}{tmp_path}/{name}"))
        assert content(told) == b"n\n1\n2\n3\n"
        assert (tmp_path / name).is_file()

    @pytest.mark.parametrize("extension", ["jsonl", "parquet"])  # CSV takes any cell
    def test_an_error_leaves_all_as_it_was(self, tmp_path, extension):
        (tmp_path / "made").mkdir()
        old = tmp_path / f"made/rows-1.{extension}"
        old.write_text("old")
        with pytest.raises(RoeError, match="row 2, column n"):
            write(tmp_path, extension, NUMBERS, statement(n=("UInt8", ["1", "x"])))
        assert names(tmp_path) == [old.name]
        assert old.read_text() == "old"

    @each_format
    def test_a_full_disk_is_told_and_leaves_all_as_it_was(self, tmp_path, extension):
        write(tmp_path, extension, NUMBERS)
        old = (tmp_path / f"made/rows.{extension}").read_bytes()
        with little_space(), pytest.raises(OSError, match="File too large"):
            write(tmp_path, extension, statement(n=("UInt64", [str(n**4) for n in range(10_000)])))
        assert names(tmp_path) == [f"rows.{extension}"]
        assert (tmp_path / f"made/rows.{extension}").read_bytes() == old

    def test_a_directory_that_is_there_by_now_is_refused_before_anything_is_written(self, tmp_path):
        output = files.check_output(f"{tmp_path}/rows.csv")
        (tmp_path / "rows-2.csv").mkdir()
        with pytest.raises(RoeInputError, match=r"rows-2\.csv' is a folder"):
            files.write(read(body(NUMBERS, NUMBERS)), output)
        assert list(tmp_path.iterdir()) == [tmp_path / "rows-2.csv"]

    def test_lineage_has_each_file(self, tmp_path, lineage):
        told = write(tmp_path, "csv", NUMBERS, NUMBERS)
        assert lineage.outputs == [file["path"] for file in told]

    def test_a_directory_that_comes_in_between_is_not_written_into(self, tmp_path, lineage):
        def write_slowly(*_):
            (tmp_path / "rows-2.csv").mkdir(exist_ok=True)

        output = files.Output(f"{tmp_path}/rows.csv", files.Format("CSV", (".csv",), write_slowly))
        with pytest.raises(IsADirectoryError):
            files.write(read(body(NUMBERS, NUMBERS)), output)
        assert sorted(tmp_path.rglob("*")) == [tmp_path / "rows-1.csv", tmp_path / "rows-2.csv"]
        assert lineage.outputs == [f"{tmp_path}/rows-1.csv"]

    @each_format
    def test_two_columns_of_the_same_name_are_an_error(self, tmp_path, extension):
        twice = statement(a=("UInt8", ["1"]), b=("UInt8", ["2"])) | {"column_names": ["a", "a"]}
        with pytest.raises(RoeInputError, match="2 columns called a"):
            write(tmp_path, extension, twice)
        assert names(tmp_path) == []

    @each_format
    def test_batches_make_one_file(self, tmp_path, extension, monkeypatch):
        many = statement(n=("UInt32", [str(n) for n in range(20_000)]))
        write(tmp_path / "at-once", extension, many)
        monkeypatch.setattr(json_stream, "PIECE", 10_000)
        write(tmp_path / "in-batches", extension, many)
        files = [tmp_path / name / f"made/rows.{extension}" for name in ("at-once", "in-batches")]
        if extension == "parquet":  # whose pages end where batches do
            at_once, batched = map(pq.read_table, files)
        else:
            at_once, batched = (file.read_bytes() for file in files)
        assert at_once == batched


class TestObjectStorage:
    @each_format
    def test_rows_go_through_airflow_s_file_system_for_scheme_and_connection(self, storage, extension):
        output = files.check_output(f"s3://for_test@bucket/day/rows.{extension}")
        told = files.write(read(body(INVOICES, NUMBERS)), output)
        assert [file["path"] for file in told] == output.urls(2)
        assert storage.find("/") == [f"/bucket/day/rows-{number}.{extension}" for number in (1, 2)]

    def test_what_was_there_is_replaced(self, storage):
        storage.pipe("/bucket/rows.csv", b"old")
        output = files.check_output("s3://for_test@bucket/rows.csv")
        [told] = files.write(read(body(NUMBERS)), output)
        assert content(told) == b"n\n1\n2\n3\n"

    @pytest.mark.parametrize("name", AWKWARD)
    def test_rows_are_where_the_returned_path_says(self, storage, name):
        output = files.check_output(f"s3://for_test@bucket/{name}")
        [told] = files.write(read(body(NUMBERS)), output)
        assert content(told) == b"n\n1\n2\n3\n"
        assert storage.find("/") == [f"/bucket/{name}"]

    def test_an_error_in_writing_leaves_nothing_behind(self, storage, private_tmp):
        output = files.check_output("s3://for_test@bucket/day/rows.jsonl")
        with pytest.raises(RoeError, match="row 1, column n"):
            files.write(read(body(NUMBERS, statement(n=("UInt8", ["x"])))), output)
        assert storage.find("/") == []
        assert names(private_tmp) == []

    def test_a_full_disk_is_told_and_leaves_nothing_behind(self, storage, private_tmp):
        output = files.check_output("s3://for_test@bucket/day/rows.csv")
        with little_space(), pytest.raises(OSError, match="File too large"):
            files.write(read(body(statement(n=("String", ["x" * 10_000])))), output)
        assert storage.find("/") == []
        assert names(private_tmp) == []

    def test_what_has_objects_under_it_by_now_is_refused_before_anything_is_written(self, storage):
        output = files.check_output("s3://for_test@bucket/rows.csv")
        storage.pipe("/bucket/rows-2.csv/part-1", b"")
        with pytest.raises(RoeInputError, match=r"rows-2\.csv' is a folder"):
            files.write(read(body(NUMBERS, NUMBERS)), output)
        assert storage.find("/") == ["/bucket/rows-2.csv/part-1"]

    def test_all_files_are_whole_before_the_first_is_put(self, storage, private_tmp):
        found = []

        def look_and_write(statement_, batches, file):
            found.append((storage.find("/"), len(names(private_tmp))))

        output = files.Output("s3://for_test@bucket/x.csv", files.Format("CSV", (".csv",), look_and_write))
        files.write(read(body(NUMBERS, NUMBERS)), output)
        assert found == [([], 1), ([], 2)]
        assert (storage.find("/"), names(private_tmp)) == (["/bucket/x-1.csv", "/bucket/x-2.csv"], [])


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
        assert (table.num_rows, table.schema.types) == (0, [pa.uint8(), pa.timestamp("ns", "UTC")])

    def test_row_groups_have_a_size(self, tmp_path, monkeypatch):
        monkeypatch.setattr(json_stream, "PIECE", 10_000)
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
