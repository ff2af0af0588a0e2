"""
How long a task has to stay away from its scheduler after it has left a worker.

When a task defers or reschedules itself, its process exits, and its executor tells the scheduler of that
later. A scheduler that hears of it when the task is already back may take that for a crash: it fails the
task, or spends one of its retries. Whether it does depends on where the task is by then:

================  ================================  ===============================
is back early     LocalExecutor                     CeleryExecutor
================  ================================  ===============================
deferral, 2.11    killed if given up                killed if given up
deferral, 3.0     killed anywhere                   killed if scheduled or given up
deferral, 3.3     killed if at a worker or running  safe
deferral, 3.4     safe                              safe
reschedule, 2.11  killed if given up                killed if given up
reschedule, 3.0   killed anywhere                   killed if scheduled or given up
reschedule, 3.3   killed anywhere                   killed if scheduled
reschedule, 3.4   killed if scheduled               killed if scheduled
================  ================================  ===============================

A task that still is in its executor's queue is safe with all. KubernetesExecutor is not known. The table is a
test: tests/integration/test_hand_over.py.

Executors of 2.11, and Celery's of 3.0, keep a task in their queue while they know of its first process, and
give it up after 10 s. LocalExecutor of 3.0 and 3.3 does not know what its workers have; that of 3.4 counts
how often it was given a task. Celery's of 3.3 and 3.4 forgets the exit of a task that it is given again. What
a trigger has sent back, the scheduler of 3.3 spares while it is scheduled, that of 3.4 also while queued.
"""

from __future__ import annotations

import os
import re

from airflow.providers.common.compat.sdk import conf

#: Seconds to stay away where nothing protects the task. The supervisor that it left may notice its end only
#: when the next heartbeat is due, and a busy scheduler takes seconds to hear of it.
HAND_OVER: float = conf.getfloat("workers", "min_heartbeat_interval", fallback=5.0) + 10.0

#: The first version of Airflow with which a deferral may come back at once
_SAFE_FROM = {"CeleryExecutor": (3, 3), "LocalExecutor": (3, 4)}


def hand_over(executor: str, airflow_version: str) -> float:
    """
    Return the seconds that a task must stay away after a deferral: 0 where it may come back at once.

    :param executor: The executor's name, without its module: ``LocalExecutor``.
    :param airflow_version: As Airflow tells it: ``3.3.2``, ``3.4.0b2``.
    """
    safe_from = _SAFE_FROM.get(executor)
    release = tuple(int(number) for number in re.findall(r"\d+", airflow_version)[:2])
    return 0.0 if safe_from and release >= safe_from else HAND_OVER


def executor_of(task_executor: str | None) -> str:
    """
    Return the name of the executor that runs a task; ``""`` if it cannot be told here.

    :param task_executor: What the task says: a name, an alias or a class's path; None for Airflow's first.
    """
    if os.environ.get("AIRFLOW_IS_K8S_EXECUTOR_POD"):  # whatever the configuration in its pods says
        return "KubernetesExecutor"
    configured: str = conf.get("core", "executor", fallback="")
    if ";" in configured:  # each team has its own, and a task does not know its team
        return ""
    # An entry is a name or a class's path, which an alias and a colon may precede.
    entries = [entry.strip().rpartition(":") for entry in configured.split(",")]
    paths = {alias: path for alias, _, path in entries if alias}
    path = paths.get(task_executor, task_executor) if task_executor else entries[0][2]
    return path.rpartition(".")[2]
