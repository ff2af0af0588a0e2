from __future__ import annotations

import math
from datetime import timedelta

import pytest

from airflow_provider_roe.exceptions import (
    RoeError,
    RoeInputError,
    RoeQueryFailedError,
    RoeTimeoutError,
    RoeUnavailableError,
)
from airflow_provider_roe.hooks.roe import RoeHook
from airflow_provider_roe.testing import Fault, QueryPlan
from airflow_provider_roe.testing.query import Query

RUNS_ON = QueryPlan(statuses=[("STARTED", math.inf)])
SQL = "SELECT 1 AS n, 'one' AS word UNION ALL SELECT 2, NULL"


@pytest.fixture(autouse=True)
def _connected(roe, connect):
    connect(roe)


class TestQuery:
    def test_it_waits_and_returns_rows_as_python_values(self, roe):
        roe.plan = QueryPlan(statuses=[("STARTED", 0.2)])
        assert RoeHook().query(SQL) == [{"n": 1, "word": "one"}, {"n": 2, "word": None}]

    def test_parameters_are_bound(self, roe):
        assert RoeHook().query("SELECT %s AS n", [7]) == [{"n": 7}]
        assert [query.sql for query in roe.queries.values()] == ["SELECT 7 AS n"]

    def test_those_that_cannot_be_bound_are_refused_before_anything_is_submitted(self, roe):
        with pytest.raises(RoeInputError):
            RoeHook().query("SELECT %s", [object()])
        assert roe.requests == []

    def test_of_several_statements_it_is_the_last_that_returns_columns(self):
        assert RoeHook().query("SELECT 1 AS n; SELECT 2 AS m; DELETE FROM invoices") == [{"m": 2}]

    def test_without_columns_there_are_no_rows(self):
        assert RoeHook().query("DELETE FROM invoices") == []

    def test_a_query_that_failed_is_an_error_with_roe_s_words(self, roe):
        roe.plan = QueryPlan(statuses=())
        with pytest.raises(RoeQueryFailedError, match=r"ended as FAILURE.*nowhere.*Request id"):
            RoeHook().query("SELECT * FROM nowhere")

    @pytest.mark.usefixtures("impatient")
    def test_a_hiccup_is_waited_out(self, roe, connect):
        connect(roe, retry_window=30)
        roe.add_fault(Fault(call="status", reset="body", times=1))
        assert len(RoeHook().query(SQL)) == 2


class TestWaitForQuery:
    def test_one_that_lasts_too_long_is_an_error(self, roe):
        query_id = roe.submit(SQL, RUNS_ON)
        with pytest.raises(RoeTimeoutError, match="is still STARTED"):
            RoeHook().wait_for_query(query_id, timeout=1, poll_interval=0.05)

    def test_spans_of_time_may_be_timedeltas(self, roe):
        spans = {"timeout": timedelta(seconds=1), "poll_interval": timedelta(seconds=0.05)}
        with pytest.raises(RoeTimeoutError, match=r"the wait's timeout is 1 s"):
            RoeHook().wait_for_query(roe.submit(SQL, RUNS_ON), **spans)

    @pytest.mark.parametrize("argument", ["timeout", "poll_interval"])
    def test_other_spans_are_refused_before_anything_is_asked(self, roe, argument):
        with pytest.raises(RoeInputError, match=f"{argument} must be a number of seconds or a timedelta"):
            RoeHook().wait_for_query(roe.submit(SQL), **{argument: "5"})
        assert roe.requests == []


SAYS_SUCCESS = {"status": "SUCCESS", "error": None, "finished_at": "2026-03-01T10:00:00Z"}
EXPIRED = QueryPlan(statuses=(), ends_as="FAILURE", error="result expired", fields=SAYS_SUCCESS)


def open_result(query_id: str) -> None:
    with RoeHook().open_query_result(query_id):
        pass


each_way_to_a_result = pytest.mark.parametrize(
    "fetch",
    [
        lambda roe: RoeHook().query(SQL),
        lambda roe: RoeHook().get_query_result(roe.submit(SQL)),
        lambda roe: open_result(roe.submit(SQL)),
    ],
    ids=["query", "get_query_result", "open_query_result"],
)


class TestWhatTheResultSays:
    @each_way_to_a_result
    def test_that_its_query_failed_is_an_error_with_roe_s_words(self, roe, fetch):
        roe.plan = EXPIRED
        with pytest.raises(RoeQueryFailedError, match=r"ended as FAILURE, says its result: result expired\."):
            fetch(roe)
        assert len(roe.requests_of("result")) == 1

    @pytest.mark.usefixtures("impatient")
    @each_way_to_a_result
    def test_that_its_query_runs_is_waited_out(self, roe, connect, fetch):
        connect(roe, retry_window=60)
        roe.plan = QueryPlan(statuses=[("STARTED", 0.5)], fields=SAYS_SUCCESS)
        fetch(roe)
        assert len(roe.requests_of("result")) > 1

    @pytest.mark.usefixtures("impatient")
    @each_way_to_a_result
    @pytest.mark.parametrize("word", ["STARTED", "FINALIZING"])
    def test_for_as_long_as_the_window(self, roe, connect, fetch, word):
        connect(roe, retry_window=2)
        roe.plan = QueryPlan(statuses=[(word, math.inf)], fields=SAYS_SUCCESS)
        with pytest.raises(RoeUnavailableError, match=rf"is still {word}, although .*Gave up after"):
            fetch(roe)

    @each_way_to_a_result
    def test_the_connection_s_words_count(self, roe, connect, fetch):
        connect(roe, success_statuses=["DONE"], failure_statuses=["LOST"])
        roe.plan = QueryPlan(statuses=(), ends_as="Done")
        fetch(roe)
        roe.plan = QueryPlan(statuses=(), ends_as="Lost", fields=SAYS_SUCCESS)
        with pytest.raises(RoeQueryFailedError, match="ended as Lost"):
            fetch(roe)

    @each_way_to_a_result
    def test_an_error_text_beside_a_success_is_a_warning(self, roe, fetch, capsys):
        roe.plan = QueryPlan(statuses=(), ends_as="SUCCESS", error="one row was skipped", fields=SAYS_SUCCESS)
        fetch(roe)
        assert "which is SUCCESS: one row was skipped" in capsys.readouterr().out

    @each_way_to_a_result
    @pytest.mark.parametrize(
        ("fields", "words"),
        [
            ({}, "results must be a list, for its status is SUCCESS, and is missing"),
            ({"results": None}, "results must be a list, for its status is SUCCESS, and is null"),
            ({"results": [{"row_count": "1"}]}, "row_count of statement 1 must be .* and is '1'"),
        ],
        ids=repr,
    )
    def test_a_success_without_what_belongs_to_it_is_an_error_at_once(
        self, roe, connect, fetch, fields, words, monkeypatch
    ):
        connect(roe, retry_window=60)
        monkeypatch.setattr(Query, "as_result", lambda query: query.as_status() | fields)
        with pytest.raises(RoeError, match=words) as e:
            fetch(roe)
        assert not isinstance(e.value, RoeUnavailableError)
        assert len(roe.requests_of("result")) == 1
