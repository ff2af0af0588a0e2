"""The sensor that waits for a query."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import conf

from airflow_provider_roe.hooks.roe import RoeHook
from airflow_provider_roe.operators._query_task import QueryTask
from airflow_provider_roe.sensors._waiting import WaitingSensor

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from airflow.providers.common.compat.sdk import XComArg

    from airflow_provider_roe.waiting.wait import Wait


class RoeQueryStatusSensor(QueryTask, WaitingSensor):
    """
    Waits until a query on Roe ends, and ends as it did.

    Returns, as XCom, a dict of the query's ``query_id, status, error, created_at, finished_at, duration``,
    with times in RFC 3339, the duration in seconds, and None for what Roe did not tell.

    A query that failed fails the task without a retry, for the same query would not change; with
    ``soft_fail`` or ``never_fail`` it skips it. When Roe cannot be asked for longer than the connection's
    ``retry_window``, or refuses the request, the task fails and is retried as its ``retries`` say;
    ``soft_fail`` does not skip then, ``never_fail`` does, and ``silent_fail`` waits on.

    Roe has no call to cancel a query: when the task is killed, the waiting stops and the query goes on.

    :param query_id: The query's UUID, as :meth:`~airflow_provider_roe.hooks.roe.RoeHook.submit_query`
        returns it. (templated)
    :param roe_conn_id: The Airflow connection of type ``roe``. (templated)
    :param organization_id: UUID of the query's organization; by default the connection's. (templated)
    :param deferrable: Whether to wait in the triggerer, where a wait occupies no worker slot. By default as
        ``[operators] default_deferrable`` says. It wins over ``mode``.
    :param defer_after: Seconds, or a timedelta, to poll on the worker before deferring. By default 10, or 0
        (one poll) for a mapped task.
    :param kwargs: Arguments of all sensors. ``poke_interval``, ``exponential_backoff``, ``max_wait``,
        ``timeout`` and the fail flags mean the same in every mode. Polls come every second at first, then a
        tenth of what the wait has lasted apart, until ``poke_interval`` is reached; with
        ``mode="reschedule"`` a quarter of what it has lasted, and no less than 15 s.
    """

    template_fields: Sequence[str] = ("query_id", "roe_conn_id", "organization_id")
    ui_color = "#d7e8f7"

    def __init__(
        self,
        *,
        query_id: str | XComArg,
        roe_conn_id: str = RoeHook.default_conn_name,
        organization_id: str | None = None,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        defer_after: float | timedelta | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            roe_conn_id=roe_conn_id,
            organization_id=organization_id,
            deferrable=deferrable,
            defer_after=defer_after,
            **kwargs,
        )
        self.query_id = query_id

    def _link_ids(self) -> dict[str, object]:
        return {"query_id": self.query_id}

    def _new_wait(self, started_at: float) -> Wait:
        return self._wait_for_query(**self._arguments(started_at))
