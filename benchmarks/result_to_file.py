"""
Peak memory and CPU of a task that takes over a large result, beside the floor.

    python -m benchmarks.result_to_file [rows] [csv|jsonl|parquet|pandas|polars|rows]

A server in a process of its own makes up the rows. The task, a `RoeQueryOperator` that writes a file, a
`RoeSqlHook.get_df` or a cursor that fetches rows, is run in this process. The floor, in a third, is what it
takes at least to make Parquet of such an answer: all in memory, and nothing checked. Where pandas is
installed, pyarrow imports it: 50 MB more.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import shutil
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen
from uuid import uuid4

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

QUERY_ID = str(uuid4())
COLUMNS = {
    "id": "UInt64",
    "amount": "Decimal(18, 2)",
    "at": "DateTime",
    "name": "Nullable(String)",
    "tags": "Array(String)",
    "paid": "Bool",
}
CHUNK = 1000


class Roe(BaseHTTPRequestHandler):
    """As much of Roe as one task asks: a query that has succeeded, with so many rows."""

    protocol_version = "HTTP/1.1"
    row_count = 0

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(json.dumps({"id": QUERY_ID}).encode())

    def do_GET(self) -> None:
        if self.path.split("?")[0].endswith("/status/"):
            self.answer(json.dumps({"worksheet_query_id": QUERY_ID, "status": "SUCCESS"}).encode())
        else:
            self.send_rows()

    def send_rows(self) -> None:
        statement = {
            "query": "SELECT 1",
            "row_count": self.row_count,
            "column_names": list(COLUMNS),
            "column_types": list(COLUMNS.values()),
        }
        start = {"worksheet_query_id": QUERY_ID, "status": "SUCCESS", "error": None}
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.chunk(f'{json.dumps(start)[:-1]}, "results": [{json.dumps(statement)[:-1]}, "result_rows": [')
        for first in range(0, self.row_count, CHUNK):
            numbers = range(first, min(first + CHUNK, self.row_count))
            self.chunk(", " * (first > 0) + json.dumps(list(map(row, numbers)))[1:-1])
        self.chunk("]}]}")
        self.chunk("")

    def answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def chunk(self, text: str) -> None:
        self.wfile.write(f"{len(text):x}\r\n{text}\r\n".encode())

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""


def row(number: int) -> list[str | None]:
    at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number)
    return [
        str(number),
        f"{number % 100_000}.{number % 100:02}",
        f"{at:%Y-%m-%d %H:%M:%S}",
        None if number % 7 == 0 else f"customer {number * 7919 % 1_000_003}",
        f"['tag {number % 13}','it\\'s {number}']",
        "true" if number % 2 else "false",
    ]


def serve(row_count: int, port: Connection) -> None:
    Roe.row_count = row_count
    server = ThreadingHTTPServer(("127.0.0.1", 0), Roe)
    port.send(server.server_address[1])
    server.serve_forever()


class TaskInstance:
    """As much of a task instance as the operator looks at."""

    map_index = -1
    start_date = None

    def xcom_push(self, key: str, value: Any) -> None:
        """Take it."""


def main(row_count: int, form: str) -> None:
    here, there = multiprocessing.Pipe()
    spawn = multiprocessing.get_context("spawn")
    server = spawn.Process(target=serve, args=(row_count, there), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{here.recv()}"
    with tempfile.TemporaryDirectory() as folder:
        os.environ["AIRFLOW_HOME"] = folder
        os.environ["AIRFLOW_CONN_ROE_DEFAULT"] = json.dumps(
            {"conn_type": "roe", "host": url, "password": "key-of-the-benchmark", "login": str(uuid4())}
        )
        from airflow_provider_roe.operators.roe import RoeQueryOperator

        path = Path(folder, f"rows.{form}")
        task = RoeQueryOperator(task_id="extract", sql="SELECT 1", output_path=str(path), durable=False)
        before, cpu, start = peak(), time.process_time(), time.monotonic()
        if form in ("pandas", "polars"):
            from airflow_provider_roe.hooks.roe_sql import RoeSqlHook

            row_count = len(RoeSqlHook().get_df("SELECT 1", df_type=form))
        elif form == "rows":
            row_count = fetch_rows()
        else:
            [file] = task.execute({"ti": TaskInstance()})
            row_count = file["row_count"]
        figures = {
            "rows": row_count,
            "form": form,
            "file_mb": round(path.stat().st_size / 1e6, 1) if path.exists() else None,
            "seconds": round(time.monotonic() - start, 1),
            "cpu_seconds": round(time.process_time() - cpu, 2),
            "peak_rss_mb": peak(),
            "of_it_before_the_task_mb": before,
            "with_pandas": "pandas" in sys.modules,
        }
        at_least = spawn.Process(target=floor, args=(url, folder, there))
        at_least.start()
        at_least.join()
        figures["floor_cpu_seconds"] = here.recv()
    print(json.dumps(figures))
    server.kill()


def fetch_rows() -> int:
    """Return how many rows a cursor fetches, a thousand at a time."""
    from airflow_provider_roe.sql import dbapi

    with dbapi.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        return sum(map(len, iter(partial(cursor.fetchmany, 1000), [])))


def floor(url: str, folder: str, result: Connection) -> None:
    """Send the CPU seconds that it takes to make Parquet of the answer, without a check, in memory."""
    import pyarrow
    from pyarrow import compute, parquet

    answer = Path(folder, "answer.json")
    with urlopen(f"{url}/result/") as body, answer.open("wb") as file:
        shutil.copyfileobj(body, file)
    pyarrow.array(["what is imported with the first array"])
    cpu = time.process_time()
    with answer.open() as file:
        rows = json.load(file)["results"][0]["result_rows"]
    types = {
        "id": pyarrow.uint64(),
        "amount": pyarrow.decimal128(18, 2),
        "at": pyarrow.timestamp("s"),
        "paid": pyarrow.bool_(),
    }
    columns = {
        name: compute.cast(pyarrow.array(cells, pyarrow.string()), types.get(name, pyarrow.string()))
        for name, cells in zip(COLUMNS, zip(*rows, strict=True), strict=True)
    }
    parquet.write_table(pyarrow.table(columns), answer.with_suffix(".parquet"))
    result.send(round(time.process_time() - cpu, 2))


def peak() -> int:
    """Return the most memory that this process has held so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 // 10**6


if __name__ == "__main__":
    main(
        int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000, sys.argv[2] if len(sys.argv) > 2 else "parquet"
    )
