"""The processes of a benchmark, and where and with what they run."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from benchmarks.kinds import Kind

CHECKOUT = Path(__file__).resolve().parent.parent
# The same core only where there is no other.
CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE, CLIENT_CORE = CORES[0], CORES[-1]


@dataclass(frozen=True)
class Server:
    """A running server; it trusts nobody, and is trusted with the certificates in ``ca``."""

    port: int
    control: int
    ca: str

    def env(self, *kinds: Kind) -> dict[str, str]:
        """Return what the environment has to hold for kinds to find the server and to trust it."""
        env = {
            "SSL_CERT_FILE": self.ca,  # for whoever uses Python's or aiohttp's own defaults
            "REQUESTS_CA_BUNDLE": self.ca,  # for whoever does as requests does
        }
        for kind in kinds:
            env |= kind.env(self.port)
        return env

    def python(self, kind: Kind, *arguments: str) -> dict[str, Any]:
        """Run Python with the connection of a kind to this server, and return what it prints last."""
        return python(*arguments, env=self.env(kind))


def python(*arguments: str, env: Mapping[str, str]) -> dict[str, Any]:
    """Run Python with an Airflow home of its own, and return what it prints last, which is JSON."""
    with tempfile.TemporaryDirectory(prefix="bench-airflow-") as home:
        # As installed packages are compiled, so is the checkout to be, once and not in each process.
        not_for_it = ("AIRFLOW_", "PYTHONDONTWRITEBYTECODE")
        env = {
            **{name: value for name, value in os.environ.items() if not name.startswith(not_for_it)},
            "AIRFLOW_HOME": home,
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
            "_AIRFLOW_PROCESS_CONTEXT": "client",  # as workers and triggerers have it
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
            **env,
        }
        command = [sys.executable, *arguments]
        ran = subprocess.run(command, cwd=CHECKOUT, env=env, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(ran.stdout.splitlines()[-1])


@contextmanager
def server() -> Iterator[Server]:
    """Run the server for the length of the block."""
    with tempfile.TemporaryDirectory(prefix="bench-server-") as folder:
        command = [sys.executable, "-m", "benchmarks.server", folder, str(SERVER_CORE)]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, cwd=CHECKOUT, stdin=pipe, stdout=pipe, text=True) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                yield Server(**json.loads(process.stdout.readline()))
            finally:
                process.stdin.close()


def describe(distributions: set[str]) -> dict[str, Any]:
    """Return machine and versions, to stand beside each figure."""
    cpuinfo = Path("/proc/cpuinfo").read_text().splitlines()
    models = {line.partition(":")[2].strip() for line in cpuinfo if line.startswith("model name")}
    return {
        "cpu": ", ".join(sorted(models)) or platform.machine(),
        "cores": len(CORES),
        "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30),
        "system": platform.system(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in sorted(distributions | {"apache-airflow", "aiohttp"})},
    }
