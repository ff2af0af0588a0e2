import time
import uuid
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from airflow_provider_roe.testing.outcome import Outcome
from airflow_provider_roe.testing.plan import QueryPlan
from airflow_provider_roe.testing.rest import rfc3339

#: Statuses that leave no results. Stated here anew: what is tested is not to be believed.
_FAILURES = {"FAILURE", "FAILED", "ERROR", "REVOKED", "REJECTED", "IGNORED", "CANCELLED", "CANCELED"}
_CREATOR = {
    "id": 1,
    "email": "airflow@example.com",
    "first_name": "Air",
    "last_name": "Flow",
    "display_name": "Air Flow",
}


class State(NamedTuple):
    """What a query's status call tells at one moment; a query with a ``finished_at`` has ended."""

    status: str
    error: str | None
    finished_at: datetime | None


class Query:
    """
    A query at the simulated server.

    Its state at any moment follows from its plan and the time since it was created.

    :param sql: the text.
    :param plan: how it goes.
    :param outcome: what its SQL really comes to.
    :param worksheet_id: the worksheet that it belongs to. Default: a new one.
    """

    def __init__(
        self, sql: str, plan: QueryPlan, outcome: Future[Outcome], worksheet_id: str | None = None
    ) -> None:
        self.id = str(uuid.uuid4())
        self.task_id = str(uuid.uuid4())
        self.worksheet_id = worksheet_id or str(uuid.uuid4())
        self.sql = sql
        self.plan = plan
        self.outcome = outcome
        self.created_at = datetime.now(UTC) + timedelta(seconds=plan.clock_skew)
        self._created = time.monotonic()
        self._end: State | None = None

    @property
    def state(self) -> State:
        """State at this moment."""
        if self._end:
            return self._end
        running = self.plan.at(time.monotonic() - self._created)
        if running:
            return State(running.status, running.error, None)
        until = self.plan.seconds
        if self.plan.ends_as is not None:
            return State(self.plan.ends_as, self.plan.error, self._time(until))
        if not self.outcome.done():  # the SQL takes longer than planned
            status, _, *errors = self.plan.statuses[-1] if self.plan.statuses else ("STARTED", 0)
            return State(status, errors[0] if errors else None, None)
        sql = self.outcome.result()
        return State(
            "FAILURE" if sql.error else "SUCCESS",
            sql.error if self.plan.error is None else self.plan.error,
            self._time(max(until, sql.ended - self._created)),
        )

    @property
    def status(self) -> str:
        """Status at this moment."""
        return self.state.status

    @property
    def error(self) -> str | None:
        """Error text at this moment."""
        return self.state.error

    @property
    def finished_at(self) -> datetime | None:
        """When it ended by the server's clock; None as long as it has not."""
        return self.state.finished_at

    @property
    def failed(self) -> bool:
        """Whether it has failed, or was revoked."""
        return self.finished_at is not None and self.status.upper() in _FAILURES

    def finish(self, status: str, error: str | None) -> None:
        """End it now."""
        self._end = State(status, error, self._time(time.monotonic() - self._created))

    def as_status(self) -> dict[str, Any]:
        """Answer to a status call."""
        state = self.state
        return self.plan.shape(
            {
                "worksheet_query_id": self.id,
                "status": state.status,
                "error": state.error,
                "created_at": rfc3339(self.created_at),
                "finished_at": rfc3339(state.finished_at),
            }
        )

    def as_result(self) -> dict[str, Any]:
        """Answer to a result call; of a query that has ended, only once its outcome is there."""
        state = self.state
        has_results = state.finished_at is not None and state.status.upper() not in _FAILURES
        return {
            "worksheet_query_id": self.id,
            "status": state.status,
            "error": state.error,
            "results": self.outcome.result().results if has_results else [],
        }

    def as_worksheet_query(self, organization_id: str) -> dict[str, Any]:
        """Answer to a submit call."""
        state = self.state
        created_at = rfc3339(self.created_at)
        organization = {"id": organization_id, "name": "Simulated organization", "created_at": created_at}
        worksheet = {
            "id": self.worksheet_id,
            "name": "Untitled worksheet",
            "created_at": created_at,
            "updated_at": created_at,
            "creator": _CREATOR,
            "organization": organization,
        }
        return {
            "id": self.id,
            "query_task_id": self.task_id,
            "query_task_status": state.status,
            "query": self.sql,
            "error": state.error,
            "ai_summary": None,
            "created_at": created_at,
            "updated_at": created_at,
            "finished_at": rfc3339(state.finished_at),
            "worksheet": worksheet,
            "organization": organization,
            "creator": _CREATOR,
        }

    def _time(self, elapsed: float) -> datetime:
        return self.created_at + timedelta(seconds=elapsed)
