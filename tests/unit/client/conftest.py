from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import BaseHook

from airflow_provider_roe.client import lookup

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def look_ups(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the ids of the connections that Airflow is asked for, whether it finds them or not."""
    asked_for: list[str] = []

    def counted(look_up: Callable[..., Any]) -> Callable[..., Any]:
        def look_up_and_count(conn_id: str) -> Any:
            asked_for.append(conn_id)
            return look_up(conn_id)

        return look_up_and_count

    monkeypatch.setattr(lookup, "get_async_connection", counted(lookup.get_async_connection))
    monkeypatch.setattr(BaseHook, "get_connection", counted(BaseHook.get_connection))
    return asked_for
