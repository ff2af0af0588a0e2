"""
What Airflow's database holds of a wait while its task is deferred: the trigger's arguments, and its event.

These are a schema. Rows that a version has stored are read by the next, in a triggerer or a worker that is
upgraded while tasks wait: what is named here is neither renamed nor removed, and what is added has a default.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict


class WaitArguments(TypedDict):
    """What it takes to go on with a wait elsewhere: parameters of ``Wait``."""

    started_at: float
    timeout: NotRequired[float]
    poke_interval: NotRequired[float]
    exponential_backoff: NotRequired[bool]
    max_wait: NotRequired[float | None]
    silent_fail: NotRequired[bool]


class TriggerArguments(WaitArguments):
    """
    What every trigger of a wait is stored with.

    ``deferred_at`` is the Unix time of the deferral, ``hand_over`` the seconds for which the task must stay
    away after it, and ``retry_window`` the connection's, as the task has read it.
    """

    roe_conn_id: str
    organization_id: str | None
    deferred_at: float
    hand_over: NotRequired[float]
    retry_window: NotRequired[float | None]


class QueryTriggerArguments(TriggerArguments):
    """What the trigger that waits for a query is stored with."""

    query_id: str


class AgentJobTriggerArguments(TriggerArguments):
    """
    What the trigger that waits for agents' jobs is stored with.

    ``max_failed`` is how many of them may fail before the wait has failed, ``cancel_on_kill`` whether they
    are cancelled when somebody ends the task.
    """

    job_ids: list[str]
    max_failed: NotRequired[int]
    cancel_on_kill: NotRequired[bool]


class Event(TypedDict):
    """
    How a wait has ended.

    ``ended`` is what has ended, where that is a success; all others have a ``message``, an error the name of
    its class, and a failure Roe's own words: the ``status``, and the ``reason``, which may be empty.
    """

    outcome: Literal["success", "failed", "timeout", "error"]
    ended: NotRequired[dict[str, Any]]
    message: NotRequired[str]
    error: NotRequired[str]
    status: NotRequired[str]
    reason: NotRequired[str]
