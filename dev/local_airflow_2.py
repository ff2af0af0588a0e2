"""A real Airflow 2.11 on this machine, handled as `LocalAirflow` is."""

from __future__ import annotations

import ast
import secrets
from typing import TYPE_CHECKING, Any, ClassVar

from dev.local_airflow import LocalAirflow, run_path

if TYPE_CHECKING:
    import requests

# Whoever opens the UI or calls the API is an administrator.
WEBSERVER_CONFIG = """
AUTH_ROLE_PUBLIC = "Admin"
WTF_CSRF_ENABLED = False
"""


class LocalAirflow2(LocalAirflow):
    """
    A whole Airflow 2.11: webserver, scheduler with LocalExecutor, which also processes DAGs, and triggerer.

    It needs a PostgreSQL database: Airflow 2 runs no LocalExecutor on SQLite.
    """

    COMPONENTS: ClassVar = ("webserver", "scheduler", "triggerer")
    API = "api/v1"
    HEALTH = "health"
    PARTS: ClassVar = ("metadatabase", "scheduler", "triggerer")
    _NO_DATE: ClassVar[dict[str, Any]] = {}
    _ORDER: ClassVar[dict[str, str]] = {}

    def _server_settings(self) -> dict[str, object]:
        return {
            "api.auth_backends": "airflow.api.auth.backend.session",
            "webserver.web_server_host": "127.0.0.1",
            "webserver.web_server_port": self._ports[0],
            "webserver.base_url": self.url,
            "webserver.secret_key": secrets.token_hex(32),
            "webserver.config_file": self.home / "webserver_config.py",
            "webserver.workers": 1,
            "scheduler.min_file_process_interval": 3,
            "scheduler.dag_dir_list_interval": 1,
        }

    def start(self) -> None:
        """Create the database, start every component, and wait until Airflow finds all of them healthy."""
        (self.home / "webserver_config.py").write_text(WEBSERVER_CONFIG)
        super().start()

    def _log_in(self, http: requests.Session) -> None:
        """Do nothing: everybody is an administrator."""

    def xcom(
        self, dag_id: str, run_id: str, task_id: str, key: str = "return_value", map_index: int = -1
    ) -> Any:
        """Return a value that a task has left. This API gives it as Python's `str` does."""
        value = super().xcom(dag_id, run_id, task_id, key, map_index)
        try:
            return ast.literal_eval(value)
        except (SyntaxError, ValueError):
            return value  # a string, which has no quotes

    def log(self, dag_id: str, run_id: str, task_id: str, try_number: int = 1, map_index: int = -1) -> str:
        """Return the log of one try of a task as text."""
        path = f"{run_path(dag_id, run_id)}/taskInstances/{task_id}/logs/{try_number}"
        params = {"map_index": map_index, "full_content": True}
        answer = self.api("GET", path, params=params, headers={"Accept": "application/json"})
        return str(answer["content"])
