from __future__ import annotations

import os

import pytest
from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_provider_roe.client.inputs import BLOCK, file_urls, find_file, read_all_inputs, read_inputs
from airflow_provider_roe.exceptions import RoeInputError


@pytest.fixture
def scan(tmp_path):
    path = tmp_path / "scan.pdf"
    path.write_bytes(b"page")
    return path


class TestTexts:
    @pytest.mark.parametrize(
        ("value", "text"),
        [
            ("a", "a"),
            ("", ""),
            ("null", "null"),
            (7, "7"),
            (1.5, "1.5"),
            (True, "true"),
            (["a", {"b": None}], '["a", {"b": null}]'),
        ],
        ids=repr,
    )
    def test_what_is_no_text_is_sent_as_json(self, value, text):
        assert read_inputs({"x": value}, ()).values == {"x": text}

    @pytest.mark.parametrize(
        "value", [object, float("inf"), {1, 2}, b"bytes"], ids=["class", "inf", "set", "bytes"]
    )
    def test_what_json_cannot_say_is_refused(self, value):
        with pytest.raises(
            RoeInputError, match=r"^inputs\['x'\] must be a text, a number, or what else JSON"
        ):
            read_inputs({"x": value}, ())


class TestFiles:
    @pytest.mark.parametrize("form", [str, "file://{}".format, lambda p: ObjectStoragePath(f"file://{p}")])
    def test_are_found_by_url_path_or_object(self, scan, form):
        inputs = read_inputs({"document": form(scan), "text": str(scan)}, ["document"])
        found = inputs.files["document"]
        assert (found.name, found.size, b"".join(found.blocks())) == ("scan.pdf", 4, b"page")
        assert inputs.values == {"text": str(scan)}

    def test_an_object_storage_path_is_one_in_any_case(self, scan):
        assert list(read_inputs({"document": ObjectStoragePath(f"file://{scan}")}, ()).files) == ["document"]

    @pytest.mark.parametrize(
        ("url", "words"),
        [
            ("/nowhere/scan.pdf", "there is no file '/nowhere/scan.pdf'"),
            ("scan.pdf", "must be a URL or the absolute path of a file, not 'scan.pdf'"),
            ("~/scan.pdf", "must be a URL or the absolute path"),
            ("", "must be a URL or the absolute path"),
            (7, "must be a URL or the absolute path of a file, not 7"),
            ("nosuchscheme://bucket/scan.pdf", "cannot be read .*the provider for its scheme is installed"),
        ],
    )
    def test_what_is_none_is_refused_by_its_name(self, url, words):
        with pytest.raises(RoeInputError, match=rf"^inputs\[3\]\['document'\].*{words}"):
            read_inputs({"document": url}, ["document"], "inputs[3]")

    def test_a_folder_is_none(self, tmp_path):
        with pytest.raises(RoeInputError, match="is a folder: name a file in it"):
            find_file(str(tmp_path))

    def test_are_read_block_by_block(self, tmp_path):
        path = tmp_path / "long.bin"
        path.write_bytes(os.urandom(2 * BLOCK + 7))
        blocks = list(find_file(str(path)).blocks())
        assert [len(block) for block in blocks] == [BLOCK, BLOCK, 7]
        assert b"".join(blocks) == path.read_bytes()

    def test_one_that_is_gone_meanwhile_is_told(self, scan):
        found = find_file(str(scan))
        scan.unlink()
        with pytest.raises(RoeInputError, match=r"scan\.pdf' cannot be read \(FileNotFoundError"):
            list(found.blocks())


class TestDigest:
    def test_is_the_same_for_the_same(self, scan):
        given = {"b": "x", "a": 1, "document": str(scan)}
        reversed_ = dict(reversed(given.items()))
        assert len({read_inputs(each, ["document"]).digest for each in (given, given, reversed_)}) == 1

    def test_is_another_for_other_texts_files_or_content(self, scan, tmp_path):
        other = tmp_path / "other.pdf"
        other.write_bytes(b"page")
        digests = [
            read_inputs({"document": str(scan)}, ["document"]).digest,
            read_inputs({"document": str(scan)}, ()).digest,
            read_inputs({"document": str(other)}, ["document"]).digest,
            read_inputs({"document": str(scan), "x": ""}, ["document"]).digest,
        ]
        scan.write_bytes(b"another page")
        digests.append(read_inputs({"document": str(scan)}, ["document"]).digest)
        assert len(set(digests)) == 5


def test_many_are_each_told_by_their_index(scan):
    good = {"document": str(scan)}
    assert len(read_all_inputs([good] * 50, ["document"])) == 50
    with pytest.raises(RoeInputError, match=r"^inputs\[7\]\['document'\]: there is no file"):
        read_all_inputs([*[good] * 7, {"document": "/nowhere"}, good], ["document"])


def test_urls_are_told_without_a_look_at_the_files():
    path = ObjectStoragePath("file:///nowhere/b")
    assert file_urls({"a": "s3://bucket/a", "b": path, "c": "text"}, ["a"]) == ["s3://bucket/a", str(path)]
    assert file_urls("not rendered", ["a"]) == []
