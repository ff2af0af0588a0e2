"""
What operators of Airflow see of waits: metrics, sent by Airflow's own Stats as ``[metrics]`` says.

Airflow 3.2 and newer have two of these, one for what tasks are run with and one for its own components, of
which a triggerer is one; each is set up only where it belongs. Older versions have one for all.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from datetime import timedelta
from functools import cached_property
from importlib import import_module
from typing import Any

log = logging.getLogger(__name__)

#: What there is, as docs/metrics.md explains it: the tags that each has
METRICS = {
    "roe.waits": ("conn_id",),
    "roe.requests": ("conn_id", "call"),
    "roe.failures": ("conn_id", "cause"),
    "roe.held_back": ("conn_id",),
    "roe.wait.duration": ("conn_id", "outcome"),
    "roe.wait.lateness": ("conn_id",),
}

#: What turns Airflow's metrics on
SWITCHES = ("statsd_on", "statsd_datadog_enabled", "otel_on")


class Metrics:
    """
    Sends metrics. Whatever goes wrong with that, nothing else shall.

    :param modules: Where Airflow's Stats is, by falling versions.
    """

    def __init__(self, *modules: str) -> None:
        self._modules = modules

    @cached_property
    def _stats(self) -> Any:
        """Airflow's Stats; None where metrics are off, or there is none."""
        from airflow.providers.common.compat.sdk import conf

        if any(conf.getboolean("metrics", switch, fallback=False) for switch in SWITCHES):
            for module in self._modules:
                with suppress(ImportError):
                    return import_module(module).Stats
        return None

    def count(self, name: str, **tags: str) -> None:
        """Add one to a counter."""
        self._send("incr", name, tags=tags)

    def level(self, name: str, value: int, **tags: str) -> None:
        """Set a gauge."""
        self._send("gauge", name, value, tags=tags)

    def time(self, name: str, seconds: float, **tags: str) -> None:
        """Send a timing; 0 for a negative one, which clocks that differ make."""
        self._send("timing", name, timedelta(seconds=max(seconds, 0)), tags=tags)

    def _send(self, kind: str, name: str, *value: Any, tags: dict[str, str]) -> None:
        if self._stats is None:
            return
        try:
            getattr(self._stats, kind)(name, *value, tags=tags)
        except Exception:
            log.debug("Metric %s could not be sent", name, exc_info=True)


OF_TASK = Metrics("airflow.sdk.observability.stats", "airflow.stats")
OF_TRIGGERER = Metrics("airflow.observability.stats", "airflow.stats")
