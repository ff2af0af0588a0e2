"""A PostgreSQL server on this machine, for as long as a `with` block lasts, from Debian's packages."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Self

from dev.processes import free_ports

# Debian keeps the server's programs off the PATH, a folder for each major version.
_PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), key=lambda path: int(path.parts[4]))
AVAILABLE = bool(_PROGRAMS)


class LocalPostgres:
    """An empty database `airflow` on a free port, without a password, in a temporary folder."""

    def __enter__(self) -> Self:
        # Not below TMPDIR, which the server's user may have no access to.
        self._folder = Path(tempfile.mkdtemp(prefix="postgres-", dir="/tmp"))
        [port] = free_ports(1)
        # The server refuses to run as root: then it is its own user, who gets the folder.
        self._as: dict[str, Any] = {}
        if os.geteuid() == 0:
            shutil.chown(self._folder, "postgres", "postgres")
            self._as = {"user": "postgres", "group": "postgres", "extra_groups": []}
        self._data, log = self._folder / "data", self._folder / "log"
        options = (
            f"-p {port} -k {self._folder} -c listen_addresses=127.0.0.1 -c max_connections=200 -c fsync=off"
        )
        self._run("initdb", "-D", self._data, "-A", "trust", "-U", "airflow")
        self._run("pg_ctl", "-D", self._data, "-l", log, "-w", "-o", options, "start")
        self._run("createdb", "-h", "127.0.0.1", "-p", port, "-U", "airflow", "airflow")
        self.sql_alchemy_conn = f"postgresql+psycopg2://airflow@127.0.0.1:{port}/airflow"
        return self

    def __exit__(self, *exc: object) -> None:
        self._run("pg_ctl", "-D", self._data, "-m", "immediate", "-w", "stop")
        shutil.rmtree(self._folder)

    def restart(self) -> None:
        """Restart the server, which drops every connection and for a moment accepts none."""
        self._run("pg_ctl", "-D", self._data, "-l", self._folder / "log", "-m", "fast", "-w", "restart")

    def _run(self, program: str, *arguments: object) -> None:
        command = [str(_PROGRAMS[-1].with_name(program)), *map(str, arguments)]
        # Not captured: the server keeps the pipe of pg_ctl open for as long as it lives.
        subprocess.run(command, check=True, cwd=self._folder, stdout=subprocess.DEVNULL, **self._as)
