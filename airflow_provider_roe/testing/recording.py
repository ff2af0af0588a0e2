from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from airflow_provider_roe.testing.forms import Form


@dataclass
class RecordedRequest:
    """
    What the simulator saw of one HTTP request, and what it answered.

    :param call: ``"submit"``, ``"status"``, ``"result"`` or ``"run"`` of queries; of agents ``"run_agent"``,
        ``"run_agent_many"``, ``"job_status"``, ``"job_statuses"``, ``"job_result"``, ``"job_results"`` or
        ``"cancel_job"``; or ``"other"``. By the path.
    :param method: HTTP method.
    :param path: path without the query string.
    :param query: parameters of the query string.
    :param headers: headers; names are compared without regard to case.
    :param body: body as it was sent, of ``multipart/form-data`` the first 4,096 bytes; empty while it is
        still being received.
    :param received_at: when the head of the request had arrived, UTC.
    :param connection: which TCP connection it came over: 1 is the first that the simulator accepted.
    :param status_code: status code of the answer, None as long as no answer was completed.
    :param query_id: the query that was asked for, or that a submit or run created; None if there is none.
    :param job_id: the job in the path, or that a run of an agent created; None if there is none.
    :param job_ids: all jobs that were asked for or created, in the order of the request.
    :param form: fields of a form in the body, multipart or urlencoded: texts and
        :class:`InputFile`; None if there is no form, or a broken one.
    """

    call: str
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    received_at: datetime
    connection: int
    status_code: int | None = None
    query_id: str | None = None
    job_id: str | None = None
    job_ids: list[str] = field(default_factory=list)
    form: Form | None = None
