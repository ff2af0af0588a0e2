"""The table in waiting/hand_over.py, against the scheduler and executors of the installed Airflow."""

from __future__ import annotations

import json
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from airflow import __version__ as AIRFLOW_VERSION

from airflow_provider_roe.waiting.hand_over import hand_over
from dev.patience import patient
from dev.processes import Component

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]

EXECUTORS = ["LocalExecutor"]
if find_spec("celery"):
    EXECUTORS.append("CeleryExecutor")

SCHEDULED, GIVEN_UP, AT_A_WORKER, RUNNING = "scheduled", "given up", "at a worker", "running"

#: Where a task that is back is killed, from each version of Airflow on
KILLED = {
    ("LocalExecutor", "deferral"): {
        (2, 11): {GIVEN_UP},
        (3, 0): {SCHEDULED, AT_A_WORKER, RUNNING},
        (3, 3): {AT_A_WORKER, RUNNING},
        (3, 4): set(),
    },
    ("LocalExecutor", "reschedule"): {
        (2, 11): {GIVEN_UP},
        (3, 0): {SCHEDULED, AT_A_WORKER, RUNNING},
        (3, 4): {SCHEDULED},
    },
    ("CeleryExecutor", "deferral"): {
        (2, 11): {GIVEN_UP},
        (3, 0): {SCHEDULED, GIVEN_UP},
        (3, 3): set(),
    },
    ("CeleryExecutor", "reschedule"): {
        (2, 11): {GIVEN_UP},
        (3, 0): {SCHEDULED, GIVEN_UP},
        (3, 3): {SCHEDULED},
    },
}


@pytest.fixture(autouse=True)
def _wait_for_airflow(_no_wait_for_airflow: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_roe.waiting.hand_over.HAND_OVER", 15.0)


@pytest.fixture
def outcomes(executor: str, tmp_path: Path) -> Iterator[dict[str, dict[str, str]]]:
    """What becomes of a task by the way in which it has left, and where it is when its end is heard of."""
    env = os.environ | {
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__CORE__EXECUTOR": executor,
        "AIRFLOW__CORE__PARALLELISM": "2",
        "AIRFLOW__CELERY__BROKER_URL": "memory://",
        "AIRFLOW__CELERY__RESULT_BACKEND": f"db+sqlite:///{tmp_path}/celery.db",
        "AIRFLOW__CELERY__OPERATION_TIMEOUT": str(patient(60)),
        # Airflow 2 wants a DAG processor beside its scheduler, and no SQLite for several tasks at once.
        "AIRFLOW__SCHEDULER__STANDALONE_DAG_PROCESSOR": "true",
        "_AIRFLOW__SKIP_DATABASE_EXECUTOR_COMPATIBILITY_CHECK": "1",
    }
    answer = tmp_path / "outcomes.json"
    script = [sys.executable, "-m", "tests.integration.hand_over_of_scheduler", str(answer)]
    scheduler = Component("scheduler", script, env=env, folder=ROOT, log_file=tmp_path / "log")
    try:
        scheduler.start()
        scheduler.wait(patient(180))
        yield json.loads(answer.read_text())
    finally:
        scheduler.stop()


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_task_stays_away_where_the_scheduler_kills_one_that_is_back(
    executor: str, outcomes: dict[str, dict[str, str]]
) -> None:
    killed = {
        way: {place for place in places if places[place] == "killed"} for way, places in outcomes.items()
    }
    assert killed == {way: killed_by_this_airflow(executor, way) for way in ("deferral", "reschedule")}
    assert hand_over(executor, AIRFLOW_VERSION) == (15 if killed["deferral"] else 0)


def killed_by_this_airflow(executor: str, way: str) -> set[str]:
    release = tuple(int(number) for number in AIRFLOW_VERSION.split(".")[:2])
    killed = KILLED[executor, way]
    return killed[max(since for since in killed if since <= release)]
