from __future__ import annotations

from typing import Any

import pytest
from airflow import __version__ as airflow_version
from packaging.version import Version

from tests.unit.operators.tries import Store, TaskInstance


@pytest.fixture
def context() -> dict[str, Any]:
    store = {"task_state_store": Store()} if Version(airflow_version) >= Version("3.3") else {}
    return {"ti": TaskInstance()} | store
