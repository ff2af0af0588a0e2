"""
A real Airflow 3 on this machine, for as long as a `with` block lasts: its own processes, database and ports.

    with LocalAirflow(home, dags_folder) as airflow:
        airflow.wait_for_dag("my_dag")
        run = airflow.wait_for_run("my_dag", airflow.trigger("my_dag"))
"""

from __future__ import annotations

import os
import secrets
import sys
import time
from base64 import urlsafe_b64encode
from typing import TYPE_CHECKING, Any, ClassVar, Self
from urllib.parse import quote

import requests

from dev.patience import patient
from dev.processes import Component, free_ports, is_listening, stop_all

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

# What Airflow adds to every log entry, and what a line of log text shows in another way
LOG_CONTEXT = {
    *("timestamp", "level", "event", "error_detail", "logger", "filename", "lineno", "bundle_name"),
    *("bundle_version", "dag_id", "run_id", "task_id", "map_index", "ti", "ti_id", "try_number"),
}


class LocalAirflowError(Exception):
    """Airflow did not start, did not answer, or did not do as asked."""


class LocalAirflow:
    """
    A whole Airflow: API server, scheduler with LocalExecutor, DAG processor and triggerer.

    `home` takes everything that Airflow writes. The database is SQLite in there unless `sql_alchemy_conn`
    names another. `env` is added to the environment of all components, so any setting can be overridden with
    it; Airflow settings in the caller's own environment are not inherited. `triggerers` is their number: the
    first is the component `triggerer`, the next `triggerer-2`.
    """

    COMPONENTS: ClassVar = ("api-server", "scheduler", "dag-processor", "triggerer")
    API = "api/v2"
    HEALTH = "api/v2/monitor/health"
    PARTS: ClassVar = ("metadatabase", "scheduler", "dag_processor", "triggerer")
    _ORDER: ClassVar = {"order_by": "id"}
    _NO_DATE: ClassVar[dict[str, Any]] = {"logical_date": None}

    def __init__(
        self,
        home: Path,
        dags_folder: Path,
        *,
        sql_alchemy_conn: str | None = None,
        env: Mapping[str, str] | None = None,
        triggerers: int = 1,
        start_timeout: float = 180,
    ) -> None:
        self.home = home.resolve()
        self._start_timeout = patient(start_timeout)
        self._ports = free_ports(3)
        self.url = f"http://127.0.0.1:{self._ports[0]}"
        self.sql_alchemy_conn = sql_alchemy_conn or f"sqlite:///{self.home / 'airflow.db'}"
        self._env = self._environment(dags_folder.resolve()) | dict(env or {})
        self._migration = self._new_component("db-migrate", "db", "migrate")
        self._components = {name: self._new_component(name, name) for name in self.COMPONENTS}
        for number in range(2, triggerers + 1):
            # All triggerers write their logs to the same folder, which the first one serves.
            name = f"triggerer-{number}"
            self._components[name] = self._new_component(name, "triggerer", "--skip-serve-logs")
        self._http = requests.Session()
        self._http.trust_env = False  # neither a proxy nor a netrc is for an address on this machine

    def _server_settings(self) -> dict[str, object]:
        return {
            "core.simple_auth_manager_all_admins": True,
            "core.execution_api_server_url": f"{self.url}/execution/",
            "api.host": "127.0.0.1",
            "api.port": self._ports[0],
            "api.base_url": self.url,
            "api.secret_key": secrets.token_hex(32),
            "api_auth.jwt_secret": secrets.token_hex(32),
            "dag_processor.refresh_interval": 3,
            "dag_processor.bundle_refresh_check_interval": 1,
        }

    def _environment(self, dags_folder: Path) -> dict[str, str]:
        settings = self._server_settings() | {
            "core.dags_folder": dags_folder,
            "core.executor": "LocalExecutor",
            "core.parallelism": 8,
            "core.load_examples": False,
            "core.dags_are_paused_at_creation": False,
            "core.test_connection": "Enabled",
            "core.fernet_key": urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "database.sql_alchemy_conn": self.sql_alchemy_conn,
            "database.load_default_connections": False,
            "logging.worker_log_server_port": self._ports[1],
            "logging.trigger_log_server_port": self._ports[2],
            "scheduler.scheduler_heartbeat_sec": 1,
            "scheduler.scheduler_idle_sleep_time": 0.5,
            "triggerer.job_heartbeat_sec": 2,
            "usage_data_collection.enabled": False,
        }
        no_proxy = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
        no_proxy = f"{no_proxy},127.0.0.1,localhost".lstrip(",")
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")},
            **{f"AIRFLOW__{name.replace('.', '__')}".upper(): str(value) for name, value in settings.items()},
            "AIRFLOW_HOME": str(self.home),
            "TMPDIR": str(self.home / "tmp"),
            "NO_PROXY": no_proxy,
            "no_proxy": no_proxy,
        }

    def _new_component(self, name: str, *arguments: str, env: Mapping[str, str] | None = None) -> Component:
        command = [sys.executable, "-m", "airflow", *arguments]
        log_file = self.home / "logs-of-components" / f"{name}.log"
        own_env = self._env | dict(env or {})
        return Component(name, command, env=own_env, folder=self.home, log_file=log_file)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def start(self) -> None:
        """Create the database, start every component, and wait until Airflow finds all of them healthy."""
        deadline = time.monotonic() + self._start_timeout
        for folder in ("tmp", "logs-of-components"):
            (self.home / folder).mkdir(parents=True, exist_ok=True)
        try:
            self._create_database()
            for component in self._components.values():
                component.start()
            self._wait_until_healthy(deadline)
        except BaseException:
            self.stop()
            raise

    def _create_database(self) -> None:
        self._migration.start()
        self._migration.wait(self._start_timeout)

    def wait_until_healthy(self, timeout: float) -> None:
        """Wait until Airflow finds all of its parts healthy; that a component has ended is an error."""
        self._wait_until_healthy(time.monotonic() + patient(timeout))

    def _wait_until_healthy(self, deadline: float) -> None:
        began = time.monotonic()
        health: dict[str, str] = {}
        while time.monotonic() < deadline:
            for component in self._components.values():
                if component.exit_code() is not None:
                    raise LocalAirflowError(component.obituary())
            try:
                health = self._health()
                if set(health.values()) == {"healthy"}:
                    return
            except requests.RequestException:
                pass  # not listening yet
            time.sleep(0.25)
        seconds = time.monotonic() - began
        raise LocalAirflowError(f"Airflow is not healthy after {seconds:.0f} s: {health or 'no answer'}")

    def _health(self) -> dict[str, str]:
        """Return how each part is, as Airflow tells it."""
        health = self._http.get(f"{self.url}/{self.HEALTH}", timeout=patient(10)).json()
        return {part: health[part]["status"] for part in self.PARTS}

    def stop(self, grace: float = 5) -> None:
        """End every process that was started, also indirectly; a further Ctrl-C waits until that is done."""
        stop_all([self._migration, *self._components.values()], grace)
        self._http.close()
        if remaining := [port for port in self._ports if is_listening(port)]:
            raise LocalAirflowError(f"Airflow has ended, but something listens on its ports {remaining}")

    def revive(self) -> list[str]:
        """Start again what has ended, as a supervisor does in production; returns the components' names."""
        ended = [component for component in self._components.values() if component.exit_code() is not None]
        for component in ended:
            component.restart()
        return [component.name for component in ended]

    def component(self, name: str) -> Component:
        """Return the handle of `api-server`, `scheduler`, `dag-processor`, `triggerer`, `triggerer-2`, …."""
        return self._components[name]

    def api(self, method: str, path: str, **kwargs: Any) -> Any:
        """Call Airflow's REST API and return the decoded answer; `path` is relative to the API's own."""
        self._log_in(self._http)
        response = self._http.request(
            method, f"{self.url}/{self.API}/{path}", **{"timeout": patient(30), **kwargs}
        )
        if not response.ok:
            raise LocalAirflowError(f"{method} {path}: {response.status_code} {response.text}")
        return response.json() if response.content else None

    def _log_in(self, http: requests.Session) -> None:
        if "Authorization" not in http.headers:
            token = http.get(f"{self.url}/auth/token", timeout=patient(30)).json()["access_token"]
            http.headers["Authorization"] = f"Bearer {token}"

    def wait_for_dag(self, dag_id: str, timeout: float = 60) -> None:
        """Wait until the DAG processor has read a DAG; an import error of any file ends the wait."""
        deadline = time.monotonic() + patient(timeout)
        while time.monotonic() < deadline:
            if errors := self.api("GET", "importErrors")["import_errors"]:
                raise LocalAirflowError("\n".join(f"{e['filename']}: {e['stack_trace']}" for e in errors))
            dags = self.api("GET", "dags", params={"dag_id_pattern": dag_id})["dags"]
            if any(dag["dag_id"] == dag_id for dag in dags):
                return
            time.sleep(0.5)
        raise LocalAirflowError(f"DAG {dag_id} was not found within {patient(timeout):g} s")

    def trigger(self, dag_id: str, conf: dict[str, Any] | None = None) -> str:
        """Start a run of a DAG and return its run id."""
        body = {"conf": conf or {}} | self._NO_DATE
        return str(self.api("POST", f"dags/{dag_id}/dagRuns", json=body)["dag_run_id"])

    def dag_run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """Return a DAG run as the REST API gives it."""
        return dict(self.api("GET", run_path(dag_id, run_id)))

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Return all task instances of a run, mapped ones included, in the order of their start."""
        path = f"{run_path(dag_id, run_id)}/taskInstances"
        found: list[dict[str, Any]] = []
        while True:
            page = self.api("GET", path, params={"limit": 100, "offset": len(found)} | self._ORDER)
            found += page["task_instances"]
            if len(found) >= page["total_entries"] or not page["task_instances"]:
                return sorted(found, key=lambda task: task["start_date"] or "9")

    def xcom(
        self, dag_id: str, run_id: str, task_id: str, key: str = "return_value", map_index: int = -1
    ) -> Any:
        """Return a value that a task has left."""
        path = f"{run_path(dag_id, run_id)}/taskInstances/{task_id}/xcomEntries/{key}"
        return self.api("GET", path, params={"map_index": map_index})["value"]

    def links(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> dict[str, str]:
        """Return the extra links of a task, from their names to their URLs."""
        path = f"{run_path(dag_id, run_id)}/taskInstances/{task_id}/links"
        answer = self.api("GET", path, params={"map_index": map_index})
        return dict(answer.get("extra_links", answer))

    def log(self, dag_id: str, run_id: str, task_id: str, try_number: int = 1, map_index: int = -1) -> str:
        """Return the log of one try of a task as text."""
        path = f"{run_path(dag_id, run_id)}/taskInstances/{task_id}/logs/{try_number}"
        answer = self.api("GET", path, params={"map_index": map_index, "full_content": True})
        return "\n".join(_log_line(entry) for entry in answer["content"] if not _is_fold(entry))

    def wait_for_run(
        self,
        dag_id: str,
        run_id: str,
        timeout: float = 300,
        on_change: Callable[[dict[str, Any]], None] | None = None,
    ) -> dict[str, Any]:
        """
        Wait for the end of a DAG run and return it; `on_change` gets each task instance in a new state.

        Without it Airflow is asked for the run alone: to list hundreds of tasks keeps its API server busy.
        """
        deadline = time.monotonic() + patient(timeout)
        states: dict[tuple[str, int], str | None] = {}
        while time.monotonic() < deadline:
            run = self.dag_run(dag_id, run_id)
            for task in self.task_instances(dag_id, run_id) if on_change else ():
                name = task["task_id"], task["map_index"]
                if on_change and states.get(name) != task["state"]:
                    states[name] = task["state"]
                    on_change(task)
            if run["state"] in ("success", "failed"):
                return run
            time.sleep(0.3)
        tasks = self.task_instances(dag_id, run_id)
        states = {(task["task_id"], task["map_index"]): task["state"] for task in tasks}
        raise LocalAirflowError(
            f"Run {run_id} of {dag_id} has not ended after {patient(timeout):g} s: {states}"
        )


def run_path(dag_id: str, run_id: str) -> str:
    return f"dags/{dag_id}/dagRuns/{quote(run_id)}"


def _is_fold(entry: str | dict[str, Any]) -> bool:
    """Tell whether a log entry only marks where the UI can fold the log."""
    return isinstance(entry, dict) and entry["event"].startswith(("::group::", "::endgroup::"))


def _log_line(entry: str | dict[str, Any]) -> str:
    """Render a structured log entry as a line like `12:00:01 INFO    It waits seconds=5`, errors below."""
    if isinstance(entry, str):
        return entry
    clock = (entry.get("timestamp") or "")[11:19]
    details = [f"{name}={value}" for name, value in entry.items() if name not in LOG_CONTEXT]
    lines = [" ".join([clock, f"{entry.get('level') or '':7}".upper(), entry["event"], *details]).strip()]
    for error in entry.get("error_detail") or ():
        frames = error.get("frames") or ()
        lines += [f"  {frame['filename']}:{frame['lineno']} in {frame['name']}" for frame in frames]
        lines += [f"{error['exc_type']}: {error['exc_value']}"]
    return "\n".join(lines)
