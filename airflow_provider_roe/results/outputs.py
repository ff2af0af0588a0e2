"""Outputs of agents' jobs: as values that a task returns, and in files with a line or row for each job."""

from __future__ import annotations

import json
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.lineage.hook import get_hook_lineage_collector

from airflow_provider_roe.api.base import clip
from airflow_provider_roe.exceptions import RoeOutputError
from airflow_provider_roe.results.files import Format
from airflow_provider_roe.results.places import find_target, place, temporary

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import BinaryIO

    from airflow_provider_roe.api.agents import AgentJobResult, AgentOutput
    from airflow_provider_roe.results.files import Output

    #: A job as the task returns it, and its result, if it has succeeded
    Ended = tuple[Mapping[str, Any], AgentJobResult | None]

#: Jobs of a Parquet file's row group
ROW_GROUP = 1000
#: What the columns of a job's outputs begin with in Parquet, where the job itself has columns, too.
PREFIX = "output_"
#: Line ends of a JSON text, which are between its tokens: within a string they are escaped.
_ONE_LINE = str.maketrans("\r\n", "  ")


def values(index: int, result: AgentJobResult) -> dict[str, Any]:
    """
    Return the values of a job's outputs by their keys: what JSON says where that is their type, else texts.

    :param index: Of the job's input, for errors.
    :raises RoeOutputError: An output is no JSON, though its type says so, or two have the same key.
    """
    found: dict[str, Any] = {}
    for output in _distinct(index, result):
        try:
            found[output.key] = output.parse()
        except (ValueError, RecursionError) as e:
            raise _no_json(index, result, output, e) from None
    return found


def write(ended: Iterable[Ended], output: Output) -> dict[str, Any]:
    """
    Write a line or row for each job to a file, over what is there.

    JSON Lines has a job's ``index``, ``job_id``, ``status``, ``error``, ``cost``, ``input_tokens``,
    ``output_tokens``, and its ``outputs``: an object from key to value, as the JSON that Roe sent where that
    is its type, else as text; null where the job has not succeeded. Parquet has the same columns, and one for
    each output, ``output_<key>``, with the text that Roe sent.

    The file is whole when it appears, as those of
    :func:`~airflow_provider_roe.results.files.write` are, and no temporary one stays behind.

    :param ended: The jobs in the order of their inputs.
    :return: Its ``path`` and its ``row_count``.
    :raises RoeOutputError: An output cannot be written, and which.
    :raises RoeInputError: The file cannot be where it shall be.
    :raises OSError: The disk is full, or the storage refuses; each storage may have errors of its own, too.
    """
    target = find_target(output.url)
    with temporary(target) as path:
        with path.open("wb") as file:
            count = output.format.write(ended, file)
        place(path, target)
    lineage = get_hook_lineage_collector()  # type: ignore[no-untyped-call]
    lineage.add_output_asset(context=target, uri=str(target))
    return {"path": str(target), "row_count": count}


def _write_jsonl(ended: Iterable[Ended], file: BinaryIO) -> int:
    count = 0
    for count, (job, result) in enumerate(ended, 1):
        outputs = "null"
        if result:
            told = ", ".join(_member(count - 1, result, output) for output in _distinct(count - 1, result))
            outputs = f"{{{told}}}"
        head = json.dumps(_columns(count - 1, job, result))
        file.write(f'{head[:-1]}, "outputs": {outputs}}}\n'.encode())
    return count


def _member(index: int, result: AgentJobResult, output: AgentOutput) -> str:
    """Return an output as a member of a JSON object; JSON as it is, but for line ends between its tokens."""
    try:
        output.parse()
        text = output.value.translate(_ONE_LINE) if output.is_json else json.dumps(output.value)
        text.encode()
    except (ValueError, RecursionError) as e:
        raise _no_json(index, result, output, e) from None
    return f"{json.dumps(output.key)}: {text}"


def _write_parquet(ended: Iterable[Ended], file: BinaryIO) -> int:
    """Write rows by way of a temporary file, for only the last job tells which columns there are."""
    import pyarrow
    from pyarrow.parquet import ParquetWriter

    keys: dict[str, None] = {}
    count = 0
    with TemporaryFile(prefix="roe-") as lines:
        for count, (job, result) in enumerate(ended, 1):
            row = _columns(count - 1, job, result)
            if result:
                for output in _distinct(count - 1, result):
                    _check_text(count - 1, result, output)
                    row[PREFIX + output.key] = output.value
                    keys[PREFIX + output.key] = None
            lines.write(json.dumps(row).encode() + b"\n")
        lines.seek(0)
        text, number, whole = pyarrow.string(), pyarrow.float64(), pyarrow.int64()
        schema = pyarrow.schema(
            [
                *[("index", whole), ("job_id", text), ("status", text), ("error", text)],
                *[("cost", number), ("input_tokens", whole), ("output_tokens", whole)],
                *[(key, text) for key in keys],
            ]
        )
        with ParquetWriter(file, schema) as writer:
            for rows in _groups(map(json.loads, lines)):
                writer.write_table(pyarrow.Table.from_pylist(rows, schema))
    return count


#: The formats that there are.
FORMATS = (
    Format("JSON Lines", (".jsonl", ".ndjson"), _write_jsonl),
    Format("Parquet", (".parquet",), _write_parquet, module="pyarrow.parquet", extra="parquet"),
)


def _columns(index: int, job: Mapping[str, Any], result: AgentJobResult | None) -> dict[str, Any]:
    return {
        "index": index,
        "job_id": job["job_id"],
        "status": job["status"],
        "error": job["error"],
        "cost": result.cost if result else None,
        "input_tokens": result.input_tokens if result else None,
        "output_tokens": result.output_tokens if result else None,
    }


def _groups(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    group: list[dict[str, Any]] = []
    for row in rows:
        group.append(row)
        if len(group) == ROW_GROUP:
            yield group
            group = []
    if group:
        yield group


def _distinct(index: int, result: AgentJobResult) -> tuple[AgentOutput, ...]:
    keys = [output.key for output in result.outputs]
    for key in keys:
        if keys.count(key) > 1:
            message = f"{_which(index, result)} has two outputs with the key {clip(key, 100)!r}."
            raise RoeOutputError(message, job_id=result.job_id)
    return result.outputs


def _check_text(index: int, result: AgentJobResult, output: AgentOutput) -> None:
    try:
        output.value.encode()
    except UnicodeEncodeError as e:
        raise RoeOutputError(
            f"{_which(index, result)}: output {clip(output.key, 100)!r} is no text that Parquet can hold"
            f" ({e}): write it to a .jsonl file instead.",
            job_id=result.job_id,
        ) from None


def _no_json(index: int, result: AgentJobResult, output: AgentOutput, error: Exception) -> RoeOutputError:
    return RoeOutputError(
        f"{_which(index, result)}: output {clip(output.key, 100)!r} is of type {clip(output.data_type, 100)},"
        f" and is no JSON ({clip(str(error), 200)}); it starts with {clip(output.value, 100)!r}. A retry runs"
        " this input again; if it stays so, mend the agent, or get the text by RoeHook.get_agent_job_result.",
        job_id=result.job_id,
    )


def _which(index: int, result: AgentJobResult) -> str:
    return f"Index {index}, agent job {result.job_id}"
