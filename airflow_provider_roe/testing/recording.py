from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime


@dataclass
class RecordedRequest:
    """
    What the simulator saw of one HTTP request, and what it answered.

    :param call: ``"submit"``, ``"status"``, ``"result"``, ``"run"`` or ``"other"``, by the path.
    :param method: HTTP method.
    :param path: path without the query string.
    :param query: parameters of the query string.
    :param headers: headers; names are compared without regard to case.
    :param body: body as it was sent; empty while it is still being received.
    :param received_at: when the head of the request had arrived, UTC.
    :param connection: which TCP connection it came over: 1 is the first that the simulator accepted.
    :param status_code: status code of the answer, None as long as no answer was completed.
    :param query_id: the query that was asked for, or that a submit or run created; None if there is none.
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
