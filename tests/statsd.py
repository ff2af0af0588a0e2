"""A statsd server, to which Airflow sends the metrics of this package."""

from __future__ import annotations

import socket
from typing import Self


class Statsd:
    """Takes what comes over UDP."""

    def __enter__(self) -> Self:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.setblocking(False)
        return self

    def __exit__(self, *exc: object) -> None:
        self._socket.close()

    @property
    def env(self) -> dict[str, str]:
        """What lets an Airflow send its metrics here; of its own there would be more than a socket holds."""
        host, port = self._socket.getsockname()
        return {
            "AIRFLOW__METRICS__STATSD_ON": "true",
            "AIRFLOW__METRICS__STATSD_HOST": host,
            "AIRFLOW__METRICS__STATSD_PORT": str(port),
            "AIRFLOW__METRICS__METRICS_ALLOW_LIST": "roe",
        }

    def received(self) -> dict[str, str]:
        """Return the last value of each metric that has come since this was asked for, as ``1|c``."""
        found = {}
        while True:
            try:
                name, _, value = self._socket.recv(65536).decode().partition(":")
            except BlockingIOError:
                return found
            found[name.removeprefix("airflow.")] = value
