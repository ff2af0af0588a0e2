"""A wait that blocks and does not defer, for hooks and the DB-API."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from airflow_provider_roe.client.calls import Calls
from airflow_provider_roe.client.retry import Retries
from airflow_provider_roe.exceptions import RoeQueryFailedError, RoeTimeoutError
from airflow_provider_roe.waiting.wait import Wait, the_query

if TYPE_CHECKING:
    from airflow_provider_roe.api.queries import QueryStatus
    from airflow_provider_roe.client.client import Client

#: Seconds to the second poll: many a query takes less than the second that tasks let pass.
FIRST_INTERVAL = 0.1


def wait_for_query(
    client: Client, query_id: str, *, log: Any, timeout: float, poll_interval: float
) -> QueryStatus:
    """
    Wait until a query has succeeded, and return its status.

    :param client: How to ask for it.
    :param query_id: The query.
    :param log: A logger.
    :param timeout: Seconds after which to give up.
    :param poll_interval: Seconds between two polls; sooner at first: 0.1, or a tenth of
        what the query has taken so far.
    :raises RoeQueryFailedError: The query ended otherwise.
    :raises RoeTimeoutError: It has not ended in time.
    :raises RoeInputError: The query's id or a field of the connection cannot be used.
    :raises RoeRequestError: Roe refused the request, or could not be asked.
    """
    wait = Wait(
        subject=the_query(query_id),
        log=log,
        started_at=time.time(),
        timeout=timeout,
        poke_interval=poll_interval,
        first_interval=FIRST_INTERVAL,
    )
    while True:
        status = client.call(Retries(wait.troubles, wait.deadline), Calls.status, query_id)
        match wait.saw(status):
            case {"outcome": "success"}:
                return status
            case {"outcome": "failed", "message": message}:
                raise RoeQueryFailedError(str(message), status=status.status, reason=status.error)
            case {"outcome": "timeout", "message": message}:
                raise RoeTimeoutError(message)
        time.sleep(wait.next_interval())
