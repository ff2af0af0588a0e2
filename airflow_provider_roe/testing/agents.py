import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from airflow_provider_roe.testing.forms import InputFile
from airflow_provider_roe.testing.job_plan import JobPlan
from airflow_provider_roe.testing.rest import rfc3339

#: Codes of the states of a job that count here. Stated anew: what is tested is not to be believed.
SUCCESS, CANCELLED, CACHED = 3, 5, 6

Inputs = Mapping[str, str | InputFile]


@dataclass(frozen=True, kw_only=True)
class Agent:
    """
    An agent at the simulated server.

    :param id: its id, a UUID.
    :param versions: ids of its versions, UUIDs; the last one is current.
    :param required: keys of the inputs that every job of it needs; it takes any others too.
    :param plan: how its jobs go. Default: as the simulator's ``job_plan`` says.
    :param caching: whether a job like one that has succeeded takes its outputs over. Default: False.
    """

    id: str
    versions: tuple[str, ...]
    required: tuple[str, ...] = ()
    plan: JobPlan | None = None
    caching: bool = False


class JobState(NamedTuple):
    """What is told about a job at one moment."""

    status: int
    error: str | None
    updated_at: datetime
    ended: bool


class Job:
    """
    A job of an agent at the simulated server.

    Its state at any moment follows from its plan and the time since it was created.

    :param agent_id: the agent.
    :param version_id: the version of it that runs.
    :param inputs: texts and files by the keys of the inputs.
    :param plan: how it goes.
    :param metadata: what the client has noted with it. Default: nothing.
    :param skip_cache: whether the client wanted no cached result. Default: False.
    :param idempotency_key: the key that it was started with. Default: none.
    """

    def __init__(
        self,
        agent_id: str,
        version_id: str,
        inputs: Inputs,
        plan: JobPlan,
        *,
        metadata: Mapping[str, Any] | None = None,
        skip_cache: bool = False,
        idempotency_key: str | None = None,
    ) -> None:
        self.id = str(uuid.uuid4())
        self.agent_id = agent_id
        self.version_id = version_id
        self.inputs = dict(inputs)
        self.plan = plan
        self.metadata = dict(metadata or {})
        self.skip_cache = skip_cache
        self.idempotency_key = idempotency_key
        self.cancelled = False
        self.created_at = datetime.now(UTC) + timedelta(seconds=plan.clock_skew)
        self._created = time.monotonic()
        self._end: JobState | None = None

    @property
    def state(self) -> JobState:
        """State at this moment."""
        if self._end:
            return self._end
        running = self.plan.at(time.monotonic() - self._created)
        if running:
            return JobState(running.status, running.error, self._time(running.since), ended=False)
        return JobState(self.plan.ends_as, self.plan.error, self._time(self.plan.seconds), ended=True)

    @property
    def status(self) -> int:
        """Code of its status at this moment."""
        return self.state.status

    @property
    def error(self) -> str | None:
        """Error text at this moment."""
        return self.state.error

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self.state.ended

    def finish(self, status: int, error: str | None = None) -> None:
        """End it now."""
        self._end = JobState(status, error, self._time(time.monotonic() - self._created), ended=True)

    def cancel(self) -> None:
        """End it as cancelled, unless it has ended."""
        if not self.ended:
            self.finish(CANCELLED)
            self.cancelled = True

    def as_status(self) -> dict[str, Any]:
        """Answer to a call for the status of this job alone."""
        state = self.state
        error = {} if state.error is None else {"error_message": state.error}
        return self.plan.shape({"status": state.status, "timestamp": state.updated_at.timestamp()} | error)

    def as_status_of_many(self) -> dict[str, Any]:
        """Answer about this job to a call for the statuses of many."""
        state = self.state
        return self.plan.shape(
            {
                "id": self.id,
                "status": state.status,
                "created_at": rfc3339(self.created_at),
                "last_updated_at": rfc3339(state.updated_at),
                "timestamp": state.updated_at.timestamp(),
                "error_message": state.error,
            }
        )

    def as_result(self) -> dict[str, Any]:
        """Answer to a call for the result of this job alone."""
        return self._about(self.state) | {"outputs": self._outputs(self.state) or []}

    def as_result_of_many(self) -> dict[str, Any]:
        """Answer about this job to a call for the results of many."""
        state = self.state
        return {
            "id": self.id,
            "status": state.status,
            "result": self._outputs(state),
            "corrected_outputs": None,
            "cost": self.plan.cost if state.ended else None,
        } | self._about(state)

    def cached(self) -> JobPlan:
        """Return the plan of a job that takes over the outputs of this one."""
        return replace(self.plan, statuses=(), ends_as=CACHED, error=None)

    def _about(self, state: JobState) -> dict[str, Any]:
        return {
            "agent_id": self.agent_id,
            "agent_version_id": self.version_id,
            "inputs": [_written_input(key, value) for key, value in self.inputs.items()],
            "input_tokens": self.plan.input_tokens if state.ended else None,
            "output_tokens": self.plan.output_tokens if state.ended else None,
        }

    def _outputs(self, state: JobState) -> list[dict[str, Any]] | None:
        if not state.ended or state.status not in (SUCCESS, CACHED):
            return None
        return self.plan.written_outputs(
            {k: asdict(v) if isinstance(v, InputFile) else v for k, v in self.inputs.items()}
        )

    def _time(self, elapsed: float) -> datetime:
        return self.created_at + timedelta(seconds=elapsed)


def _written_input(key: str, value: str | InputFile) -> dict[str, Any]:
    if isinstance(value, InputFile):
        about_file = {"data_type": value.data_type, "value": value.file_name, "file_name": value.file_name}
        return {"key": key, "description": "", **about_file}
    return {"key": key, "description": "", "data_type": "text/plain", "value": value}
