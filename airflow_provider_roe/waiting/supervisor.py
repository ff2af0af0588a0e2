"""
The process that supervises a task's, and tells Airflow how it fares.

Where it is killed, the task's process is left behind. Airflow takes the task for lost after a while and tries
it again, and what has been left behind would go on beside that try.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Any


class Supervisor:
    """
    The parent of this process, if it is the supervisor of a task.

    A task that is run by ``dag.test()`` or Airflow's command line has none, and may outlive its parent.

    :param ti: The task's instance.
    """

    def __init__(self, ti: Any) -> None:
        self._pid = os.getppid() if _has_one(ti) else None

    def end_if_gone(self, log: Any) -> None:
        """
        End this process if the supervisor was there and is no more.

        It raises nothing, for that would run the callbacks of a task which has not failed, and Airflow 2.11
        would write the failure over what its next try has become.

        :param log: A logger, which is told if it can be.
        """
        if self._pid is not None and os.getppid() != self._pid:
            with suppress(Exception):  # what the task logs went to its supervisor
                log.error(
                    "The process that supervised this one is gone: it ends. Airflow tries the task anew."
                )
            os._exit(1)


def _has_one(ti: Any) -> bool:
    runner = sys.modules.get("airflow.sdk.execution_time.task_runner")
    if runner is None:  # Airflow 2.11
        return getattr(ti, "job_id", None) is not None
    return type(getattr(runner, "SUPERVISOR_COMMS", None)).__name__ == "CommsDecoder"
