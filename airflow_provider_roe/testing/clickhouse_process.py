"""
Runs ClickHouse: ``python -m airflow_provider_roe.testing.clickhouse_process DIRECTORY``.

It reads queries from its standard input and writes what they came to, each as JSON in a line. Where the input
ends without a word, whoever asked is no more: it removes the directory and ends, whatever runs.
"""

import json
import os
import re
import resource
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
    "implicit_select": 0,  # which ClickHouse is without where it serves
    "max_threads": 1,  # rows come in the same order each time
}
#: What the engine's own limits miss, as rows that wait to be fetched, ends at the process' address space.
_ADDRESS_SPACE = 8 * 1024**3
#: The engine is to stop a query in time itself; it looks at the time about once a second.
_GRACE = 5.0
_FORMATS = {"client": "Native", "text": "JSONCompactStringsEachRowWithNamesAndTypes"}
#: Statements that have rows are given a format, so that one of their own is an error.
_HAS_ROWS = re.compile(
    r"(?P<streams>\(|(SELECT|FROM|WITH)\b)|(SHOW|DESC|DESCRIBE|EXPLAIN|EXISTS|CHECK|KILL)\b",
    re.IGNORECASE,
)
#: Which may be an INSERT that begins with its WITH, or a SELECT with that word anywhere in it.
_PERHAPS_INSERT = re.compile(r"WITH\b.*\bINSERT\b", re.IGNORECASE | re.DOTALL)


class _Source:
    """What clickhouse-connect reads from, in place of an HTTP answer."""

    exception_tag = None
    last_message = None

    def __init__(self, blocks: list[bytes]) -> None:
        self.gen = iter(blocks)

    def close(self) -> None:
        """Close nothing."""


def _read_client(blocks: list[bytes]) -> tuple[Columns, Rows]:
    """Read an answer as clickhouse-connect does, whose values then go through ``str()``."""
    context = QueryContext(tz_mode="aware", server_tz=UTC, apply_server_tz=True)
    result = cast("QueryResult", NativeTransform.parse_response(RespBuffCls(_Source(blocks)), context))
    rows = [[None if value is None else str(value) for value in row] for row in result.result_rows]
    types = [column_type.name for column_type in result.column_types]
    return list(zip(result.column_names, types, strict=True)), rows


def _read_text(blocks: list[bytes]) -> tuple[Columns, Rows]:
    """Read names, types and rows, with which each block begins anew."""
    columns: Columns = []
    rows: Rows = []
    for block in filter(None, blocks):
        lines = block.decode(errors="replace").rstrip("\n").split("\n")
        names, types, *more = map(json.loads, lines)
        columns = list(zip(names, types, strict=True))
        rows += more
    return columns, rows


class _Query:
    """
    The run of one query, in a session of its own.

    :param directory: where the tables are.
    :param seconds: how long its statements may take together.
    :param cells: how cells are written.
    """

    def __init__(self, directory: str, seconds: float, cells: Cells) -> None:
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
            error = str(e).removeprefix("Streaming query failed: ")
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
        has_rows = None if self._inserts(statement) else _HAS_ROWS.match(text, statement.first_word)
        start = time.time()
        if has_rows and has_rows["streams"]:
            answers = self._stream(f"{text}\nFORMAT {self._format}")
        else:
            answers = [
                self._session.query(f"{text}\nFORMAT {self._format}" if has_rows else text, self._format)
            ]
        end = time.time()
        columns, rows = self._read([answer.bytes() for answer in answers])
        if has_rows and not columns:
            if has_rows["streams"]:
                columns = self._describe(text)
            else:  # such as an empty SHOW, which cannot be described and does no harm twice
                columns, _ = self._ask(f"{text}\nFORMAT {_FORMATS['text']}")
        return statement_result(
            text,
            str(uuid.uuid4()),
            columns,
            rows,
            (start, end),
            read_rows=sum(answer.storage_rows_read() for answer in answers),
            read_bytes=sum(answer.storage_bytes_read() for answer in answers),
            written_rows=sum(answer.rows_written() for answer in answers),
            written_bytes=sum(answer.bytes_written() for answer in answers),
        )

    def _stream(self, statement: str) -> list[Any]:
        """Fetch the blocks of rows as they are made, since the engine itself puts no limit to an answer."""
        blocks = []
        size = 0
        with self._session.send_query(statement, self._format) as stream:
            for block in stream:
                blocks.append(block)
                size += block.size()
                if size > RESULT_BYTES:
                    limit = f"Limit for result exceeded, max bytes: {RESULT_BYTES}"
                    raise ChdbError(f"Code: 396. DB::Exception: {limit}. (TOO_MANY_ROWS_OR_BYTES)")
        return blocks

    def _inserts(self, statement: Statement) -> bool:
        """Tell whether a statement that begins with WITH is an INSERT, which the engine's parser knows."""
        if not _PERHAPS_INSERT.match(statement.text, statement.first_word):
            return False
        try:
            _, [[tree], *_] = self._ask(f"EXPLAIN AST {statement.text}")
        except ChdbError:  # which the statement itself tells better
            return False
        return str(tree).startswith("InsertQuery")

    def _describe(self, statement: str) -> Columns:
        """Ask for the columns of a statement whose answer is empty, as Native is without rows."""
        try:
            _, rows = self._ask(f"DESCRIBE ({statement}\n)")
        except ChdbError:  # as where it writes a file
            return []
        return [(str(name), get_from_name(str(type_)).name) for name, type_, *_ in rows]

    def _ask(self, statement: str) -> tuple[Columns, Rows]:
        return _read_text([self._session.query(statement, _FORMATS["text"]).bytes()])

    def _set(self, **settings: float) -> None:
        self._session.query("SET " + ", ".join(f"{name} = {value}" for name, value in settings.items()))


class _Server:
    """
    What answers the queries of one simulator.

    :param directory: where the tables are; they are made where there are none.
    :param answers: where the answers are written.
    """

    def __init__(self, directory: str, answers: IO[bytes]) -> None:
        self._directory = directory
        self._answers = answers
        self._lock = threading.Lock()
        is_new = not any(Path(directory).iterdir())
        self._engine = Session(directory)  # which lives as long as a session is open
        if is_new:
            self._engine.query("SET data_type_default_nullable = 1")  # as columns are in other databases
            for statement in split(DATASET.read_text(encoding="utf-8")):
                self._engine.query(statement.text)

    def answer(self, query_id: str, sql: str, seconds: float, cells: Cells) -> None:
        """Answer a query; end the process where the engine does not keep to its time."""
        too_late = threading.Timer(seconds + _GRACE, os._exit, [OUT_OF_TIME])
        too_late.start()
        told = _Query(self._directory, seconds, cells).run(sql)
        too_late.cancel()
        with self._lock:
            self._answers.write(json.dumps({"query_id": query_id, **told}).encode() + b"\n")
            self._answers.flush()


def main() -> None:
    """Answer queries until there are no more."""
    [directory] = sys.argv[1:]
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    space = _ADDRESS_SPACE if most == resource.RLIM_INFINITY else min(_ADDRESS_SPACE, most)
    resource.setrlimit(resource.RLIMIT_AS, (space, most))
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever else writes to standard output is no answer
    server = _Server(directory, answers)
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
