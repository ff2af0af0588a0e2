"""
Runs ClickHouse: ``python -m airflow_provider_roe.testing.clickhouse_process DIRECTORY CELLS SECONDS``.

It reads queries from its standard input and writes what they came to, each as JSON in a line. Where the input
ends without a word, whoever asked is no more: it removes the directory and ends, whatever runs.
"""

import json
import os
import re
import shutil
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC
from pathlib import Path
from typing import IO, Any, cast

from chdb import ChdbError
from chdb.session import Session
from clickhouse_connect.datatypes.registry import get_from_name
from clickhouse_connect.driver.ctypes import RespBuffCls
from clickhouse_connect.driver.query import QueryContext, QueryResult
from clickhouse_connect.driver.transform import NativeTransform

from airflow_provider_roe.testing.clickhouse import OUT_OF_TIME
from airflow_provider_roe.testing.outcome import RESULT_BYTES, Cells, statement_result
from airflow_provider_roe.testing.sql import DATASET
from airflow_provider_roe.testing.statements import Statement, split

Columns = list[tuple[str, str]]
Rows = list[list[str | None]]

_LIMITS = {
    "max_memory_usage": 256 * 1024 * 1024,
    "max_result_bytes": RESULT_BYTES,
    "implicit_select": 0,  # which ClickHouse is without where it serves
    "max_threads": 1,  # rows come in the same order each time
}
_FORMATS = {"client": "Native", "text": "JSONCompactStringsEachRowWithNamesAndTypes"}
#: Statements that have rows are given a format, so that one of their own is an error.
_HAS_ROWS = re.compile(
    r"\(|(SELECT|FROM|SHOW|DESC|DESCRIBE|EXPLAIN|EXISTS|CHECK|KILL)\b|WITH\b(?!.*\bINSERT\b)", re.I | re.S
)


class _Source:
    """What clickhouse-connect reads from, in place of an HTTP answer."""

    exception_tag = None
    last_message = None

    def __init__(self, data: bytes) -> None:
        self.gen = iter([data])

    def close(self) -> None:
        """Close nothing."""


def _read_client(answer: bytes) -> tuple[Columns, Rows]:
    """Read an answer as clickhouse-connect does, whose values then go through ``str()``."""
    context = QueryContext(tz_mode="aware", server_tz=UTC, apply_server_tz=True)
    result = cast("QueryResult", NativeTransform.parse_response(RespBuffCls(_Source(answer)), context))
    rows = [[None if value is None else str(value) for value in row] for row in result.result_rows]
    types = [column_type.name for column_type in result.column_types]
    return list(zip(result.column_names, types, strict=True)), rows


def _read_text(answer: bytes) -> tuple[Columns, Rows]:
    if not answer:
        return [], []
    names, types, *rows = map(json.loads, answer.decode(errors="replace").rstrip("\n").split("\n"))
    return list(zip(names, types, strict=True)), rows


class _Query:
    """
    The run of one query, in a session of its own.

    :param directory: where the tables are.
    :param cells: how cells are written.
    :param seconds: how long its statements may take together.
    """

    def __init__(self, directory: str, cells: Cells, seconds: float) -> None:
        self._session = Session(directory)
        self._format = _FORMATS[cells]
        self._read = _read_client if cells == "client" else _read_text
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds

    def run(self, sql: str) -> dict[str, Any]:
        """Run the statements up to the first that fails."""
        results = []
        error = None
        try:
            sql.encode()  # a lone surrogate is none of the engine's errors
            self._set(**_LIMITS)
            for statement in split(sql):
                results.append(self._statement(statement))
            if not results:
                error = "Code: 62. DB::Exception: Empty query. (SYNTAX_ERROR)"
        except Exception as e:  # the engine's, or the client's that reads its answer: neither may stay unsaid
            error = str(e)
        finally:
            self._session.close()
        return {"results": results, "error": error}

    def _statement(self, statement: Statement) -> dict[str, Any]:
        left = self._deadline - time.monotonic()
        if left <= 0:
            limit = f"maximum: {self._seconds * 1000:g} ms"
            raise ChdbError(f"Code: 159. DB::Exception: Timeout exceeded: {limit}. (TIMEOUT_EXCEEDED)")
        self._set(max_execution_time=left)
        text = statement.text
        has_rows = _HAS_ROWS.match(text, statement.first_word)
        start = time.time()
        answer = self._session.query(f"{text}\nFORMAT {self._format}" if has_rows else text, self._format)
        end = time.time()
        columns, rows = self._read(answer.bytes())
        if has_rows and not columns:
            columns = self._describe(text)
        return statement_result(
            text,
            str(uuid.uuid4()),
            columns,
            rows,
            (start, end),
            read_rows=answer.storage_rows_read(),
            read_bytes=answer.storage_bytes_read(),
            written_rows=answer.rows_written(),
            written_bytes=answer.bytes_written(),
        )

    def _describe(self, statement: str) -> Columns:
        """Ask for the columns of a statement whose answer is empty, as Native is without rows."""
        try:
            answer = self._session.query(f"DESCRIBE ({statement}\n)", _FORMATS["text"])
        except ChdbError:  # only a SELECT and an EXPLAIN can be described
            return []
        return [
            (str(name), get_from_name(str(type_)).name) for name, type_, *_ in _read_text(answer.bytes())[1]
        ]

    def _set(self, **settings: float) -> None:
        self._session.query("SET " + ", ".join(f"{name} = {value}" for name, value in settings.items()))


class _Server:
    """
    What answers the queries of one simulator.

    :param directory: where the tables are; they are made where there are none.
    :param cells: how cells are written.
    :param seconds: how long a query may take.
    :param answers: where the answers are written.
    """

    def __init__(self, directory: str, cells: Cells, seconds: float, answers: IO[bytes]) -> None:
        self._directory = directory
        self._cells = cells
        self._seconds = seconds
        self._answers = answers
        self._lock = threading.Lock()
        is_new = not any(Path(directory).iterdir())
        self._engine = Session(directory)  # which lives as long as a session is open
        if is_new:
            self._engine.query("SET data_type_default_nullable = 1")  # as columns are in other databases
            for statement in split(DATASET.read_text(encoding="utf-8")):
                self._engine.query(statement.text)

    def answer(self, number: str, sql: str) -> None:
        """Answer a query; end the process where the engine does not keep to its time."""
        too_late = threading.Timer(2 * self._seconds, os._exit, [OUT_OF_TIME])
        too_late.start()
        told = _Query(self._directory, self._cells, self._seconds).run(sql)
        too_late.cancel()
        with self._lock:
            self._answers.write(json.dumps({"number": number, **told}).encode() + b"\n")
            self._answers.flush()


def main() -> None:
    """Answer queries until there are no more."""
    directory, cells, seconds = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever else writes to standard output is no answer
    server = _Server(directory, cast("Cells", cells), float(seconds), answers)
    pool = ThreadPoolExecutor()
    for line in sys.stdin.buffer:
        message = json.loads(line)
        if "stop" in message:
            pool.shutdown()
            os._exit(0)
        pool.submit(server.answer, **message)
    shutil.rmtree(directory, ignore_errors=True)
    os._exit(1)


if __name__ == "__main__":
    main()
