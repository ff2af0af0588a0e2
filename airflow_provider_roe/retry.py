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

T = TypeVar("T")

_backoff = wait_exponential_jitter(initial=1, max=30, jitter=1)


def call(attempt: Callable[[], T], *, window: Callable[[], float], log: Any) -> T:
    """
    Call ``attempt`` until it succeeds, or fails for good.

    :param attempt: Sends one request and reads its answer.
    :param window: Tells for how many seconds transient errors are retried. The last attempt is at their end.
    :param log: A logger, which is told of the first failure and of the recovery.
    :raises RoeUnavailableError: The last transient error; it says how often and how long it was tried.
    """
    retrying = Retrying(**_policy(window, log))
    answer: T = retrying(attempt)
    _log_recovery(retrying, log)
    return answer


async def acall(attempt: Callable[[], Awaitable[T]], *, window: Callable[[], float], log: Any) -> T:
    """Do as :func:`call` does, on an event loop."""
    retrying = AsyncRetrying(**_policy(window, log))
    answer: T = await retrying(attempt)
    _log_recovery(retrying, log)
    return answer


def _policy(window: Callable[[], float], log: Any) -> dict[str, Any]:
    def is_worth_repeating(error: BaseException) -> bool:
        return isinstance(error, RoeUnavailableError) and error.repeatable

    def wait(state: RetryCallState) -> float:
        # The jitter keeps those apart who were all told the same time to come back.
        seconds = max(_backoff(state), (_error(state).retry_after or 0) + random.random())  # noqa: S311
        return min(seconds, max(window() - (state.seconds_since_start or 0), 0))

    def tell(state: RetryCallState) -> None:
        if state.attempt_number == 1:
            log.warning("%s Retrying for up to %.0f s.", _error(state), window())

    return {
        "retry": retry_if_exception(is_worth_repeating),
        "wait": wait,
        "stop": lambda state: (state.seconds_since_start or 0) >= window(),
        "before_sleep": tell,
        "retry_error_callback": _give_up,
    }


def _error(state: RetryCallState) -> RoeUnavailableError:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, RoeUnavailableError)  # noqa: S101 - nothing else is retried
    return error


def _give_up(state: RetryCallState) -> None:
    error = _error(state)
    error.attempts = state.attempt_number
    error.elapsed = state.seconds_since_start or 0
    raise error


def _log_recovery(retrying: Retrying | AsyncRetrying, log: Any) -> None:
    if (attempts := retrying.statistics["attempt_number"]) > 1:
        seconds = time.monotonic() - retrying.statistics["start_time"]
        log.info("Roe answers again, after %d attempts in %.0f s.", attempts, seconds)
