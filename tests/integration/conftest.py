from __future__ import annotations

import json
from datetime import datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow import __version__ as AIRFLOW_VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_roe.testing import RoeSimulator


@pytest.fixture(autouse=True)
def _no_wait_for_airflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away the pauses that only Airflow's own processes need."""
    monkeypatch.setattr("airflow_provider_roe.waiting.hand_over.HAND_OVER", 0.0)
    monkeypatch.setattr("airflow_provider_roe.sensors._waiting.HAND_OVER", 0.02)


@pytest.fixture(autouse=True)
def _no_worker_of_airflow_2(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Airflow 2.11 run tasks in any thread, and take their run's id for when it began."""
    if AIRFLOW_VERSION.startswith("2."):
        safeguard = "airflow.models.baseoperator.ExecutorSafeguard._sentinel"
        monkeypatch.setattr(safeguard, SimpleNamespace(callers={}))
        began = "airflow.sensors.base._orig_start_date"
        monkeypatch.setattr(began, lambda run_id, **_: datetime.fromisoformat(run_id))


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that makes an Airflow connection lead to a simulator; its keywords are the extra."""

    def connect(
        roe: RoeSimulator, conn_id: str = "roe_default", *, url: str | None = None, **extra: Any
    ) -> None:
        fields = {
            "conn_type": "roe",
            "host": url or roe.url,
            "login": roe.organization_id,
            "password": roe.api_key,
            "extra": {"request_timeout": 30, "retry_window": 60} | extra,
        }
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(fields))

    return connect


@pytest.fixture(autouse=True)
def _no_key_in_any_log(
    roe: RoeSimulator, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> Iterator[None]:
    """Fail a test in which the key was logged or printed."""
    yield
    logged = "\n".join(map(caplog.handler.format, caplog.get_records("call")))
    assert roe.api_key not in f"{logged} {capsys.readouterr()}"
