"""A Redis on this machine, for as long as a `with` block lasts, from Debian's packages."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Self

from dev.patience import patient
from dev.processes import Component, ComponentError, free_ports, is_listening

AVAILABLE = shutil.which("redis-server") is not None


class LocalRedis:
    """An empty Redis on a free port, without a password, which keeps nothing on disk."""

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="redis-"))
        [port] = free_ports(1)
        command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
        log_file = self._folder / "log"
        self._server = Component(
            "redis", command, env=dict(os.environ), folder=self._folder, log_file=log_file
        )
        self._server.start()
        deadline = time.monotonic() + patient(60)
        while not is_listening(port):
            if self._server.exit_code() is not None or time.monotonic() > deadline:
                self._server.stop()
                raise ComponentError(self._server.obituary())
            time.sleep(0.05)
        self.url = f"redis://127.0.0.1:{port}/0"
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.stop()
        shutil.rmtree(self._folder)
