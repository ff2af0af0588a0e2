"""RoeHook.open_query_result: a result of any size, spooled to a file."""

from __future__ import annotations

import errno
import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_roe.api.queries import MAX_RESULT_BODY
from airflow_provider_roe.exceptions import RoeNotFoundError, RoeUnavailableError
from airflow_provider_roe.hooks import roe as hook_module
from airflow_provider_roe.hooks.roe import RoeHook
from airflow_provider_roe.results import rows as values
from airflow_provider_roe.testing import Fault, RoeSimulator

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def query_id(roe: RoeSimulator, connect: Callable[..., None]) -> str:
    connect(roe)
    query_id = roe.submit("SELECT 1 AS n UNION ALL SELECT 2")
    while roe.queries[query_id].finished_at is None:
        time.sleep(0.01)
    return query_id


def rows(query_id: str) -> Any:
    with RoeHook().open_query_result(query_id) as result:
        return values.rows(result, 1_000_000)


class TestOpenQueryResult:
    def test_the_rows_are_those_of_the_short_way(self, query_id):
        assert rows(query_id) == [[{"n": 1}, {"n": 2}]]
        assert [list(row) for row in RoeHook().get_query_result(query_id).results[0].rows] == [["1"], ["2"]]

    def test_it_has_no_bound(self, roe, connect, query_id):
        connect(roe, request_timeout=60)
        roe.add_fault(Fault(call="result", oversize=MAX_RESULT_BODY + 10**6, gzip=True))
        with pytest.raises(RoeUnavailableError, match="not within 67,108,864 bytes"):
            RoeHook().get_query_result(query_id)
        assert rows(query_id) == [[{"n": 1}, {"n": 2}]]

    @pytest.mark.parametrize(
        "fault",
        [
            {"truncate": True},
            {"reset": "body"},
            {"reset": "before"},
            {"status_code": 503},
            {"status_code": 200, "body": "<html>" * 1000},
            {"status_code": 200, "body": {"results": []}},
        ],
        ids=repr,
    )
    @pytest.mark.usefixtures("impatient")
    def test_after_a_transient_error_it_starts_anew(self, roe, query_id, connect, fault):
        connect(roe, retry_window=30)
        roe.add_fault(Fault(call="result", times=2, **fault))
        assert rows(query_id) == [[{"n": 1}, {"n": 2}]]

    def test_what_roe_refuses_is_told_as_ever(self, connect, roe):
        connect(roe)
        with pytest.raises(RoeNotFoundError):
            rows("00000000-0000-4000-8000-000000000000")

    def test_a_body_that_stops_coming_is_given_up(self, roe, query_id, connect):
        connect(roe, request_timeout=0.5)
        roe.add_fault(Fault(call="result", drip=0.1))
        with pytest.raises(RoeUnavailableError, match=r"did not answer within 0\.5 s"):
            rows(query_id)

    @pytest.mark.parametrize("key", ["test", "roe-Test/Key+9fWm2Qz7Lx4Tn8Vb"])
    def test_rows_that_hold_the_key_s_text_come_as_they_are(self, roe, query_id, connect, key):
        roe.rotate_key(key)
        connect(roe)
        cell = f"{key} company" * 50_000  # so that any cut into chunks goes through it
        statement = {
            "query": f"SELECT '{key}'",
            "row_count": 1,
            "column_names": [key],
            "column_types": ["String"],
            "result_rows": [[cell]],
        }
        answer = {"results": [statement], "worksheet_query_id": query_id, "status": "SUCCESS"}
        roe.add_fault(
            Fault(call="result", status_code=200, body=json.dumps(answer), content_type="application/json")
        )
        assert rows(query_id) == [[{key: cell}]]
        [whole] = RoeHook().get_query_result(query_id).results
        assert (whole.query, whole.column_names, whole.rows) == (f"SELECT '{key}'", (key,), ((cell,),))

    def test_a_full_disk_is_no_trouble_of_roe_s(self, roe, query_id, connect, monkeypatch):
        class Full:
            def __init__(self, **_: Any) -> None: ...
            def __enter__(self) -> Full:
                return self

            def __exit__(self, *_: object) -> None: ...
            def seek(self, _: int) -> None: ...
            def truncate(self) -> None: ...
            def write(self, _: bytes) -> None:
                raise OSError(errno.ENOSPC, "No space left on device")

        connect(roe, retry_window=30)
        monkeypatch.setattr(hook_module, "TemporaryFile", Full)
        with pytest.raises(OSError, match="No space left"):
            rows(query_id)
        assert sum(request.call == "result" for request in roe.requests) == 1
