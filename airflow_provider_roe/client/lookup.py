"""The look-up of a connection in Airflow."""

from __future__ import annotations

import asyncio

from airflow.providers.common.compat.connection import get_async_connection
from airflow.providers.common.compat.sdk import AirflowException, AirflowNotFoundException, BaseHook

from airflow_provider_roe.client.connection import RoeConnection
from airflow_provider_roe.exceptions import (
    RoeError,
    RoeInputError,
    RoeNoConnectionError,
    RoeUnavailableError,
)

#: Seconds for which an event loop waits for Airflow: all waits of a connection wait for one look-up.
LONGEST_LOOK_UP = 60.0
KEY_CHANGED = "The key was refused, but the connection has changed: trying again with what it says now."


def look_up(conn_id: str, *, was_there: bool = False) -> RoeConnection:
    """
    Return a connection's checked fields.

    :param conn_id: The connection's id in Airflow.
    :param was_there: Whether Airflow is known to have it. That it does not find it is then trouble that may
        pass: Airflow tells a secrets backend that fails in the same way.
    :raises RoeInputError: Airflow does not have the connection, or one of its fields cannot be used.
    :raises RoeUnavailableError: Airflow could not look it up.
    """
    try:
        return RoeConnection.read(BaseHook.get_connection(conn_id))
    except Exception as e:
        error = _explain(conn_id, e, was_there)
    raise error  # here, so that it does not hold Airflow's as its context


async def alook_up(conn_id: str, *, was_there: bool = False, was_here: bool = True) -> RoeConnection:
    """
    Return a connection's checked fields as :func:`look_up` does, without blocking the event loop.

    :param was_here: Whether it was found in this process. Else a task has found it on its worker.
    """
    try:
        async with asyncio.timeout(LONGEST_LOOK_UP):
            return RoeConnection.read(await get_async_connection(conn_id))
    except Exception as e:
        error = _explain(conn_id, e, was_there, was_here)
    raise error


def _explain(conn_id: str, error: Exception, was_there: bool, was_here: bool = True) -> RoeError:
    """Return an error that says why. Airflow's own words may hold the key, and are left out."""
    match error:
        case RoeError():
            return error
        case AirflowNotFoundException() if was_there and not was_here:
            return RoeUnavailableError(
                f"The triggerer does not find connection {conn_id!r}, though the task has found it on its"
                " worker: set it where the triggerer runs, too, for a worker's own variables and files are"
                " not seen there. Or the secrets backend is out, of which Airflow says the same.",
                cause="connection not found by the triggerer",
            )
        case AirflowNotFoundException() if was_there:
            return RoeUnavailableError(
                f"Airflow does not find connection {conn_id!r} here, though it was there before: a secrets"
                " backend may be out, or it is gone.",
                cause="connection not found",
            )
        case AirflowNotFoundException():
            return RoeNoConnectionError(
                f"roe_conn_id: Airflow has no connection {conn_id!r}, or none that it can read;"
                " add one of type Roe AI."
            )
        case ValueError() | AirflowException():
            return RoeInputError(
                f"Airflow cannot read connection {conn_id!r} ({type(error).__name__}): in a URI,"
                " login, password and host must be percent-encoded, and port must be a number."
            )
    return RoeUnavailableError(
        f"Airflow could not look up connection {conn_id!r} ({type(error).__name__}).",
        cause="look-up of the connection failed",
    )
