"""Results in files on S3, as Airflow's ObjectStoragePath and s3fs write and read them."""

from __future__ import annotations

import io
import json
import tempfile
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_provider_roe.exceptions import RoeError, RoeInputError
from airflow_provider_roe.results import files
from tests.awkward_names import AWKWARD
from tests.unit.results.answers import NUMBERS, body, read, statement

if TYPE_CHECKING:
    from pathlib import Path

    from tests.s3.conftest import Storage

ROWS = b"n\n1\n2\n3\n"
MIB = 2**20
LETTERS = "abcdefghij" * 3
LARGE = statement(text=("String", [letter * MIB for letter in LETTERS]))


@pytest.fixture(autouse=True)
def leaves_no_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield
    assert list(tmp_path.iterdir()) == []


def write(url: str, *statements: Any) -> list[dict[str, Any]]:
    return files.write(read(body(*statements or [NUMBERS])), files.check_output(url))


def is_part(method: str, url: str) -> bool:
    return method == "PUT" and "partNumber" in url


class TestWriting:
    @pytest.mark.parametrize(
        ("extension", "parse"),
        [
            ("csv", lambda data: [{"n": int(line)} for line in data.decode().splitlines()[1:]]),
            ("jsonl", lambda data: [json.loads(line) for line in data.splitlines()]),
            ("parquet", lambda data: pq.read_table(io.BytesIO(data)).to_pylist()),
        ],
    )
    def test_a_new_object(self, storage: Storage, extension, parse):
        [told] = write(storage.url(f"day/rows.{extension}"))
        assert told["path"] == storage.url(f"day/rows.{extension}")
        assert list(storage.objects()) == [f"day/rows.{extension}"]
        with ObjectStoragePath(told["path"]).open("rb") as file:
            assert parse(file.read()) == [{"n": 1}, {"n": 2}, {"n": 3}]

    def test_it_is_put_in_one_go_after_one_look(self, storage: Storage):
        output = files.check_output(storage.url("rows.csv"))
        storage.requests.clear()
        files.write(read(body(NUMBERS)), output)
        methods = [method for method, _ in storage.requests]
        assert methods == ["HEAD", "GET", "PUT"]  # s3fs asks for the object, then for one under it

    def test_an_object_that_was_there_is_replaced(self, storage: Storage):
        storage.put("rows.csv")
        write(storage.url("rows.csv"))
        assert storage.objects() == {"rows.csv": ROWS}

    def test_several_statements(self, storage: Storage):
        told = write(storage.url("rows.csv"), NUMBERS, statement(), statement(a=("UInt8", ["7"])))
        assert [file["path"] for file in told] == [storage.url("rows-1.csv"), storage.url("rows-2.csv")]
        assert storage.objects() == {"rows-1.csv": ROWS, "rows-2.csv": b"a\n7\n"}

    @pytest.mark.parametrize("name", AWKWARD)
    def test_rows_are_where_the_returned_path_says(self, storage: Storage, name):
        [told] = write(storage.url(name))
        assert storage.objects() == {name: ROWS}
        assert ObjectStoragePath(told["path"]).read_bytes() == ROWS

    def test_a_large_object_is_put_in_parts_of_little_memory(self, storage: Storage):
        write(storage.url("rows.csv"), LARGE)
        lines = [letter.encode() * MIB + b"\n" for letter in LETTERS]
        assert storage.objects() == {"rows.csv": b"".join([b"text\n", *lines])}
        assert sum(is_part(*request) for request in storage.requests) == 7
        assert storage.uploads() == []


class TestRefusal:
    def test_objects_under_the_target(self, storage: Storage):
        storage.put("rows.csv/part-1")
        with pytest.raises(RoeInputError, match=r"rows\.csv' is a folder"):
            files.check_output(storage.url("rows.csv"))

    @pytest.mark.parametrize(("statements", "key"), [(1, "rows.csv/part-1"), (2, "rows-2.csv/part-1")])
    def test_objects_under_a_target_that_came_after_the_check(self, storage: Storage, statements, key):
        output = files.check_output(storage.url("rows.csv"))
        storage.put(key)
        with pytest.raises(RoeInputError, match=r"\.csv' is a folder"):
            files.write(read(body(*[NUMBERS] * statements)), output)
        assert storage.objects() == {key: b"old"}

    def test_a_listing_of_before_hides_nothing(self, storage: Storage):
        storage.put("day/other.csv")
        ObjectStoragePath(storage.url("day")).fs.ls(f"{storage.bucket}/day")
        storage.put("day/rows.csv/part-1")
        with pytest.raises(RoeInputError, match="is a folder"):
            files.check_output(storage.url("day/rows.csv"))

    def test_a_listing_of_before_invents_nothing(self, storage: Storage):
        storage.put("day/rows.csv/part-1")
        fs = ObjectStoragePath(storage.url("day")).fs
        fs.ls(f"{storage.bucket}/day")
        fs.ls(f"{storage.bucket}/day/rows.csv")
        storage.client.delete_object(Bucket=storage.bucket, Key="day/rows.csv/part-1")
        write(storage.url("day/rows.csv"))
        assert storage.objects() == {"day/rows.csv": ROWS}

    @pytest.mark.parametrize("key", ["", "/", "day/", "rows.csv/"])
    def test_no_name_of_a_file(self, storage: Storage, key):
        with pytest.raises(RoeInputError, match="must end in"):
            files.check_output(storage.url(key))

    def test_no_bucket(self, storage: Storage):
        url = f"s3://aws_default@no-{storage.bucket}/day/rows.csv"
        with pytest.raises(RoeInputError, match=r"rows\.csv' cannot be used .*bucket does not exist"):
            files.check_output(url)

    def test_a_bucket_that_is_gone_by_now(self, storage: Storage):
        output = files.check_output(storage.url("rows.csv"))
        storage.client.delete_bucket(Bucket=storage.bucket)
        with pytest.raises(RoeInputError, match="bucket does not exist"):
            files.write(read(body(NUMBERS)), output)
        names = [bucket["Name"] for bucket in storage.client.list_buckets()["Buckets"]]
        assert storage.bucket not in names


class TestErrors:
    def test_who_may_write_need_not_be_allowed_to_look(self, storage: Storage):
        storage.refuses = lambda method, _: method in ("HEAD", "GET")
        write(storage.url("rows.csv"))
        storage.refuses = None
        assert storage.objects() == {"rows.csv": ROWS}

    def test_who_may_not_write_is_told_and_the_former_object_stays(self, storage: Storage):
        storage.put("rows.csv")
        storage.refuses = lambda method, _: method == "PUT"
        with pytest.raises(PermissionError, match="Access Denied"):
            write(storage.url("rows.csv"))
        assert storage.objects() == {"rows.csv": b"old"}

    def test_a_cell_that_cannot_be_read_leaves_the_former_objects(self, storage: Storage):
        storage.put("rows-1.jsonl")
        with pytest.raises(RoeError, match="row 1, column n"):
            write(storage.url("rows.jsonl"), NUMBERS, statement(n=("UInt8", ["x"])))
        assert storage.objects() == {"rows-1.jsonl": b"old"}

    def test_an_upload_that_breaks_off_leaves_the_former_object(self, storage: Storage):
        storage.put("rows.csv")
        storage.refuses = lambda method, url: is_part(method, url) and "partNumber=2" in url
        with pytest.raises(PermissionError, match="Access Denied"):
            write(storage.url("rows.csv"), LARGE)
        assert storage.objects() == {"rows.csv": b"old"}
        assert storage.uploads() == []

    def test_of_several_objects_those_that_were_put_before_the_error_stay(self, storage: Storage):
        storage.put("rows-1.csv")
        storage.put("rows-2.csv")
        storage.refuses = lambda method, url: method == "PUT" and "rows-2" in url
        with pytest.raises(PermissionError, match="Access Denied"):
            write(storage.url("rows.csv"), NUMBERS, NUMBERS)
        assert storage.objects() == {"rows-1.csv": ROWS, "rows-2.csv": b"old"}
