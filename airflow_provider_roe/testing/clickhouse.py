"""
Runs SQL on the real ClickHouse engine, in a process of its own that is the simulator's.

The engine takes a second to start and 400 MB of memory. It has no sandbox: SQL reads and writes files and
asks other servers with the rights of whoever runs the simulator.
"""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
import uuid
import weakref
from concurrent.futures import Future
from importlib.util import find_spec
from tempfile import mkdtemp
from typing import Any, Final

from airflow_provider_roe.testing.outcome import Cells, Outcome

#: Exit code of the process where a query would not end in time
OUT_OF_TIME: Final = 124

_SECONDS = 5.0
_PATIENCE = 60.0
_MODULES = ("chdb", "clickhouse_connect")


def _remove(directory: str, owner: int) -> None:
    """Remove a directory, unless this is a fork of the process whose it is."""
    if os.getpid() == owner:
        shutil.rmtree(directory, ignore_errors=True)


class ClickHouse:
    """
    A ClickHouse with a copy of the small data set, and with what queries make of it.

    :raises ModuleNotFoundError: the extra ``clickhouse`` is not installed.
    """

    def __init__(self) -> None:
        missing = [name for name in _MODULES if not find_spec(name)]
        if missing:
            raise ModuleNotFoundError(
                f"ClickHouse needs {' and '.join(missing)}: install airflow-provider-roe[clickhouse]"
            )
        # The process removes it, too: where this one is killed, nothing else does.
        self._directory = mkdtemp(prefix="roe-clickhouse-")
        weakref.finalize(self, _remove, self._directory, os.getpid())
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._asked: dict[str, Future[dict[str, Any]]] = {}

    def start(self) -> None:
        """Start the process, without waiting for it. Does nothing if it runs."""
        with self._lock:
            self._start()

    def stop(self) -> None:
        """Stop the process once its queries have ended. What is in the tables stays."""
        with self._lock:
            if self._process is None:
                return
            self._send(self._process, {"stop": True})
            try:
                self._process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def run(self, sql: str, seconds: float = _SECONDS, cells: Cells = "client") -> Outcome:
        """
        Run the statements of a query one after the other.

        Queries see each other's tables and rows, but no other's settings and temporary tables.

        :param sql: statements, separated by ``;``.
        :param seconds: the query fails when it takes longer. Default: 5.
        :param cells: how cells are written. Default: ``"client"``.
        """
        answer: Future[dict[str, Any]] = Future()
        query_id = str(uuid.uuid4())
        with self._lock:
            process = self._start()
            self._asked[query_id] = answer
            self._send(process, {"query_id": query_id, "sql": sql, "seconds": seconds, "cells": cells})
        told = answer.result()
        return Outcome(told["results"], told["error"], time.monotonic())

    def _start(self) -> "subprocess.Popen[bytes]":
        if self._process is None or self._process.poll() is not None:
            module = "airflow_provider_roe.testing.clickhouse_process"
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-m", module, self._directory],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "TZ": "UTC"},
                start_new_session=True,  # Ctrl-C is for the simulator, which then stops it
            )
            self._asked = {}
            threading.Thread(target=self._read, args=(self._process, self._asked), daemon=True).start()
        return self._process

    @staticmethod
    def _send(process: "subprocess.Popen[bytes]", message: dict[str, Any]) -> None:
        assert process.stdin  # noqa: S101 - a pipe
        try:
            process.stdin.write(json.dumps(message).encode() + b"\n")
            process.stdin.flush()
        except (BrokenPipeError, ValueError):
            pass  # it has ended, which whoever reads its answers tells

    def _read(self, process: "subprocess.Popen[bytes]", asked: dict[str, Future[dict[str, Any]]]) -> None:
        with process:
            for line in process.stdout or ():
                told = json.loads(line)
                asked.pop(told["query_id"]).set_result(told)
        error = f"The ClickHouse process has ended with {process.returncode}"
        if process.returncode == OUT_OF_TIME:
            error = "Timeout exceeded: a query kept to no limit, for which ClickHouse was stopped"
        with self._lock:
            for answer in asked.values():
                answer.set_result({"results": [], "error": error})
