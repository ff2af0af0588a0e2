"""One retry policy for both transports: exponential with jitter, and never sooner than ``Retry-After``."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any, TypeVar

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    Retrying,
    retry_if_exception,
    wait_exponential_jitter,
)

from airflow_provider_roe.exceptions import RoeUnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from airflow_provider_roe.client.trouble import Troubles

T = TypeVar("T")

_backoff = wait_exponential_jitter(initial=1, max=30, jitter=1)


def call(attempt: Callable[[], T], *, window: Callable[[], float], troubles: Troubles) -> T:
    """
    Call ``attempt`` until it succeeds, or fails for good.

    :param attempt: Sends one request and reads its answer.
    :param window: Tells for how many seconds transient errors are retried. The last attempt is at their end.
    :param troubles: Is told of each failure that another attempt follows, and of the recovery.
    :raises RoeUnavailableError: The last transient error; it says how often and how long it was tried.
    """
    began = time.monotonic()
    try:
        return attempt()
    except RoeUnavailableError as e:
        met = [e]

    def again() -> T:
        if met:
            raise met.pop()
        return attempt()

    retrying = Retrying(**_policy(began, window, troubles))
    answer: T = retrying(again)
    troubles.over(retrying.statistics["attempt_number"], time.monotonic() - began)
    return answer


async def acall(attempt: Callable[[], Awaitable[T]], *, window: Callable[[], float], troubles: Troubles) -> T:
    """Do as :func:`call` does, on an event loop."""
    began = time.monotonic()
    try:
        return await attempt()
    except RoeUnavailableError as e:
        met = [e]

    async def again() -> T:
        if met:
            raise met.pop()
        return await attempt()

    retrying = AsyncRetrying(**_policy(began, window, troubles))
    answer: T = await retrying(again)
    troubles.over(retrying.statistics["attempt_number"], time.monotonic() - began)
    return answer


def _policy(began: float, window: Callable[[], float], troubles: Troubles) -> dict[str, Any]:
    """
    Return tenacity's arguments.

    It comes in only when a first attempt, which it is shown again, has failed: to ask it takes as long as a
    third of a poll.
    """

    def elapsed(state: RetryCallState) -> float:
        return (state.outcome_timestamp or began) - began

    def is_worth_repeating(error: BaseException) -> bool:
        return isinstance(error, RoeUnavailableError) and error.repeatable

    def wait(state: RetryCallState) -> float:
        # The jitter keeps those apart who were all told the same time to come back.
        seconds = max(_backoff(state), (_error(state).retry_after or 0) + random.random())  # noqa: S311
        return min(seconds, max(window() - elapsed(state), 0))

    def tell(state: RetryCallState) -> None:
        troubles.met(_error(state), f"Retrying for up to {window():.0f} s.")

    def give_up(state: RetryCallState) -> None:
        error = _error(state)
        error.attempts, error.elapsed = state.attempt_number, elapsed(state)
        raise error

    return {
        "retry": retry_if_exception(is_worth_repeating),
        "wait": wait,
        "stop": lambda state: elapsed(state) >= window(),
        "before_sleep": tell,
        "retry_error_callback": give_up,
    }


def _error(state: RetryCallState) -> RoeUnavailableError:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, RoeUnavailableError)  # noqa: S101 - nothing else is retried
    return error
