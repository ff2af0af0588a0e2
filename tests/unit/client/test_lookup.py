from __future__ import annotations

import asyncio
import json
import time
import traceback
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowNotFoundException, BaseHook

from airflow_provider_roe.client import lookup
from airflow_provider_roe.client.lookup import alook_up, look_up
from airflow_provider_roe.exceptions import (
    RoeError,
    RoeInputError,
    RoeNoConnectionError,
    RoeUnavailableError,
)
from dev.patience import patient

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_roe.client.connection import RoeConnection

SECRET = "roe-Lw4Xq9Rt2Zb7"


def _async(conn_id: str, **known: bool) -> RoeConnection:
    return asyncio.run(alook_up(conn_id, **known))


@pytest.fixture(params=[look_up, _async], ids=["blocking", "async"])
def find(request: pytest.FixtureRequest) -> Callable[..., RoeConnection]:
    return request.param


@pytest.fixture
def airflow_raises(monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception], None]:
    """Return a function that lets Airflow fail with an error of its own, which may quote the connection."""

    def airflow_raises(error: Exception) -> None:
        def broken(*_: Any, **__: Any) -> None:
            raise error

        async def abroken(*_: Any, **__: Any) -> None:
            raise error

        monkeypatch.setattr(BaseHook, "get_connection", broken)
        monkeypatch.setattr(lookup, "get_async_connection", abroken)

    return airflow_raises


def test_a_connection_is_found_with_its_checked_fields(find, roe, connect):
    connect(roe, retry_window=7)
    found = find("roe_default")
    assert (found.base_url, found.api_key, found.retry_window) == (roe.url, roe.api_key, 7)


def test_one_that_airflow_does_not_have_is_an_input_error(find):
    with pytest.raises(RoeNoConnectionError, match="roe_conn_id: Airflow has no connection 'roe_nowhere'"):
        find("roe_nowhere")


def test_one_that_was_there_before_may_come_back(find):
    with pytest.raises(RoeUnavailableError, match="does not find connection 'roe_nowhere' here"):
        find("roe_nowhere", was_there=True)


async def test_one_that_only_the_task_has_found_is_wanted_where_the_triggerer_runs():
    with pytest.raises(
        RoeUnavailableError, match=r"The triggerer does not find connection 'roe_nowhere'.* too"
    ):
        await alook_up("roe_nowhere", was_there=True, was_here=False)


@pytest.mark.parametrize("was_there", [False, True])
def test_a_field_that_cannot_be_used_is_an_input_error_in_any_case(find, roe, connect, was_there):
    connect(roe, retry_window=-1)
    with pytest.raises(RoeInputError, match="retry_window"):
        find("roe_default", was_there=was_there)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (AirflowNotFoundException(SECRET), RoeNoConnectionError),
        (AirflowException(SECRET), RoeInputError),
        (ValueError(SECRET), RoeInputError),
        (OSError(SECRET), RoeUnavailableError),
        (TimeoutError(SECRET), RoeUnavailableError),
        (RuntimeError(SECRET), RoeUnavailableError),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else type(value).__name__,
)
def test_airflow_s_own_words_which_may_hold_the_key_are_nowhere_in_the_error(
    find, airflow_raises, error, kind
):
    airflow_raises(error)
    with pytest.raises(kind, match="connection 'roe_default'") as e:
        find("roe_default")
    assert SECRET not in f"{e.value} {e.value!r} {vars(e.value)}"
    assert SECRET not in "".join(traceback.format_exception(e.value))
    assert e.value.__cause__ is e.value.__context__ is None


@pytest.mark.parametrize("extra", ["{", "[]", "1"])
def test_neither_is_what_cannot_be_read_of_a_connection(find, monkeypatch, extra):
    fields = {"conn_type": "roe", "host": "not a host", "password": SECRET, "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_ROE_DEFAULT", json.dumps(fields))
    with pytest.raises(RoeError) as e:
        find("roe_default")
    assert SECRET not in "".join(traceback.format_exception(e.value))
    assert e.value.__context__ is None


async def test_an_event_loop_does_not_wait_for_ever(monkeypatch):
    async def hang(_: str) -> None:
        await asyncio.sleep(3600)

    assert lookup.LONGEST_LOOK_UP == 60
    monkeypatch.setattr(lookup, "LONGEST_LOOK_UP", 0.1)
    monkeypatch.setattr(lookup, "get_async_connection", hang)
    began = time.monotonic()
    with pytest.raises(RoeUnavailableError, match=r"could not look up .*TimeoutError"):
        await alook_up("roe_default", was_there=True)
    assert time.monotonic() - began < patient(5)
