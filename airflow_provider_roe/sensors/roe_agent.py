"""The sensor that waits for agents' jobs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from uuid import UUID

from airflow.providers.common.compat.sdk import conf

from airflow_provider_roe.hooks.roe import RoeHook
from airflow_provider_roe.operators._agent_task import AgentJobTask
from airflow_provider_roe.sensors._waiting import WaitingSensor

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from airflow.providers.common.compat.sdk import Context, XComArg

    from airflow_provider_roe.waiting.wait import Wait


class RoeAgentJobSensor(AgentJobTask, WaitingSensor):
    """
    Waits until an agent's job ends, or all of several, and ends as they did.

    Returns, as XCom, a dict of the job's ``job_id, status, error, created_at, finished_at, duration``, with
    times in RFC 3339, the duration in seconds, and None for what Roe did not tell; for a list of jobs a list
    of such dicts, in the jobs' order.

    Jobs that failed or were cancelled fail the task without a retry once all have ended, if they are more
    than ``max_failed``; with ``soft_fail`` or ``never_fail`` they skip it. When Roe cannot be asked for
    longer than the connection's ``retry_window``, or refuses the request, the task fails and is retried as
    its ``retries`` say; ``soft_fail`` does not skip then, ``never_fail`` does, and ``silent_fail`` waits on.

    :param job_ids: The UUID of a job, or a list of them, as
        :meth:`~airflow_provider_roe.hooks.roe.RoeHook.run_agent` and
        :meth:`~airflow_provider_roe.hooks.roe.RoeHook.run_agent_many` return them. (templated)
    :param max_failed: How many of the jobs may fail before the task does. Default: none.
    :param roe_conn_id: The Airflow connection of type ``roe``. (templated)
    :param organization_id: UUID of the jobs' organization; by default the connection's. (templated)
    :param deferrable: Whether to wait in the triggerer, where a wait occupies no worker slot, and where all
        waits of a connection ask for their jobs together. By default as ``[operators] default_deferrable``
        says. It wins over ``mode``.
    :param defer_after: Seconds, or a timedelta, to poll on the worker before deferring. By default 10, or 0
        (one poll) for a mapped task.
    :param cancel_on_kill: Whether to cancel the jobs that still run when the task is killed or out
        of time. Default: not to, for something else has started them, and a worker that is shut down kills
        its tasks, too.
    :param kwargs: Arguments of all sensors, as for
        :class:`~airflow_provider_roe.sensors.roe.RoeQueryStatusSensor`.
    """

    template_fields: Sequence[str] = ("job_ids", "roe_conn_id", "organization_id")
    ui_color = "#d7e8f7"

    def __init__(
        self,
        *,
        job_ids: str | Sequence[str] | XComArg,
        max_failed: int = 0,
        roe_conn_id: str = RoeHook.default_conn_name,
        organization_id: str | None = None,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        defer_after: float | timedelta | None = None,
        cancel_on_kill: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            roe_conn_id=roe_conn_id,
            organization_id=organization_id,
            deferrable=deferrable,
            defer_after=defer_after,
            **kwargs,
        )
        self.job_ids = job_ids
        self.max_failed = max_failed
        self.cancel_on_kill = cancel_on_kill

    @property
    def _job_ids(self) -> Sequence[str]:
        given: Any = self.job_ids
        return [given] if self._is_one else list(given)

    @property
    def _is_one(self) -> bool:
        # What is no id at all is refused as one.
        return isinstance(self.job_ids, str | UUID) or not isinstance(self.job_ids, Iterable)

    def _link_ids(self) -> dict[str, object]:
        return {"job_id": self._job_ids[0]} if len(self._job_ids) == 1 else {}

    def _new_wait(self, started_at: float) -> Wait:
        return self._wait_for_jobs(**self._arguments(started_at))

    def _finish(self, ended: dict[str, Any], context: Context) -> Any:
        return ended["jobs"][0] if self._is_one else ended["jobs"]
