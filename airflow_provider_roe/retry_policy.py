"""
What becomes of a task that has failed, by the kind of its error: Airflow's ``retry_policy``.

Airflow 3.3 has such policies, and from 3.4 on they may run a task again without using one of its retries.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from airflow import __version__ as airflow_version

from airflow_provider_roe.exceptions import (
    RoeAuthenticationError,
    RoeError,
    RoeInputError,
    RoeNoConnectionError,
    RoeOutputError,
    RoeUnavailableError,
)
from airflow_provider_roe.waiting.hand_over import HAND_OVER
from airflow_provider_roe.waiting.task import WaitingTask

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

try:
    from airflow.sdk import RetryDecision, RetryPolicy
except ImportError:  # before Airflow 3.3
    RetryDecision = RetryPolicy = object  # type: ignore[assignment,misc]

#: For how long a try may be run again before an outage uses its retries after all. Airflow wants a bound.
LONGEST_OUTAGE = timedelta(days=1)
#: A task that is back sooner than this may be taken for one that crashed.
SOONEST = timedelta(seconds=HAND_OVER)


class RoeRetryPolicy(RetryPolicy):
    """
    Tells what passes by itself from what no retry mends; a task's ``retry_policy``. Airflow 3.4 or newer.

    - Roe is unavailable for longer than the connection's ``retry_window``: the task runs again after its
      ``retry_delay``, and uses none of its ``retries``, for a day at most. It waits on for what it has
      started. This holds for this provider's sensors and its operators that are ``durable``.
    - An argument, the connection or a result that cannot be used, and a refused API key: the task fails at
      once, whatever its ``retries``.
    - All else is as its ``retries`` say. So is a submit whose answer was lost, for what it asked for may run.

    :raises RoeInputError: This Airflow is too old.
    """

    def __init__(self) -> None:
        if not hasattr(RetryDecision, "reschedule"):
            raise RoeInputError(
                "retry_policy: RoeRetryPolicy needs Airflow 3.4 or newer, which can run a task again without"
                f" using a retry, and this is {airflow_version}. Leave it out, and set retries."
            )

    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: Context | None = None
    ) -> RetryDecision:
        """
        Return the decision on a task that has failed.

        :param exception: What it has raised.
        :param try_number: The number of the try; of no matter.
        :param max_tries: How many it has; of no matter.
        :param context: The task's context.
        """
        # Python's DB-API has errors of its own, which ours have led to.
        is_ours = isinstance(exception, RoeError)
        match exception.__cause__ if is_ours and exception.__cause__ else exception:
            # Another run of the agent may do better; and a secrets backend may be back.
            case RoeOutputError() | RoeNoConnectionError():
                return RetryDecision.default()
            case RoeInputError() | RoeAuthenticationError() as error:
                return RetryDecision.fail(f"{type(error).__name__}: it would fail again in the same way")
            case RoeUnavailableError(repeatable=True) as error if context and _goes_on(context["task"]):
                return RetryDecision.reschedule(  # type: ignore[attr-defined,no-any-return]
                    max(context["task"].retry_delay, SOONEST),
                    reschedule_timeout=LONGEST_OUTAGE,
                    reason=f"Roe is unavailable: {error.cause}",
                )
        return RetryDecision.default()


def _goes_on(task: object) -> bool:
    """Return whether a task that runs again goes on with what it has started, rather than start it anew."""
    return isinstance(task, WaitingTask) and getattr(task, "durable", True)
