"""The operator that runs a query and uses its result."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Literal

from airflow.providers.common.compat.sdk import ResumableJobMixin, conf

from airflow_provider_roe.api.base import State
from airflow_provider_roe.client.connection import WEEK
from airflow_provider_roe.exceptions import (
    RoeInputError,
    RoeNotFoundError,
    RoeQueryFailedError,
    RoeResultError,
    RoeTimeoutError,
)
from airflow_provider_roe.hooks.roe import RoeHook
from airflow_provider_roe.operators._query_task import SubmittingTask
from airflow_provider_roe.operators._rendered import check_rendered
from airflow_provider_roe.waiting.wait import seconds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta

    from airflow.providers.common.compat.sdk import Context
    from airflow.providers.openlineage.extractors import OperatorLineage

    from airflow_provider_roe.waiting.wait import Wait


class RoeQueryOperator(ResumableJobMixin, SubmittingTask):
    """
    Runs SQL on Roe, waits until it has ended, and returns what it came to.

    The query's id is pushed as XCom ``query_id`` before the wait begins. What the task returns:

    - by default the query's end: a dict of ``query_id, status, error, created_at, finished_at, duration``,
      as :class:`~airflow_provider_roe.sensors.roe.RoeQueryStatusSensor` returns it;
    - with ``result="rows"`` the rows of the statement that returns columns, a list of dicts from column to
      value, or where several do, a list of such lists;
    - with ``output_path`` a list of the files that were written, one for each statement that returns columns:
      dicts of ``path, row_count, columns``;
    - with ``wait_for_completion=False`` the query's id, for a sensor to wait for.

    A query that failed, or whose rows cannot be handed on, fails the task, and is submitted anew by a retry.
    Whatever else fails the task or kills its worker, a retry attaches to the query that runs or has succeeded
    (on Airflow 3.3 or newer), as does the task when it is cleared; but never to one for other SQL, another
    worksheet or organization, or another Roe. When the task has succeeded and is cleared, the query is
    submitted anew.

    Roe has no call to cancel a query: when the task is killed, the waiting stops and the query goes on.

    :param sql: One or more statements, separated by ``;``, or the name of a ``.sql`` file. What is put
        in by templating has to be trusted; other values belong into parameters. (templated)
    :param parameters: Values for the placeholders in the SQL: a list for ``%s``, or a dict for ``%(name)s``.
        They are written as literals, exactly, of which no content can get out; any other ``%`` in the SQL is
        then written ``%%``. (templated)
    :param roe_conn_id: The Airflow connection of type ``roe``. (templated)
    :param organization_id: UUID of the organization to run it for; by default the connection's. (templated)
    :param worksheet_id: UUID of the worksheet to run it in; needed if no organization is set. (templated)
    :param use_admin: Roe's ``use_admin``.
    :param wait_for_completion: Whether to wait for its end.
    :param deferrable: Whether to wait in the triggerer, where a wait occupies no worker slot. By default as
        ``[operators] default_deferrable`` says.
    :param defer_after: Seconds, or a timedelta, to poll on the worker before deferring. By default 10, or 0
        (one poll) for a mapped task.
    :param poll_interval: Seconds, or a timedelta, between two polls; sooner at first: every second, and then
        a tenth of what the wait has lasted.
    :param timeout: Seconds, or a timedelta, after which the task fails, if the query has not ended. Default:
        7 days.
    :param result: ``status`` or ``rows``: what the task returns.
    :param max_rows: How many rows it may return; more are an error, never cut off.
    :param output_path: URL of a file for the rows, as ``ObjectStoragePath`` takes it, for example
        ``s3://aws_default@bucket/report.parquet``. The extension says the format: ``.csv``, ``.jsonl`` or
        ``.parquet``. A mapped task needs one of its own, say with ``{{ ti.map_index }}`` in it. (templated)
    :param durable: Whether a retry attaches to the query of the try before. Airflow before 3.3 cannot.
    """

    template_fields: Sequence[str] = (
        *("sql", "parameters", "roe_conn_id", "organization_id", "worksheet_id", "output_path"),
    )
    template_ext: Sequence[str] = (".sql",)
    template_fields_renderers = {"sql": "sql", "parameters": "json"}  # noqa: RUF012 - as Airflow declares it
    ui_color = "#d7e8f7"
    external_id_key = "query_id"

    has_failed = RoeQueryFailedError
    timed_out = RoeTimeoutError

    def __init__(
        self,
        *,
        sql: str,
        parameters: Sequence[Any] | Mapping[str, Any] | None = None,
        roe_conn_id: str = RoeHook.default_conn_name,
        organization_id: str | None = None,
        worksheet_id: str | None = None,
        use_admin: bool = False,
        wait_for_completion: bool = True,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        defer_after: float | timedelta | None = None,
        poll_interval: float | timedelta = 60.0,
        timeout: float | timedelta = WEEK,
        result: Literal["status", "rows"] = "status",
        max_rows: int = 1000,
        output_path: str | None = None,
        durable: bool = True,
        **kwargs: Any,
    ) -> None:
        if not durable:  # passed on only then, for below Airflow 3.3 the mixin warns of it
            kwargs["durable"] = False
        super().__init__(**kwargs)
        self.sql = sql
        self.parameters = parameters
        self.roe_conn_id = roe_conn_id
        self.organization_id = organization_id
        self.worksheet_id = worksheet_id
        self.use_admin = use_admin
        self.wait_for_completion = wait_for_completion
        self.deferrable = deferrable
        self.defer_after = None if defer_after is None else seconds(defer_after, "defer_after")
        self.poll_interval = seconds(poll_interval, "poll_interval")
        self.timeout = seconds(timeout, "timeout")
        self.result = result
        self.max_rows = max_rows
        self.output_path = output_path
        self.query_id: str | None = None
        optional = ("organization_id", "worksheet_id", "output_path")
        self._given = [name for name in optional if getattr(self, name) is not None]
        self._check_arguments()

    def _check_arguments(self) -> None:
        if self.result not in ("status", "rows"):
            raise RoeInputError(f"result must be 'status' or 'rows', not {self.result!r}.")
        if not isinstance(self.max_rows, int) or isinstance(self.max_rows, bool) or self.max_rows < 0:
            raise RoeInputError(f"max_rows must be a whole number, 0 or more, not {self.max_rows!r}.")
        if self.output_path is not None and self.result == "rows":
            raise RoeInputError("output_path and result='rows' exclude each other: rows go to one place.")
        if not self.wait_for_completion and (self.output_path is not None or self.result == "rows"):
            raise RoeInputError("wait_for_completion=False leaves no rows to return or to write.")

    def execute(self, context: Context) -> Any:
        """Submit the query, or attach to the one that an earlier try has submitted, and wait for its end."""
        check_rendered(self, self._given)
        if self.output_path is not None:
            from airflow_provider_roe.results.files import check_output

            check_output(self.output_path)
        return self.execute_resumable(context)

    # What ResumableJobMixin asks for. The external id, which it keeps over tries, is a dict that also says
    # what the query was submitted for.

    def submit_job(self, context: Context) -> dict[str, Any]:
        """Submit the query and return what is kept of it."""
        submitted = self.hook.submit_query(
            self._bound(), worksheet_id=self.worksheet_id, use_admin=self.use_admin
        )
        self.log.info("Submitted query %s", submitted.query_id)
        worksheet_id = submitted.worksheet_id or self.worksheet_id
        return {
            "query_id": submitted.query_id,
            "worksheet_id": None if worksheet_id is None else str(worksheet_id),
            "asked": self._asked_now(),
        }

    def _bound(self) -> str:
        """Return the SQL with the parameters in it."""
        if self.parameters is None:
            return self.sql
        from airflow_provider_roe.sql.literals import bind

        return bind(self.sql, self.parameters)

    def _asked_now(self) -> str:
        return self._asked(self._bound(), worksheet_id=self.worksheet_id, use_admin=self.use_admin)

    def get_job_status(self, external_id: Any, context: Context) -> str:
        """Return the state of the query of an earlier try."""
        return self._state_of(external_id, self._asked_now())

    def is_job_active(self, status: str) -> bool:
        """Tell whether the query runs."""
        return status == State.RUNNING.value

    def is_job_succeeded(self, status: str) -> bool:
        """Tell whether the query has succeeded."""
        return status == State.SUCCEEDED.value

    def poll_until_complete(self, external_id: Any, context: Context) -> Any:
        """Wait for the query's end, here or in the triggerer, and return what the task returns."""
        self.query_id = str(external_id["query_id"])
        # Whatever do_xcom_push says: the way back from a deferral needs it.
        context["ti"].xcom_push(key="query_id", value=self.query_id)
        self._push_link(context, query_id=self.query_id, worksheet_id=external_id["worksheet_id"])
        if not self.wait_for_completion:
            self._forget_after_success(context)
            self._value: Any = self.query_id
            return self._value
        wait = self._new_wait(time.time())
        wait.tell_start(self.roe_conn_id)
        outcome = self._wait_for(wait, context)
        if isinstance(outcome, BaseException):
            raise outcome
        self._value = self._finish(outcome, context)
        return self._value

    def get_job_result(self, external_id: Any, context: Context) -> Any:
        """Return the task's value; of a query that had succeeded before this try, by looking at it."""
        return self._value if self.query_id else self.poll_until_complete(external_id, context)

    # What SubmittingTask asks for

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Go on after a deferral, in a process that does not know the query yet."""
        ti: Any = context["ti"]
        self.query_id = ti.xcom_pull(task_ids=self.task_id, key="query_id", map_indexes=ti.map_index)
        return super().resume_execution(next_method, next_kwargs, context)

    def _new_wait(self, started_at: float) -> Wait:
        return self._wait_for_query(
            started_at=started_at, timeout=self.timeout, poke_interval=self.poll_interval
        )

    def _finish(self, ended: dict[str, Any], context: Context) -> Any:
        check_rendered(self, self._given)
        try:
            value = self._value_of(ended)
        except (RoeQueryFailedError, RoeResultError, RoeNotFoundError):
            # A try that attached to it would end the same way, for ever.
            self._forget(context)
            raise
        self._forget_after_success(context)
        return value

    def _value_of(self, query: dict[str, Any]) -> Any:
        if self.output_path is None and self.result == "status":
            return query
        from airflow_provider_roe.results import files, rows

        with self.hook.open_query_result(query["query_id"]) as result:
            if self.output_path is None:
                return rows.the_one(rows.rows(result, self.max_rows))
            rows.check_names_for_xcom(result)
            return files.write(result, files.check_output(self.output_path))

    def get_openlineage_facets_on_complete(self, _: Any) -> OperatorLineage[Any, Any]:
        """Tell OpenLineage which query this was. Its provider asks so after a failure, too."""
        from airflow_provider_roe.openlineage import lineage

        return lineage(self.hook, str(self.sql), self.query_id)
