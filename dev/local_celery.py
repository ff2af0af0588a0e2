"""A real Airflow 3 with CeleryExecutor on this machine, handled as `LocalAirflow` is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery import Celery

from dev.local_airflow import LocalAirflow

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class LocalAirflowOnCelery(LocalAirflow):
    """
    A whole Airflow with CeleryExecutor, whose tasks run on the components `worker`, `worker-2`, ….

    It needs a PostgreSQL database, and a Redis, which `broker_url` names. `workers` is their number,
    `worker_env` is added to the environment of the workers alone.
    """

    def __init__(
        self,
        home: Path,
        dags_folder: Path,
        *,
        sql_alchemy_conn: str,
        broker_url: str,
        env: Mapping[str, str] | None = None,
        workers: int = 2,
        worker_env: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        on_celery = {
            "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
            "AIRFLOW__CELERY__BROKER_URL": broker_url,
            "C_FORCE_ROOT": "1",
        }
        super().__init__(
            home, dags_folder, sql_alchemy_conn=sql_alchemy_conn, env=on_celery | dict(env or {}), **kwargs
        )
        self.workers = ["worker", *(f"worker-{number}" for number in range(2, workers + 1))]
        for name in self.workers:
            # On one machine they need names and files of their own. The first serves the logs of all.
            own = ["-H", f"{name}@%h", "--pid", str(self.home / f"{name}.pid")]
            skip = ["--skip-serve-logs"] if name != "worker" else []
            self._components[name] = self._new_component(
                name, "celery", "worker", *own, *skip, env=worker_env
            )
        self._celery = Celery(broker=broker_url, backend=f"db+{sql_alchemy_conn}")

    def _create_database(self) -> None:
        super()._create_database()
        # Workers that start together would each create the tables of Celery's results.
        self._celery.backend.ResultSession().close()

    def _health(self) -> dict[str, str]:
        health = super()._health()
        answers = self._celery.control.ping(timeout=1, limit=len(self.workers))
        answered = {name.partition("@")[0] for answer in answers for name in answer}
        return health | {name: "healthy" if name in answered else "silent" for name in self.workers}

    def stop(self, grace: float = 5) -> None:
        """End every process that was started, also indirectly."""
        super().stop(grace)
        self._celery.close()
