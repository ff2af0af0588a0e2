from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest
from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_provider_roe.client.inputs import BLOCK, file_urls, find_file, read_all_inputs, read_inputs
from airflow_provider_roe.exceptions import RoeInputError
from dev.patience import patient


@pytest.fixture
def scan(tmp_path):
    path = tmp_path / "scan.pdf"
    path.write_bytes(b"page")
    return path


def nested(depth: int) -> list[object]:
    inner: list[object] = []
    for _ in range(depth):
        inner = [inner]
    return inner


def repr_start(value: object) -> str:
    return repr(value)[:30]


@pytest.fixture
def storage(monkeypatch):
    """Return what makes local files be those of a storage: what it tells of them, raises, or waits for."""

    def storage(info=None, error=None, together=1):
        opened = []
        all_there = threading.Barrier(together, timeout=patient(30))

        class Storage:
            def info(self, path):
                all_there.wait()
                if error:
                    raise error
                return info

            def open(self, path, mode, **options):
                opened.append(options)
                if error:
                    raise error
                return Path(path).open(mode)

        monkeypatch.setattr(ObjectStoragePath, "fs", Storage())
        return opened

    return storage


class TestGiven:
    @pytest.mark.parametrize(
        ("given", "files", "words"),
        [
            (None, [], "inputs must be a dict from input key to value, not None"),
            ({}, [], "inputs must be a dict from input key to value, not {}"),
            ("x" * 999, [], f"inputs must be a dict from input key to value, not '{'x' * 98}…."),
            ([("a", "b")], [], "inputs must be a dict from input key to value, not "),
            ({7: "x"}, [], "inputs[7]: the key of an input must be a text"),
            ({"": "x"}, [], "inputs['']: the key of an input must be a text"),
            ({" \n": "x"}, [], r"inputs[' \n']: the key of an input must be a text"),
            ({b"a" * 999: "x"}, [], f"inputs[b'{'a' * 97}…]: the key of an input must be a text"),
            (
                {"a": "b", "metadata": {}},
                [],
                "inputs['metadata']: Roe keeps this word for metadata, which is",
            ),
            ({"a": None}, [], "inputs['a'] is None: leave the key out, or mend the template"),
            ({"a": None}, ["a"], "inputs['a'] must be a URL or the absolute path of a file, not None"),
            ({"a": "b"}, "a", "files must be a list of keys of inputs, not 'a'"),
            ({"a": "b"}, None, "files must be a list of keys of inputs, not None"),
            ({"a": "b"}, {"a"}, "files must be a list of keys of inputs, not {'a'}"),
            ({"a": "b"}, ["c", "d"], "files names 'c', which inputs lacks"),
            ({"a": "b"}, [7], "files names 7, which inputs lacks"),
        ],
        ids=repr_start,
    )
    def test_what_cannot_be_used_is_told_by_its_name(self, given, files, words):
        with pytest.raises(RoeInputError) as told:
            read_inputs(given, files)
        assert str(told.value).startswith(words)

    def test_of_many_the_name_has_the_index(self):
        with pytest.raises(RoeInputError, match=r"^files names 'c', which inputs\[1\] lacks"):
            read_all_inputs([{"c": __file__}, {"a": "b"}], ["c"])

    @pytest.mark.parametrize(
        "given",
        [None, {}, [], "text", b"bytes", 7, {"a": "b"}, iter([])],
        ids=[*("None", "no inputs", "none", "text", "bytes", "number", "inputs", "iterator")],
    )
    def test_many_are_a_list_with_at_least_one(self, given):
        with pytest.raises(
            RoeInputError, match=r"^inputs must be a dict, or a list of dicts with at least on"
        ):
            read_all_inputs(given, [])


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
        "value",
        [
            object,
            float("inf"),
            [float("nan")],
            {1, 2},
            b"bytes",
            nested(100_000),
            "half of \ud83d\ude00"[:-1],
        ],
        ids=["class", "inf", "nan", "set", "bytes", "deep", "half a character"],
    )
    def test_what_json_cannot_say_is_refused(self, value):
        with pytest.raises(
            RoeInputError, match=r"^inputs\['x'\] must be a text, a number, or what else JSON"
        ) as told:
            read_inputs({"x": value}, ())
        assert len(str(told.value)) < 500
        assert str(told.value).endswith("for a file, give its URL and name the key in files.")


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
            ("bucket/s3://scan.pdf", "must be a URL or the absolute path"),
            ("x" * 999, f"not '{'x' * 298}….: what ~".replace("….", "…")),
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

    def test_one_whose_name_cannot_be_sent_is_refused(self, tmp_path):
        path = os.fsdecode(os.fsencode(tmp_path) + b"/gr\xf6sse.pdf")
        Path(path).touch()
        with pytest.raises(RoeInputError, match=r"^url: The file .*sse\.pdf' cannot be read \(UnicodeEncode"):
            find_file(path)

    def test_one_of_a_storage_that_tells_no_size_is_refused(self, scan, storage):
        storage(info={"type": "file", "size": None})
        with pytest.raises(
            RoeInputError, match=r"^url: its storage does not tell the size of '.*: copy it to"
        ):
            find_file(str(scan))

    @pytest.mark.parametrize("error", [PermissionError("no"), ValueError("x" * 999)], ids=repr_start)
    def test_one_that_its_storage_does_not_give_away_is_told(self, scan, storage, error):
        found = find_file(str(scan))
        storage(error=error)
        words = rf"The file '.*scan\.pdf' cannot be read \({type(error).__name__}: \w+…?\): check its URL"
        with pytest.raises(RoeInputError, match=f"^{words}") as told:
            list(found.blocks())
        assert len(str(told.value)) < 700
        with pytest.raises(RoeInputError, match=rf"^inputs\['d'\]: {words}"):
            read_inputs({"d": str(scan)}, ["d"])

    def test_are_opened_so_that_no_storage_reads_far_ahead(self, scan, storage):
        opened = storage(info={"type": "file", "size": 4})
        assert list(find_file(str(scan)).blocks()) == [b"page"]
        assert opened == [{"block_size": BLOCK}]

    def test_are_looked_for_at_once(self, scan, storage):
        """They are on the other side of a network: one after the other, a thousand take minutes."""
        storage(info={"type": "file", "size": 4}, together=8)
        assert len(read_all_inputs([{"d": str(scan)}] * 16, ["d"])) == 16

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


@pytest.mark.parametrize(
    "field",
    ["size", "ETag", "etag", "md5Hash", "generation", "mtime", "LastModified", "last_modified", "updated"],
)
def test_other_content_is_seen_by_whatever_a_storage_tells_of_it(scan, storage, field):
    def digest(value):
        storage(info={"type": "file", "size": 4, "name": "scan.pdf", "read": object()} | {field: value})
        return read_inputs({"document": str(scan)}, ["document"]).digest

    assert digest(1) == digest(1) != digest(2)


def test_a_file_elsewhere_is_another_though_its_storage_tells_the_same_of_it(storage):
    storage(info={"type": "file", "size": 4})
    one, other = ({"document": f"/{folder}/scan.pdf"} for folder in "ab")
    assert read_inputs(one, ["document"]).digest != read_inputs(other, ["document"]).digest


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


def test_an_object_storage_path_may_be_of_a_derived_class(scan):
    class Derived(ObjectStoragePath):
        pass

    assert list(read_inputs({"document": Derived(f"file://{scan}")}, ()).files) == ["document"]


def test_what_inputs_weigh_is_what_they_take_in_a_request():
    inputs = read_inputs({"a": "ö", "b": "x" * 1000}, ())
    assert inputs.weight == len(json.dumps({"a": "ö", "b": "x" * 1000}))


def test_urls_are_told_without_a_look_at_the_files():
    path = ObjectStoragePath("file:///nowhere/b")
    assert file_urls({"a": "s3://bucket/a", "b": path, "c": "text"}, ["a"]) == ["s3://bucket/a", str(path)]
    assert file_urls("not rendered", ["a"]) == []
