"""Who waits: our trigger, the floor, and the triggers of other providers, each through its public class."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from benchmarks.services import SERVICES, roe_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.triggers.base import BaseTrigger

DAY = 24 * 60 * 60


@dataclass(frozen=True)
class Kind:
    """
    A kind of wait.

    :param service: What it polls.
    :param distribution: The package that it is from.
    :param trigger: Where its trigger is.
    :param kwargs: The trigger's serialized arguments for a number, with polls so many seconds apart.
    :param connection: The Airflow connection to a server on this machine with this port.
    :param succeeded: Whether an event tells that what was waited for succeeded.
    :param sensor: The module that a DAG imports.
    """

    service: str
    distribution: str
    trigger: str
    kwargs: Callable[[int, float], dict[str, Any]]
    connection: Callable[[int], dict[str, Any]]
    succeeded: Callable[[Any], bool]
    sensor: str | None = None

    @property
    def is_ours(self) -> bool:
        """Whether it is from this repository."""
        return self.distribution == "airflow-provider-roe"

    @property
    def conn_id(self) -> str:
        """The connection that the trigger is told to use."""
        return f"bench_{self.service}"

    def env(self, port: int) -> dict[str, str]:
        """Return what the environment has to hold for this kind to find the server."""
        return {f"AIRFLOW_CONN_{self.conn_id.upper()}": json.dumps(self.connection(port))}

    def load(self) -> type[BaseTrigger]:
        """Import the trigger's class."""
        module, _, name = self.trigger.rpartition(".")
        return getattr(import_module(module), name)


def _roe_wait(interval: float) -> dict[str, Any]:
    # Deferred a while ago, for the time that it leaves a worker for the hand-over is no cost of polling; and
    # so long ago that the interval, which grows with the time waited, is reached.
    an_hour_ago = time.time() - 3600
    return {
        "organization_id": None,
        "deferred_at": an_hour_ago,
        "retry_window": 300.0,
        "started_at": an_hour_ago,
        "timeout": DAY,
        "poke_interval": interval,
        "exponential_backoff": False,
        "max_wait": None,
        "silent_fail": False,
    }


def _roe(number: int, interval: float) -> dict[str, Any]:
    return {"query_id": roe_id(number), "roe_conn_id": "bench_roe", **_roe_wait(interval)}


def _roe_agent(number: int, interval: float) -> dict[str, Any]:
    return {
        "job_ids": [roe_id(number)],
        "max_failed": 0,
        "cancel_on_kill": False,
        "roe_conn_id": "bench_roe_agent",
        **_roe_wait(interval),
    }


def _roe_connection(port: int) -> dict[str, Any]:
    return {
        "conn_type": "roe",
        "host": "https://127.0.0.1",
        "port": port,
        "login": roe_id(7),
        "password": "a-key-of-a-realistic-length-0123456789",
    }


KINDS = {
    "roe": Kind(
        "roe",
        "airflow-provider-roe",
        "airflow_provider_roe.triggers.roe.RoeQueryStatusTrigger",
        _roe,
        _roe_connection,
        lambda event: event["outcome"] == "success",
        "airflow_provider_roe.sensors.roe",
    ),
    "roe_agent": Kind(
        "roe_agent",
        "airflow-provider-roe",
        "airflow_provider_roe.triggers.roe_agent.RoeAgentJobTrigger",
        _roe_agent,
        _roe_connection,
        lambda event: event["outcome"] == "success",
        "airflow_provider_roe.sensors.roe_agent",
    ),
    "floor": Kind(
        "roe",
        "aiohttp",
        "benchmarks.floor.FloorTrigger",
        lambda number, interval: {"path": SERVICES["roe"].path_of(number), "interval": interval},
        _roe_connection,
        lambda event: event["status"] == "SUCCESS",
    ),
    "databricks": Kind(
        "databricks",
        "apache-airflow-providers-databricks",
        "airflow.providers.databricks.triggers.databricks.DatabricksExecutionTrigger",
        lambda number, interval: {
            "run_id": number,
            "databricks_conn_id": "bench_databricks",
            "polling_period_seconds": interval,
        },
        lambda port: {"conn_type": "databricks", "host": "127.0.0.1", "port": port, "password": "a-token"},
        lambda event: json.loads(event["run_state"])["result_state"] == "SUCCESS",
        "airflow.providers.databricks.sensors.databricks",
    ),
    "dbt_cloud": Kind(
        "dbt_cloud",
        "apache-airflow-providers-dbt-cloud",
        "airflow.providers.dbt.cloud.triggers.dbt.DbtCloudRunJobTrigger",
        lambda number, interval: {
            "conn_id": "bench_dbt_cloud",
            "run_id": number,
            "account_id": 1,
            "end_time": time.time() + DAY,
            "poll_interval": interval,
        },
        lambda port: {
            "conn_type": "dbt_cloud",
            "host": f"127.0.0.1:{port}",
            "login": "1",
            "password": "a-token",
        },
        lambda event: event["status"] == "success",
        "airflow.providers.dbt.cloud.sensors.dbt",
    ),
    "http": Kind(
        "http",
        "apache-airflow-providers-http",
        "airflow.providers.http.triggers.http.HttpSensorTrigger",
        lambda number, interval: {
            "endpoint": f"things/{number}",
            "http_conn_id": "bench_http",
            "poke_interval": interval,
        },
        lambda port: {"conn_type": "http", "schema": "https", "host": "127.0.0.1", "port": port},
        lambda event: event is True,
        "airflow.providers.http.sensors.http",
    ),
    "airbyte": Kind(
        "airbyte",
        "apache-airflow-providers-airbyte",
        "airflow.providers.airbyte.triggers.airbyte.AirbyteSyncTrigger",
        lambda number, interval: {
            "job_id": number,
            "conn_id": "bench_airbyte",
            "end_time": time.time() + DAY,
            "poll_interval": interval,
        },
        lambda port: {"conn_type": "airbyte", "host": f"https://127.0.0.1:{port}"},
        lambda event: event["status"] == "success",
        "airflow.providers.airbyte.sensors.airbyte",
    ),
}
PEERS = ["databricks", "dbt_cloud", "http", "airbyte"]
