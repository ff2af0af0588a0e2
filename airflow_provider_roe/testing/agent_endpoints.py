"""
The calls of Roe's API that run agents and follow their jobs.

What Roe does is not documented everywhere. Where it is not, this is what the simulator does:

- Running an agent needs the organization, following a job does not.
- An input that is a number counts as its text; anything else that is no text is refused.
- Many answers come in the order in which they were asked for. A job that is not known is there with nulls.
- One malformed id, or one of another organization, and a call for many is refused as a whole.
- A job without outputs has an empty list of them by itself, and null among many.
- Cancelling a job that has ended changes nothing, and is answered in the same way.
- An Idempotency-Key that comes again with the same inputs is answered as it was; with others it is refused.
- The calls of the vendor's specification that are not here are not found.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from airflow_provider_roe.testing.forms import InputFile
from airflow_provider_roe.testing.rest import (
    FORBIDDEN,
    NOT_A_UUID,
    REQUIRED,
    Refusal,
    as_uuid,
    check_organization,
    json_answer,
    json_object,
    media_type,
    unsupported,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_provider_roe.testing.agents import Agent, Inputs, Job
    from airflow_provider_roe.testing.recording import RecordedRequest
    from airflow_provider_roe.testing.simulator import RoeSimulator

METHODS: Final = {
    "run_agent": "POST",
    "run_agent_many": "POST",
    "job_status": "GET",
    "job_statuses": "POST",
    "job_result": "GET",
    "job_results": "POST",
    "cancel_job": "POST",
}

_MOST = 1000  # ids or inputs in one call
_UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_CANONICAL = re.compile(_UUID)
_RUN = re.compile(
    rf"/v1/agents/run/(?P<agent_id>{_UUID})/(?:versions/(?P<version_id>{_UUID})/async/|async/(?P<many>many/)?)"
)
_JOB = re.compile(rf"/v1/agents/jobs/(?P<job_id>{_UUID})/(?P<call>status|result|cancel)/")
_OF_ONE = {"status": "job_status", "result": "job_result", "cancel": "cancel_job"}
_OF_MANY = {"/v1/agents/jobs/statuses/": "job_statuses", "/v1/agents/jobs/results/": "job_results"}
_UNKNOWN_STATUS = dict.fromkeys(("status", "created_at", "last_updated_at", "timestamp", "error_message"))
_UNKNOWN_RESULT = dict.fromkeys(
    (
        "status",
        "result",
        "corrected_outputs",
        "agent_id",
        "agent_version_id",
        "cost",
        "inputs",
        "input_tokens",
        "output_tokens",
    )
)


def route(path: str) -> tuple[str, str | None] | None:
    """Return the call that a path stands for and the job id in it; None if there is no such call."""
    if match := _JOB.fullmatch(path):
        return _OF_ONE[match["call"]], match["job_id"]
    if match := _RUN.fullmatch(path):
        return ("run_agent_many" if match["many"] else "run_agent"), None
    return (_OF_MANY[path], None) if path in _OF_MANY else None


def refusal_body(refusal: Refusal) -> object:
    """Return the body of an answer that is no success."""
    if refusal.field:
        return {refusal.field: refusal.message}
    return refusal.message if isinstance(refusal.message, list) else {"detail": refusal.message}


async def answer(roe: RoeSimulator, record: RecordedRequest) -> web.Response:
    """
    Carry out a request.

    :param roe: the simulator that holds agents and jobs.
    :param record: the request; gets the ids of the jobs that it creates or asks for.
    """
    starts = record.call in ("run_agent", "run_agent_many")
    check_organization(roe, record.query.get("organization_id"), required=starts)
    match record.call:
        case "run_agent":
            record.job_ids = _run(roe, record, [_fields(record)])
            record.job_id = record.job_ids[0]
            return json_answer(record.job_id)
        case "run_agent_many":
            record.job_ids = _run(roe, record, _items(record))
            return json_answer(record.job_ids)
        case "job_status":
            return json_answer(_find(roe, record).as_status())
        case "job_result":
            return json_answer(_find(roe, record).as_result())
        case "cancel_job":
            _find(roe, record).cancel()
            return web.Response(status=204, body=b"")
        case "job_statuses":
            return json_answer(
                [
                    job.as_status_of_many() if job else {"id": job_id} | _UNKNOWN_STATUS
                    for job_id, job in _find_many(roe, record)
                ]
            )
        case _:
            return json_answer(
                [
                    job.as_result_of_many() if job else {"id": job_id} | _UNKNOWN_RESULT
                    for job_id, job in _find_many(roe, record)
                ]
            )


def _find(roe: RoeSimulator, record: RecordedRequest) -> Job:
    job_id = record.job_id or ""
    if job_id in roe.foreign_jobs:
        raise Refusal(403, FORBIDDEN)
    if job := roe.jobs.get(job_id):
        return job
    raise Refusal(404, "Not found.")


def _find_many(roe: RoeSimulator, record: RecordedRequest) -> list[tuple[str, Job | None]]:
    given = _list(json_object(record), "job_ids")
    record.job_ids = list(map(_as_id, given))
    if not roe.foreign_jobs.isdisjoint(record.job_ids):
        raise Refusal(403, FORBIDDEN)
    return [(job_id, roe.jobs.get(job_id)) for job_id in record.job_ids]


def _as_id(value: object) -> str:
    if isinstance(value, str) and _CANONICAL.fullmatch(value):  # much faster than to read it
        return value
    if uuid := as_uuid(value):
        return str(uuid)
    raise Refusal(400, [NOT_A_UUID], "job_ids")


def _list(body: Mapping[str, Any], field: str) -> list[Any]:
    if field not in body:
        message = REQUIRED
    elif not isinstance(body[field], list):
        message = f'Expected a list of items but got type "{type(body[field]).__name__}".'
    elif not body[field]:
        message = "This list may not be empty."
    elif len(body[field]) > _MOST:
        message = f"Ensure this field has no more than {_MOST} elements."
    else:
        items: list[Any] = body[field]
        return items
    raise Refusal(400, [message], field)


def _fields(record: RecordedRequest) -> Mapping[str, Any]:
    """Return the inputs and the metadata of a single run, whose body may be left out."""
    if not record.body:
        return {}
    match media_type(record):
        case "multipart/form-data" | "application/x-www-form-urlencoded":
            if record.form is None:
                raise Refusal(400, "Multipart form parse error - Invalid body")
            return record.form
        case "application/json":
            return json_object(record)
        case _:
            raise unsupported(record)


def _items(record: RecordedRequest) -> list[Mapping[str, Any]]:
    """Return the inputs of each of many runs, which have no metadata."""
    items = _list(json_object(record), "inputs")
    for item in items:
        if not isinstance(item, dict):
            message = f"Invalid data. Expected a dictionary, but got {type(item).__name__}."
            raise Refusal(400, [message], "inputs")
    return [item | {"metadata": None} for item in items]


def _run(roe: RoeSimulator, record: RecordedRequest, runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Start a job for each run, all or none, and return their ids."""
    path = _RUN.fullmatch(record.path)
    assert path  # noqa: S101
    agent = _agent(roe, path["agent_id"], path["version_id"])
    asked = [(_inputs(roe, agent, run), _metadata(run.get("metadata"))) for run in runs]
    key = record.headers.get("Idempotency-Key")
    request = (record.path, asked)
    if key and key in roe.idempotent_runs:
        before, job_ids = roe.idempotent_runs[key]
        if before != request:
            raise Refusal(400, ["This Idempotency-Key was used for a run with another body."])
        return job_ids
    if roe.credits is not None:
        if roe.credits < len(asked):
            raise Refusal(403, "Insufficient credits to start a new job")
        roe.credits -= len(asked)
    job_ids = [
        roe.run_agent(
            inputs,
            agent_id=agent.id,
            version_id=path["version_id"],
            metadata=metadata,
            skip_cache=record.headers.get("X-Skip-Cache", "").lower() == "true",
            idempotency_key=key,
        )
        for inputs, metadata in asked
    ]
    if key:
        roe.idempotent_runs[key] = request, job_ids
    return job_ids


def _agent(roe: RoeSimulator, agent_id: str, version_id: str | None) -> Agent:
    agent = roe.agents.get(agent_id)
    if agent and version_id in (None, *agent.versions):
        return agent
    raise Refusal(404, "Not found.")


def _inputs(roe: RoeSimulator, agent: Agent, run: Mapping[str, Any]) -> Inputs:
    inputs = {key: _input(key, value) for key, value in run.items() if key != "metadata"}
    for key in agent.required:
        if key not in inputs:
            raise Refusal(400, [f"Missing input key {key}"])
    try:
        (agent.plan or roe.job_plan).with_input(inputs)
    except ValueError as e:
        raise Refusal(400, [str(e)]) from e
    return inputs


def _input(key: str, value: object) -> str | InputFile:
    match value:
        case str() | InputFile():
            return value
        case None:
            raise Refusal(400, ["This field may not be null."], key)
        case int() | float() if not isinstance(value, bool):
            return str(value)
        case _:
            raise Refusal(400, ["Not a valid string."], key)


def _metadata(value: object) -> dict[str, Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as e:
            raise Refusal(400, ["Invalid JSON string."], "metadata") from e
    if value is None:
        return {}
    if not isinstance(value, dict):
        message = f'Expected a dictionary of items but got type "{type(value).__name__}".'
        raise Refusal(400, [message], "metadata")
    return value
