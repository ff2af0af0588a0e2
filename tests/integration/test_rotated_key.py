"""The API key is changed while a wait goes on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from airflow_provider_roe.exceptions import RoeAuthenticationError
from airflow_provider_roe.testing import Fault
from tests.integration.running import each_mode, ending, midway
from tests.integration.things import each_thing

if TYPE_CHECKING:
    from airflow_provider_roe.testing import RoeSimulator
    from tests.integration.things import Thing

pytestmark = pytest.mark.usefixtures("impatient")


def codes(roe: RoeSimulator) -> list[int | None]:
    return [request.status_code for request in roe.requests]


def busy_while(roe: RoeSimulator, thing: Thing) -> None:
    """Keep a poll busy until it is let go, so that what follows happens in its middle, in whatever mode."""
    roe.add_fault(Fault(call=thing.call, status_code=503, delay=1, times=1))
    before = len(roe.requests)
    while len(roe.requests) <= before:
        time.sleep(0.005)


@each_thing
@each_mode
def test_a_wait_reads_the_connection_again_and_goes_on(roe, connect, let_go, thing, mode):
    connect(roe)
    thing_id = thing.start(roe)

    def rotate() -> None:
        busy_while(roe, thing)
        roe.rotate_key("roe-another-key")
        connect(roe)
        thing.finish(roe, thing_id, "SUCCESS")
        let_go()

    with midway(roe, [thing_id], rotate, thing):
        assert ending(thing_id, mode, thing).kind == "success"
    assert codes(roe)[-3:] == [503, 401, 200]
    assert codes(roe).count(401) == 1
    keys = [request.headers["Authorization"] for request in roe.requests]
    assert keys[-1] == f"Bearer {roe.api_key}" != keys[-2]


@each_thing
@each_mode
@pytest.mark.parametrize(("changed", "refusals"), [(False, 1), (True, 2)], ids=["the same", "another"])
def test_a_key_that_stays_wrong_ends_it_with_the_reason(roe, connect, let_go, thing, mode, changed, refusals):
    connect(roe)
    thing_id = thing.start(roe)

    def revoke() -> None:
        busy_while(roe, thing)
        if changed:
            roe.rotate_key("roe-another-key")
            connect(roe)
        roe.revoke_key()
        let_go()

    with midway(roe, [thing_id], revoke, thing):
        ended = ending(thing_id, mode, thing)
    assert type(ended.error) is RoeAuthenticationError
    assert ended.message.startswith("Roe did not accept the API key")
    assert "401: Invalid API key." in ended.message
    assert codes(roe).count(401) == refusals
    assert roe.api_key not in ended.printed
