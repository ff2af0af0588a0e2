"""
Roe's agents: jobs that are run, asked for by the thousand, and cancelled.

Facts come from Roe's OpenAPI description (https://docs.roe-ai.com). That a run with an ``Idempotency-Key`` is
no second one, and how many ids a call takes, is what Roe's own clients count on.
"""

from __future__ import annotations

import json
import reprlib
from copy import copy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from airflow_provider_roe.api.base import (
    Request,
    Response,
    State,
    check_code,
    clip,
    is_uuid,
    organization_params,
    read_json,
    read_messages,
    read_number,
    read_time,
    refuse_shape,
    refuse_xcom,
    sentence,
    uuid,
)
from airflow_provider_roe.api.queries import classify
from airflow_provider_roe.exceptions import (
    RoeAuthenticationError,
    RoeError,
    RoeInputError,
    RoeNotFoundError,
    RoeOutputError,
    RoeRequestError,
    RoeUnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from airflow_provider_roe.api.base import File

T = TypeVar("T")

#: The words for Roe's status codes, each at its code's place
WORDS = ("PENDING", "STARTED", "RETRY", "SUCCESS", "FAILURE", "CANCELLED", "CACHED")
#: Jobs that one call may name, or start
MOST_JOBS = 1000
#: Jobs whose results one call asks for: each may be long.
MOST_RESULTS = 100
MAX_STATUSES_BODY = 16 * 1024 * 1024
MAX_RESULTS_BODY = 64 * 1024 * 1024
#: Refusals of a call that names many jobs which one of them may cause
_ABOUT_ONE = frozenset({400, 403, 413})
#: Failed jobs of many that an error names
_MOST_NAMED = 5

_NO_JOB = "Roe knows no such agent job in this organization: check job_ids and organization_id."
_NO_AGENT = "Roe knows no such agent, or version of it, in this organization: check agent_id and version_id."


@dataclass(frozen=True, slots=True)
class AgentJobStatus:
    """
    How far an agent's job is.

    :param job_id: The UUID that names the job in every call.
    :param status: The word for Roe's status code: ``PENDING``, ``STARTED``, ``RETRY``, ``SUCCESS``,
        ``FAILURE``, ``CANCELLED`` or ``CACHED``; the number itself for any other.
    :param state: What it means.
    :param known: Whether the status is one that Roe, or the connection, names.
    :param error: Roe's error text, cut to 2,000 characters. May be set while the job is retried.
    :param created_at: When the job was started; None if unknown.
    :param finished_at: When it ended; None while it runs or if unknown.
    :param request_id: The ``X-Request-ID`` of the request that was answered so.
    """

    job_id: str
    status: str
    state: State
    known: bool = True
    error: str | None = None
    created_at: datetime | None = None
    finished_at: datetime | None = None
    request_id: str | None = field(default=None, compare=False)

    @property
    def duration(self) -> float | None:
        """Seconds from start to end; None if either is unknown."""
        if self.created_at is None or self.finished_at is None:
            return None
        return max((self.finished_at - self.created_at).total_seconds(), 0.0)

    def as_dict(self) -> dict[str, Any]:
        """Return the plain value that tasks push as XCom: times in RFC 3339, seconds as float."""
        return {
            "job_id": self.job_id,
            "status": self.status,
            "error": self.error,
            "created_at": self.created_at and self.created_at.isoformat(),
            "finished_at": self.finished_at and self.finished_at.isoformat(),
            "duration": self.duration,
        }

    def serialize(self) -> NoReturn:
        """Refuse to become an XCom, when Airflow asks for one."""
        refuse_xcom(self, "its as_dict()")


@dataclass(frozen=True, slots=True)
class AgentJobs:
    """
    How far the jobs are that one wait is for: they run until the last of them has ended.

    :param jobs: The statuses, in the jobs' order.
    :param max_failed: How many of them may fail before all count as failed.
    """

    jobs: tuple[AgentJobStatus, ...]
    max_failed: int = 0

    def __post_init__(self) -> None:
        if not self.jobs:
            raise RoeInputError("There is no agent job to wait for: job_ids is empty.")

    @property
    def failed(self) -> list[tuple[int, AgentJobStatus]]:
        """Those that have failed, each with its index."""
        return [(index, job) for index, job in enumerate(self.jobs) if job.state is State.FAILED]

    @property
    def state(self) -> State:
        """What all of them come to."""
        if any(job.state is State.RUNNING for job in self.jobs):
            return State.RUNNING
        return State.FAILED if len(self.failed) > self.max_failed else State.SUCCEEDED

    @property
    def known(self) -> bool:
        """Whether each has a status that Roe, or the connection, names."""
        return all(job.known for job in self.jobs)

    @property
    def status(self) -> str:
        """The status of the only one, or of how many there are of each: ``2 STARTED, 1 SUCCESS``."""
        if len(self.jobs) == 1:
            return self.jobs[0].status
        words = [job.status for job in self.jobs]
        return ", ".join(f"{words.count(word):,} {word}" for word in sorted(set(words)))

    @property
    def error(self) -> str | None:
        """Roe's words: those of the only one, of the first that have failed, or of one that is retried."""
        if len(self.jobs) == 1:
            return self.jobs[0].error
        if self.state is State.RUNNING:
            return next((f"job {job.job_id}: {job.error}" for job in self.jobs if job.error), None)
        failed = self.failed
        told = [f"index {index}, job {_end(job)}" for index, job in failed[:_MOST_NAMED]]
        if len(failed) > _MOST_NAMED:
            told.append(f"and {len(failed) - _MOST_NAMED:,} more")
        return clip("; ".join(told)) or None

    @property
    def duration(self) -> float | None:
        """Seconds that the only one took; None for many."""
        return self.jobs[0].duration if len(self.jobs) == 1 else None

    @property
    def request_id(self) -> str | None:
        """The ``X-Request-ID`` of a request that was answered so."""
        return self.jobs[0].request_id

    def as_dict(self) -> dict[str, Any]:
        """Return the plain value that a trigger's event holds."""
        return {"status": self.status, "jobs": [job.as_dict() for job in self.jobs]}


@dataclass(frozen=True, slots=True)
class AgentOutput:
    """
    One output of a job.

    :param key: Its name.
    :param value: Its value as Roe sends it: a text, whatever the type.
    :param data_type: The MIME type of the value, such as ``application/json``.
    :param description: What the agent says of it.
    :param cost: What Roe says that it cost; None if it does not.
    """

    key: str
    value: str
    data_type: str
    description: str | None = None
    cost: float | None = None

    @property
    def is_json(self) -> bool:
        """Whether the type says that the value is JSON."""
        kind = self.data_type.partition(";")[0].strip().lower()
        return kind in ("application/json", "text/json") or kind.endswith("+json")

    def parse(self) -> Any:
        """
        Return the value: what the JSON says where the type is JSON, else the text.

        :raises ValueError: It is no JSON, though its type says so.
        """
        return json.loads(self.value, parse_constant=_no_json) if self.is_json else self.value


@dataclass(frozen=True, slots=True)
class AgentJobResult:
    """
    What a job came to.

    :param status: As in :class:`AgentJobStatus`.
    :param outputs: Nothing of a job that has not succeeded.
    :param corrected_outputs: What people have made of the outputs; empty if nothing.
    :param inputs: As Roe keeps them.
    :param cost: What the job cost; None if Roe does not tell, as of the tokens.
    """

    job_id: str
    status: str
    state: State
    outputs: tuple[AgentOutput, ...] = ()
    corrected_outputs: tuple[AgentOutput, ...] = ()
    inputs: tuple[Any, ...] = ()
    agent_id: str | None = None
    agent_version_id: str | None = None
    cost: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None

    def serialize(self) -> NoReturn:
        """Refuse to become an XCom, when Airflow asks for one."""
        refuse_xcom(self, "the values of its outputs")


# Runs


def run_request(
    agent_id: object,
    inputs: Mapping[str, Any],
    organization_id: str | None,
    *,
    version_id: object = None,
    metadata: Mapping[str, Any] | None = None,
    files: Mapping[str, File] | None = None,
    skip_cache: bool = False,
    idempotency_key: str,
) -> Request:
    """Start one job; with files it is sent as a form."""
    _check_metadata(metadata)
    version = "" if version_id is None else f"versions/{uuid(version_id, 'version_id')}/"
    body = {**inputs, **({"metadata": metadata} if metadata else {})}
    form: dict[str, str | File] | None = None
    if files:
        form = {key: value if isinstance(value, str) else json.dumps(value) for key, value in body.items()}
        form |= files
    return Request(
        "POST",
        f"/v1/agents/run/{uuid(agent_id, 'agent_id')}/{version}async/",
        organization_params(organization_id),
        not_found=_NO_AGENT,
        json=None if form else body,
        form=form,
        headers=_run_headers(idempotency_key, skip_cache),
    )


def _check_metadata(metadata: object) -> None:
    try:
        json.dumps(metadata, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as e:
        found = clip(reprlib.repr(metadata), 100)
        raise RoeInputError(f"metadata must be what JSON can say, not {found} ({e}).") from None
    if metadata is not None and not isinstance(metadata, dict):
        raise RoeInputError(f"metadata must be a dict, not {clip(repr(metadata), 100)}.")


def run_many_request(
    agent_id: object,
    inputs: Sequence[Mapping[str, Any]],
    organization_id: str | None,
    *,
    skip_cache: bool = False,
    idempotency_key: str,
) -> Request:
    """Start a job for each of at most 1,000 inputs."""
    return Request(
        "POST",
        f"/v1/agents/run/{uuid(agent_id, 'agent_id')}/async/many/",
        organization_params(organization_id),
        not_found=_NO_AGENT,
        json={"inputs": inputs},
        headers=_run_headers(idempotency_key, skip_cache),
    )


def read_job_id(request: Request, response: Response) -> str:
    """
    Read the answer to :func:`run_request`.

    :raises RoeRequestError: Roe refused the request.
    :raises RoeUnavailableError: Roe is busy or broken, or the answer is not what Roe documents.
    """
    job_id = read_json(request, response)
    if not is_uuid(job_id):
        refuse_shape(request, response, "a job's id")
    return job_id.lower()


def read_job_ids(request: Request, response: Response) -> list[str]:
    """Read the answer to :func:`run_many_request`, an id for each input; raises as :func:`read_job_id`."""
    job_ids = read_json(request, response)
    assert request.json is not None  # noqa: S101 - a request to start jobs
    expected = len(request.json["inputs"])
    if not isinstance(job_ids, list) or len(job_ids) != expected or not all(map(is_uuid, job_ids)):
        refuse_shape(request, response, f"a list of the ids of {expected:,} jobs")
    return [job_id.lower() for job_id in job_ids]


def cancel_request(job_id: object, organization_id: str | None) -> Request:
    """Cancel a job."""
    job_id = uuid(job_id, "job_id")
    path = f"/v1/agents/jobs/{job_id}/cancel/"
    return Request("POST", path, organization_params(organization_id), job_id, _NO_JOB)


def read_cancelled(request: Request, response: Response) -> None:
    """Read the answer to :func:`cancel_request`; raises as :func:`read_job_id`."""
    check_code(request, response)


def _run_headers(idempotency_key: str, skip_cache: bool) -> dict[str, str]:
    return {"Idempotency-Key": idempotency_key} | ({"X-Skip-Cache": "true"} if skip_cache else {})


# Statuses and results of many jobs. What is wrong with one of them is told of it alone: of each there is what
# Roe says, or the error that stands in its way.


def ask_statuses(
    job_ids: Sequence[str], organization_id: str | None, **statuses: frozenset[str]
) -> Generator[Request, Response, dict[str, AgentJobStatus | RoeError]]:
    """
    Yield the requests that tell the statuses of jobs, and return these by the jobs' ids.

    Whoever sends a request sends its answer to the generator, or throws into it why there is none. A job of
    which an answer says nothing is asked for once more, alone.

    :param job_ids: As many as there are, in canonical form.
    :param statuses: ``success_statuses`` and ``failure_statuses``, as
        :func:`~airflow_provider_roe.api.queries.classify` takes them.
    :raises RoeRequestError: Roe refused a request, and not for one of the jobs.
    :raises RoeUnavailableError: Roe is busy or broken, or an answer is not what Roe documents.
    """
    read = partial(_read_statuses, statuses=statuses)
    found: dict[str, Any] = yield from _narrowed(job_ids, MOST_JOBS, organization_id, statuses_request, read)
    for job_id in job_ids:
        if job_id not in found:
            request = status_request(job_id, organization_id)
            try:
                found[job_id] = _read_status(request, (yield request), statuses)
            except RoeRequestError as e:
                if isinstance(e, RoeAuthenticationError) or e.status_code == 429:
                    raise
                found[job_id] = e
    return found


def ask_results(
    job_ids: Sequence[str], organization_id: str | None, **statuses: frozenset[str]
) -> Generator[Request, Response, dict[str, AgentJobResult | RoeError]]:
    """Yield the requests that tell the results of jobs, and return these, as :func:`ask_statuses` does."""
    read = partial(_read_results, statuses=statuses)
    found: dict[str, Any] = yield from _narrowed(
        job_ids, MOST_RESULTS, organization_id, results_request, read
    )
    return found


def in_order(job_ids: Sequence[str], found: Mapping[str, T | RoeError]) -> list[T]:
    """
    Return a list of what was found, in the order of the jobs.

    :raises RoeError: The first error among it.
    """
    values = [found[job_id] for job_id in job_ids]
    for value in values:
        if isinstance(value, RoeError):
            raise copy(value)  # without what is counted for others who ask for the same job
    return values  # type: ignore[return-value]


def not_unavailable(found: dict[str, T | RoeError]) -> dict[str, T | RoeError]:
    """
    Make sure that asking again would not help with any of the jobs, and return what was found of them.

    :raises RoeUnavailableError: Of one of them that may pass, so that asking again would help.
    """
    for value in found.values():
        if isinstance(value, RoeUnavailableError):
            raise copy(value)
    return found


def statuses_request(job_ids: Sequence[str], organization_id: str | None) -> Request:
    """Ask for the statuses of at most 1,000 jobs."""
    return _many_request("statuses", job_ids, organization_id, MAX_STATUSES_BODY)


def results_request(job_ids: Sequence[str], organization_id: str | None) -> Request:
    """Ask for the results of at most 1,000 jobs."""
    return _many_request("results", job_ids, organization_id, MAX_RESULTS_BODY)


def status_request(job_id: str, organization_id: str | None) -> Request:
    """Ask for the status of a job."""
    path = f"/v1/agents/jobs/{job_id}/status/"
    return Request("GET", path, organization_params(organization_id), job_id, _NO_JOB)


def _many_request(what: str, job_ids: Sequence[str], organization_id: str | None, max_body: int) -> Request:
    path, params = f"/v1/agents/jobs/{what}/", organization_params(organization_id)
    body = {"job_ids": list(job_ids)}
    return Request("POST", path, params, not_found=_NO_JOB, json=body, max_body=max_body)


def _narrowed(
    job_ids: Sequence[str],
    most: int,
    organization_id: str | None,
    make_request: Callable[[Sequence[str], str | None], Request],
    read: Callable[[Request, Response], dict[str, Any]],
) -> Generator[Request, Response, dict[str, Any]]:
    """Ask for many jobs together; where Roe refuses that, for half as many, down to the one it is about."""
    found: dict[str, Any] = {}
    groups = [job_ids[start : start + most] for start in range(0, len(job_ids), most)]
    while groups:
        group = groups.pop(0)
        request = make_request(group, organization_id)
        halves = [group[: len(group) // 2], group[len(group) // 2 :]]
        try:
            response = yield request
            if response.overlong and len(group) > 1:
                groups += halves
            else:
                found |= read(request, response)
        except RoeRequestError as e:
            about_one = e.status_code in _ABOUT_ONE or isinstance(e, RoeNotFoundError)
            if not about_one or isinstance(e, RoeUnavailableError):
                raise
            if len(group) == 1:
                found[group[0]] = e
            else:
                groups += halves
    return found


def _read_statuses(
    request: Request, response: Response, statuses: Mapping[str, frozenset[str]]
) -> dict[str, AgentJobStatus]:
    return {
        job_id: _status(job_id, item, response, statuses)
        for job_id, item in _items(request, response, "a list of the statuses of jobs")
        if _is_code(item.get("status"))
    }


def _read_status(
    request: Request, response: Response, statuses: Mapping[str, frozenset[str]]
) -> AgentJobStatus:
    answer = read_json(request, response)
    if not isinstance(answer, dict) or not _is_code(answer.get("status")):
        refuse_shape(request, response, "the status of a job")
    return _status(str(request.about), answer, response, statuses)


def _status(
    job_id: str, item: dict[str, Any], response: Response, statuses: Mapping[str, frozenset[str]]
) -> AgentJobStatus:
    word, state, known = _meaning(item["status"], statuses)
    error, ended = item.get("error_message"), None
    if state is not State.RUNNING:
        ended = _read_timestamp(item.get("timestamp")) or read_time(item.get("last_updated_at"))
    return AgentJobStatus(
        job_id,
        word,
        state,
        known,
        error=(response.quote(read_messages(error)) or None) if error else None,
        created_at=read_time(item.get("created_at")),
        finished_at=ended,
        request_id=response.request_id,
    )


def _read_results(
    request: Request, response: Response, statuses: Mapping[str, frozenset[str]]
) -> dict[str, AgentJobResult | RoeError]:
    items = dict(_items(request, response, "a list of the results of jobs"))
    assert request.json is not None  # noqa: S101 - it names the jobs
    return {
        job_id: _result(job_id, items.get(job_id), request, response, statuses)
        for job_id in request.json["job_ids"]
    }


def _result(
    job_id: str,
    item: dict[str, Any] | None,
    request: Request,
    response: Response,
    statuses: Mapping[str, frozenset[str]],
) -> AgentJobResult | RoeError:
    if item is None or not _is_code(item.get("status")):
        return _no_result(job_id, request, response, "without the result of this job")
    word, state, _ = _meaning(item["status"], statuses)
    if state is State.RUNNING:
        return _no_result(job_id, request, response, f"with a result that says that its job is still {word}")
    outputs = _outputs(item.get("result"))
    if outputs is None and state is State.SUCCEEDED:
        shown = response.quote(json.dumps(item.get("result")), 100)
        return RoeOutputError(
            f"Roe's result of agent job {job_id} cannot be used: result must be a list of outputs, each with"
            f" key, value and data_type, and is {shown}. Run the job again; if it stays so, tell Roe's"
            f" support. Request id: {response.request_id}.",
            job_id=job_id,
        )
    inputs = item.get("inputs")
    return AgentJobResult(
        job_id,
        word,
        state,
        outputs=(outputs or ()) if state is State.SUCCEEDED else (),
        corrected_outputs=_outputs(item.get("corrected_outputs")) or (),
        inputs=tuple(inputs) if isinstance(inputs, list) else (),
        agent_id=_text(item.get("agent_id")),
        agent_version_id=_text(item.get("agent_version_id")),
        cost=read_number(item.get("cost")),
        input_tokens=_count(item.get("input_tokens")),
        output_tokens=_count(item.get("output_tokens")),
    )


def _no_result(job_id: str, request: Request, response: Response, how: str) -> RoeUnavailableError:
    return RoeUnavailableError(
        f"{request.method} {request.path} was answered {how}, {job_id}, though it has succeeded.",
        status_code=response.status_code,
        request_id=response.request_id,
        cause=f"answered {how}",
    )


def _outputs(value: Any) -> tuple[AgentOutput, ...] | None:
    """Return the outputs of a result; None if it holds anything else."""
    if not isinstance(value, list):
        return None
    outputs = []
    for item in value:
        match item:
            case {"key": str(key), "value": str(text), "data_type": str(data_type)}:
                description = _text(item.get("description"))
                outputs.append(AgentOutput(key, text, data_type, description, read_number(item.get("cost"))))
            case _:
                return None
    return tuple(outputs)


def _items(request: Request, response: Response, expected: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the items of an answer that say which job they are of, by its id."""
    answer = read_json(request, response)
    if not isinstance(answer, list):
        refuse_shape(request, response, expected)
    return [
        (item["id"].lower(), item) for item in answer if isinstance(item, dict) and is_uuid(item.get("id"))
    ]


def _meaning(code: int, statuses: Mapping[str, frozenset[str]]) -> tuple[str, State, bool]:
    word = WORDS[code] if 0 <= code < len(WORDS) else str(code)
    return word, *classify(word, finished=False, **statuses)


def _is_code(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _read_timestamp(value: Any) -> datetime | None:
    number = read_number(value)
    try:
        return None if number is None else datetime.fromtimestamp(number, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _count(value: Any) -> int | None:
    return value if _is_code(value) else None


def _no_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _end(job: AgentJobStatus) -> str:
    return sentence(f"{job.job_id} ended as {job.status}: {job.error or 'Roe gave no reason'}")[:300]
