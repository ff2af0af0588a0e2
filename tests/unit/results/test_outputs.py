from __future__ import annotations

import errno
import json
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from pyarrow import parquet

from airflow_provider_roe.api.agents import AgentJobResult, AgentOutput
from airflow_provider_roe.api.base import State
from airflow_provider_roe.exceptions import RoeInputError, RoeOutputError
from airflow_provider_roe.results import files, outputs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

JSON = "application/json"


def ended(
    number: int, *made: AgentOutput, status: str = "SUCCESS"
) -> tuple[dict[str, Any], AgentJobResult | None]:
    """Return a job and, if it has succeeded, its result with these outputs."""
    job_id = str(UUID(int=number))
    job = {"job_id": job_id, "status": status, "error": None if status == "SUCCESS" else "why"}
    if status != "SUCCESS":
        return job, None
    return job, AgentJobResult(job_id, status, State.SUCCEEDED, made, cost=0.5, input_tokens=7)


def text(value: str, key: str = "answer") -> AgentOutput:
    return AgentOutput(key, value, "text/plain")


def write(path: Path, *jobs: Any) -> dict[str, Any]:
    return outputs.write(jobs, files.check_output(str(path), outputs.FORMATS))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


class TestValues:
    def test_are_by_key_parsed_where_their_type_is_json(self):
        _, result = ended(1, text("7"), AgentOutput("n", "[7]", JSON))
        assert outputs.values(0, result) == {"answer": "7", "n": [7]}

    def test_one_that_is_no_json_is_named_with_its_job_and_what_to_do(self):
        _, result = ended(1, AgentOutput("n", "{oops", JSON))
        with pytest.raises(RoeOutputError) as e:
            outputs.values(3, result)
        assert str(e.value).startswith(
            f"Index 3, agent job {UUID(int=1)}: output 'n' is of type {JSON}, and is no"
        )
        assert "it starts with '{oops'" in str(e.value)
        assert "RoeHook.get_agent_job_result" in str(e.value)
        assert e.value.job_id == str(UUID(int=1))

    def test_two_with_a_key_are_refused(self):
        _, result = ended(1, text("a"), text("b"))
        with pytest.raises(RoeOutputError, match=r"^Index 0, .* has two outputs with the key 'answer'"):
            outputs.values(0, result)


class TestJsonLines:
    def test_a_line_a_job(self, tmp_path):
        path = tmp_path / "new" / "outputs.jsonl"
        written = write(path, ended(1, text("a")), ended(2, status="FAILURE"), ended(3))
        assert written == {"path": str(path), "row_count": 3}
        first, second, third = lines(path)
        assert first == {
            "index": 0,
            "job_id": str(UUID(int=1)),
            "status": "SUCCESS",
            "error": None,
            "cost": 0.5,
            "input_tokens": 7,
            "output_tokens": None,
            "outputs": {"answer": "a"},
        }
        assert (second["index"], second["status"], second["error"], second["outputs"]) == (
            1,
            "FAILURE",
            "why",
            None,
        )
        assert third["outputs"] == {}

    @pytest.mark.parametrize(
        "value",
        [
            "0.10000000000000000555",
            "123456789012345678901234567890",
            '{"b": 1.10, "a": 1e400}',
            '"Gr\\u00f6\\u00dfe \\ud83d"',
        ],
    )
    def test_json_is_written_digit_for_digit_as_roe_sent_it(self, tmp_path, value):
        write(tmp_path / "o.jsonl", ended(1, AgentOutput("n", value, JSON)))
        assert f'"outputs": {{"n": {value}}}}}\n' in (tmp_path / "o.jsonl").read_text()

    @pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"], ids=repr)
    def test_json_on_several_lines_is_one(self, tmp_path, newline):
        value = newline.join(["{", '  "a": [1,', "  2]", "}"])
        write(tmp_path / "o.jsonl", ended(1, AgentOutput("n", value, JSON)), ended(2))
        assert lines(tmp_path / "o.jsonl")[0]["outputs"] == {"n": {"a": [1, 2]}}

    @pytest.mark.parametrize("value", ["Größe\u2028\n\x00\ud83d", '"quoted" \\ {', ""], ids=ascii)
    def test_text_is_whole(self, tmp_path, value):
        write(tmp_path / "o.jsonl", ended(1, text(value, key='a "key"')), ended(2))
        assert lines(tmp_path / "o.jsonl")[0]["outputs"] == {'a "key"': value}

    def test_one_that_is_no_json_is_refused(self, tmp_path):
        with pytest.raises(RoeOutputError, match=r"^Index 0, .*output 'n' is of type .* and is no JSON"):
            write(tmp_path / "o.jsonl", ended(1, AgentOutput("n", "{oops", JSON)))
        assert list(tmp_path.iterdir()) == []

    def test_of_any_number_of_jobs(self, tmp_path):
        write(tmp_path / "o.jsonl", *(ended(number, text(str(number))) for number in range(2500)))
        assert [line["outputs"]["answer"] for line in lines(tmp_path / "o.jsonl")] == [
            str(number) for number in range(2500)
        ]

    def test_separators_within_json_texts_stay(self, tmp_path):
        write(tmp_path / "o.jsonl", ended(1, AgentOutput("n", '"a\u2028b\x85c"', JSON)))
        [line] = (tmp_path / "o.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
        assert json.loads(line)["outputs"] == {"n": "a\u2028b\x85c"}


class TestParquet:
    def test_a_row_a_job_and_a_column_an_output(self, tmp_path):
        path = tmp_path / "outputs.parquet"
        made = [
            ended(1, text("a"), AgentOutput("n", "[7]", JSON)),
            ended(2, status="FAILURE"),
            ended(3, text("b", "status")),
        ]
        assert write(path, *made)["row_count"] == 3
        table = parquet.read_table(path)
        assert table.column_names == [
            *("index", "job_id", "status", "error", "cost", "input_tokens", "output_tokens"),
            *("output_answer", "output_n", "output_status"),
        ]
        assert [str(table.schema.field(name).type) for name in ("index", "output_n", "output_tokens")] == [
            *("int64", "string", "int64")
        ]
        assert table.column("output_n").to_pylist() == ["[7]", None, None]
        assert table.column("output_status").to_pylist() == [None, None, "b"]

    def test_of_any_number_of_jobs(self, tmp_path):
        path = tmp_path / "outputs.parquet"
        write(path, *(ended(number, text(str(number))) for number in range(2500)))
        assert parquet.read_table(path).column("output_answer").to_pylist() == [str(n) for n in range(2500)]

    def test_a_text_that_it_cannot_hold_is_refused(self, tmp_path):
        with pytest.raises(RoeOutputError, match=r"^Index 0, .*write it to a \.jsonl file instead"):
            write(tmp_path / "outputs.parquet", ended(1, text("\ud83d")))


@pytest.mark.parametrize("name", ["outputs.jsonl", "outputs.parquet"])
def test_a_file_is_whole_or_as_it_was(tmp_path, name):
    path = tmp_path / name
    path.write_text("as it was")
    with pytest.raises(RoeOutputError):
        write(path, ended(1, text("a")), ended(2, text("a"), text("b")))
    assert path.read_text() == "as it was"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["outputs.jsonl", "outputs.parquet"])
def test_a_disk_that_is_full_leaves_no_file(tmp_path, name):
    def full() -> Iterator[Any]:
        yield ended(1, text("a"))
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        outputs.write(full(), files.check_output(str(tmp_path / name), outputs.FORMATS))
    assert list(tmp_path.iterdir()) == []


def test_outputs_are_no_table_for_csv(tmp_path):
    with pytest.raises(RoeInputError, match=r"must end in \.jsonl, \.ndjson or \.parquet"):
        files.check_output(str(tmp_path / "outputs.csv"), outputs.FORMATS)
