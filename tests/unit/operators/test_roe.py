from __future__ import annotations

import json
import math
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from airflow import __version__ as airflow_version
from airflow.providers.common.compat.sdk import TaskDeferred
from packaging.version import Version

from airflow_provider_roe.exceptions import (
    RoeAuthenticationError,
    RoeInputError,
    RoeQueryFailedError,
    RoeTimeoutError,
    RoeUnavailableError,
)
from airflow_provider_roe.operators.roe import RoeQueryOperator
from airflow_provider_roe.testing import Fault, QueryPlan
from tests.unit.operators.tries import TaskInstance, end, next_try
from tests.unit.results.answers import body, statement

RUNS_ON = QueryPlan(statuses=[("STARTED", math.inf)])
FAILS = QueryPlan(statuses=(), ends_as="FAILURE", error="Unknown table")
UNKNOWN_QUERY = "7d9c3b1e-52f4-4a8d-9e60-1b7f2c4d8a35"


def new_operator(sql: str = "SELECT 1 AS n", **arguments: Any) -> RoeQueryOperator:
    return RoeQueryOperator(task_id="run", sql=sql, **{"poll_interval": 0.05, "timeout": 30} | arguments)


class TestArguments:
    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ({"result": "all"}, "result must be 'status' or 'rows', not 'all'"),
            ({"max_rows": -1}, "max_rows must be a whole number, 0 or more, not -1"),
            ({"max_rows": 1.5}, "max_rows"),
            ({"max_rows": True}, "max_rows"),
            ({"poll_interval": -1}, "poll_interval must be a number of seconds or a timedelta, .* not -1"),
            ({"poll_interval": "5"}, "poll_interval must be .* not '5'"),
            ({"timeout": math.nan}, "timeout must be .* not nan"),
            ({"timeout": None}, "timeout must be .* not None"),
            ({"timeout": timedelta(seconds=-1)}, r"timeout must be .* not datetime\.timedelta\("),
            ({"defer_after": True}, "defer_after must be .* not True"),
            ({"result": "rows", "output_path": "/tmp/x.csv"}, "exclude each other"),
            ({"result": "rows", "wait_for_completion": False}, "leaves no rows"),
            ({"output_path": "/tmp/x.csv", "wait_for_completion": False}, "leaves no rows"),
        ],
        ids=str,
    )
    def test_wrong_ones_are_refused_when_the_dag_is_parsed(self, arguments, words):
        with pytest.raises(RoeInputError, match=words):
            new_operator(**arguments)

    def test_spans_of_time_are_seconds_or_timedeltas_as_the_sensor_s_are(self):
        operator = new_operator(
            timeout=timedelta(hours=1), poll_interval=timedelta(seconds=5), defer_after=timedelta(minutes=1)
        )
        assert (operator.timeout, operator.poll_interval, operator.defer_after) == (3600, 5, 60)

    @pytest.mark.parametrize("rendered", [None, "", "  "])
    @pytest.mark.parametrize("name", ["output_path", "organization_id", "worksheet_id"])
    def test_one_of_which_a_template_makes_nothing_is_refused_before_any_request(
        self, roe, connect, context, name, rendered
    ):
        connect(roe)
        operator = new_operator(**{name: "{{ params.nothing }}"})
        setattr(operator, name, rendered)
        with pytest.raises(RoeInputError, match=f"{name} was given, but is {rendered!r} once its template"):
            operator.execute(context)
        assert roe.requests == []

    @pytest.mark.parametrize("sql", ["", "  ", None])
    def test_empty_sql_is_refused_before_any_request(self, roe, connect, context, sql):
        connect(roe)
        with pytest.raises(RoeInputError, match="sql must be a query's text"):
            new_operator(sql).execute(context)
        assert roe.requests == []

    def test_what_names_query_and_place_is_templated(self):
        assert set(RoeQueryOperator.template_fields) == {
            *("sql", "parameters", "roe_conn_id", "organization_id", "worksheet_id", "output_path")
        }
        assert RoeQueryOperator.template_ext == (".sql",)
        assert RoeQueryOperator.template_fields_renderers == {"sql": "sql", "parameters": "json"}


class TestRunning:
    def test_it_returns_how_the_query_ended(self, roe, connect, context):
        connect(roe)
        value = new_operator(worksheet_id=UNKNOWN_QUERY, use_admin=True).execute(context)
        [query] = roe.queries.values()
        assert (value["query_id"], value["status"]) == (query.id, "SUCCESS")
        assert query.worksheet_id == UNKNOWN_QUERY
        assert b'"use_admin": true' in roe.requests_of("submit")[0].body

    def test_the_id_is_an_xcom_before_the_wait_begins(self, roe, connect, context):
        connect(roe)
        roe.add_fault(Fault(call="status", status_code=403))
        with pytest.raises(Exception, match="403"):
            new_operator().execute(context)
        assert context["ti"].xcoms["query_id"] == next(iter(roe.queries))

    def test_without_waiting_it_returns_the_id(self, roe, connect, context):
        connect(roe)
        roe.plan = RUNS_ON
        assert new_operator(wait_for_completion=False).execute(context) == next(iter(roe.queries))
        assert roe.requests_of("status") == []

    def test_a_query_that_failed_is_an_error_that_retries_may_follow(self, roe, connect, context):
        connect(roe)
        roe.plan = FAILS
        with pytest.raises(RoeQueryFailedError, match=r"ended as FAILURE.*Unknown table.*Request id"):
            new_operator().execute(context)

    def test_one_that_lasts_too_long_is_a_timeout(self, roe, connect, context):
        connect(roe)
        roe.plan = RUNS_ON
        with pytest.raises(RoeTimeoutError, match="is still STARTED"):
            new_operator(timeout=1).execute(context)

    def test_sql_that_roe_refuses_is_told(self, roe, connect, context):
        connect(roe)
        roe.add_fault(Fault(call="submit", status_code=400, body={"query": ["Not a valid string."]}))
        with pytest.raises(Exception, match="query: Not a valid string"):
            new_operator().execute(context)

    def test_being_killed_says_that_the_query_goes_on(self, roe, connect, context, capsys):
        connect(roe)
        operator = new_operator(wait_for_completion=False)
        query_id = operator.execute(context)
        operator.on_kill()
        assert f"Query {query_id} goes on at Roe" in capsys.readouterr().out


class TestParameters:
    def test_they_are_bound_before_the_query_is_submitted(self, roe, connect, context):
        connect(roe)
        operator = new_operator("SELECT %(n)s AS n, %(who)s AS who", parameters={"n": -1, "who": "Zoë"},
                                result="rows")  # fmt: skip
        assert operator.execute(context) == [{"n": -1, "who": "Zoë"}]
        [query] = roe.queries.values()
        assert query.sql == "SELECT (-1) AS n, 'Zoë' AS who"

    def test_their_leaves_are_templated_and_no_template_s_text_leaves_its_literal(self):
        operator = new_operator(parameters=["{{ who }}", {"k": "{{ who }}"}, 1])
        operator.render_template_fields({"who": "'; DROP"})
        assert operator.parameters == ["'; DROP", {"k": "'; DROP"}, 1]

    @pytest.mark.parametrize(
        ("sql", "parameters", "words"),
        [
            ("SELECT %s", [], "placeholder for parameter 1, and parameters have none"),
            ("SELECT '%s'", [1], "inside quotes"),
            ("SELECT %s", ["a", "b"], "there are 2 parameters"),
            ("SELECT %s", [{1}], "parameter 1 cannot be bound"),
            ("SELECT %s", "[1]", "parameters must be a list, a tuple or a dict, not a str"),
        ],
    )
    def test_what_cannot_be_bound_is_refused_before_any_request(
        self, roe, connect, context, sql, parameters, words
    ):
        connect(roe)
        with pytest.raises(RoeInputError, match=words):
            new_operator(sql, parameters=parameters).execute(context)
        assert roe.requests == []


class TestDeferring:
    def test_it_hands_the_wait_to_the_sensor_s_trigger(self, roe, connect, context):
        connect(roe)
        roe.plan = RUNS_ON
        with pytest.raises(TaskDeferred) as e:
            new_operator(deferrable=True, defer_after=0).execute(context)
        path, kwargs = e.value.trigger.serialize()
        assert path == "airflow_provider_roe.triggers.roe.RoeQueryStatusTrigger"
        assert kwargs["query_id"] == context["ti"].xcoms["query_id"]

    def test_it_finishes_after_the_event(self, context):
        query = {"query_id": UNKNOWN_QUERY, "status": "SUCCESS"}
        event = {"outcome": "success", "ended": query}
        assert new_operator().resume_execution("execute_complete", {"event": event}, context) == query

    def test_a_deferral_that_broke_off_looks_at_the_query_that_it_was_for(self, roe, connect, context):
        connect(roe)
        query_id = roe.submit("SELECT 1")
        context["ti"].xcom_push("query_id", query_id)
        value = new_operator().resume_execution("__fail__", {"error": "Trigger failure"}, context)
        assert value["query_id"] == query_id


def fail_once(context: dict[str, Any], error: type[Exception] = RoeUnavailableError) -> None:
    """Let the first try submit the query and then fail."""
    with pytest.raises(error):
        new_operator(timeout=0.5).execute(context)


class TestNextTry:
    @pytest.fixture(autouse=True)
    def _connected(self, roe, connect):
        connect(roe)

    def test_a_query_that_failed_is_submitted_anew(self, roe, context):
        roe.plan = FAILS
        fail_once(context, RoeQueryFailedError)
        roe.plan = QueryPlan(statuses=(), ends_as="SUCCESS")
        assert new_operator().execute(next_try(context))["status"] == "SUCCESS"
        assert len(roe.requests_of("submit")) == 2

    def test_a_query_that_roe_knows_no_more_is_submitted_anew(self, roe, context):
        new_operator().execute(context)
        roe.queries.clear()
        assert new_operator().execute(next_try(context))["status"] == "SUCCESS"
        assert len(roe.requests_of("submit")) == 2

    @pytest.mark.parametrize("how", ["waiting", "after the trigger", "without waiting"])
    def test_a_task_that_has_succeeded_and_is_cleared_runs_its_query_anew(self, roe, context, how):
        if how == "after the trigger":
            roe.plan = RUNS_ON
            with pytest.raises(TaskDeferred):
                new_operator(deferrable=True, defer_after=0).execute(context)
            event = {"outcome": "success", "ended": {"query_id": UNKNOWN_QUERY, "status": "SUCCESS"}}
            (operator := new_operator()).execute_complete(context, event)
            roe.plan = QueryPlan(statuses=(), ends_as="SUCCESS")
        else:
            (operator := new_operator(wait_for_completion=how == "waiting")).execute(context)
        end(operator, context)
        new_operator().execute(next_try(context))
        assert len(roe.requests_of("submit")) == 2

    def test_not_durable_it_submits_anew(self, roe, context):
        roe.plan = RUNS_ON
        for _ in range(2):
            with pytest.raises(RoeTimeoutError):
                new_operator(durable=False, timeout=0.1).execute(next_try(context))
        assert len(roe.requests_of("submit")) == 2


class TestResults:
    @pytest.fixture(autouse=True)
    def _connected(self, roe, connect):
        connect(roe)

    def test_rows_are_returned_as_dicts(self, context):
        assert new_operator("SELECT 1 AS n, 'one' AS word", result="rows").execute(context) == [
            {"n": 1, "word": "one"}
        ]

    def test_rows_of_several_statements_are_kept_apart(self, context):
        value = new_operator("SELECT 1 AS n; SELECT 2 AS m UNION ALL SELECT 3", result="rows").execute(
            context
        )
        assert value == [[{"n": 1}], [{"m": 2}, {"m": 3}]]

    def test_more_rows_than_max_rows_are_an_error_and_not_cut_off(self, context):
        with pytest.raises(RoeInputError, match=r"returns 2 rows, more than max_rows=1.*output_path"):
            new_operator("SELECT 1 AS n UNION ALL SELECT 2", result="rows", max_rows=1).execute(context)

    @pytest.mark.parametrize("extension", ["csv", "jsonl", "parquet"])
    def test_rows_are_written_to_a_file(self, context, tmp_path, extension):
        path = tmp_path / "deep" / f"rows.{extension}"
        [file] = new_operator("SELECT 1 AS n UNION ALL SELECT 2", output_path=f"file://{path}").execute(
            context
        )
        assert file["path"] == f"file://{path}"
        assert (file["row_count"], [column["name"] for column in file["columns"]]) == (2, ["n"])
        assert [p.name for p in path.parent.iterdir()] == [path.name]

    @pytest.mark.parametrize("where", [{"result": "rows"}, {"output_path": "file://{}/rows.csv"}], ids=str)
    def test_a_result_that_is_no_success_is_not_taken_for_an_empty_one(self, roe, context, tmp_path, where):
        says = {"status": "SUCCESS", "error": None, "finished_at": "2026-03-01T10:00:00Z"}
        roe.plan = QueryPlan(statuses=(), ends_as="FAILURE", error="result expired", fields=says)
        where = {name: value.format(tmp_path) for name, value in where.items()}
        with pytest.raises(RoeQueryFailedError, match=r"ended as FAILURE, says its result: result expired\."):
            new_operator(**where).execute(context)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("output_path", ["nowhere://x/rows.csv", "/tmp/rows.xls", "rows.csv"])
    def test_a_path_that_cannot_be_written_is_refused_before_anything_is_submitted(
        self, roe, context, output_path
    ):
        with pytest.raises(RoeInputError, match=r"output_path|format"):
            new_operator(output_path=output_path).execute(context)
        assert roe.requests == []

    def test_after_the_trigger_too(self, roe, context):
        query_id = roe.submit("SELECT 1 AS n")
        event = {"outcome": "success", "ended": {"query_id": query_id, "status": "SUCCESS"}}
        assert new_operator(result="rows").execute_complete(context, event) == [{"n": 1}]


if Version(airflow_version) >= Version("3.3"):

    class TestNextTryAttaches:
        @pytest.fixture(autouse=True)
        def _connected(self, roe, connect):
            connect(roe)

        def test_it_attaches_to_a_query_that_runs(self, roe, context):
            roe.plan = RUNS_ON
            fail_once(context, RoeTimeoutError)
            [query_id] = roe.queries
            roe.finish(query_id, "SUCCESS")
            context = next_try(context)
            assert new_operator().execute(context)["query_id"] == query_id
            assert context["ti"].xcoms["query_id"] == query_id
            assert len(roe.requests_of("submit")) == 1

        @pytest.mark.parametrize("ended", [False, True])
        def test_it_attaches_whether_the_query_has_ended_since_or_not(self, roe, context, ended):
            roe.add_fault(Fault(call="status", status_code=503, times=1))
            roe.plan = QueryPlan(statuses=() if ended else [("STARTED", 0.3)], ends_as="SUCCESS")
            fail_once(context)
            assert new_operator().execute(next_try(context))["status"] == "SUCCESS"
            assert len(roe.requests_of("submit")) == 1

        def test_it_attaches_also_when_it_defers(self, roe, context):
            roe.plan = RUNS_ON
            for _ in range(2):
                with pytest.raises(TaskDeferred) as e:
                    new_operator(deferrable=True, defer_after=0).execute(next_try(context))
            assert [e.value.trigger.serialize()[1]["query_id"]] == list(roe.queries)

        def test_a_service_that_is_out_does_not_make_it_submit_again(self, roe, context):
            roe.plan = RUNS_ON
            fail_once(context, RoeTimeoutError)
            roe.add_fault(Fault(call="status", status_code=503))
            with pytest.raises(RoeUnavailableError):
                new_operator().execute(next_try(context))
            assert len(roe.requests_of("submit")) == 1

        def test_a_key_that_is_refused_does_not_make_it_submit_again(self, roe, context):
            roe.plan = RUNS_ON
            fail_once(context, RoeTimeoutError)
            roe.revoke_key()
            with pytest.raises(RoeAuthenticationError):
                new_operator().execute(next_try(context))
            assert len(roe.requests_of("submit")) == 1

        def test_a_result_that_cannot_be_had_does_not_run_the_query_again(self, roe, context):
            roe.add_fault(Fault(call="result", status_code=503, times=1))
            with pytest.raises(RoeUnavailableError):
                new_operator(result="rows").execute(context)
            assert new_operator(result="rows").execute(next_try(context)) == [{"n": 1}]
            assert len(roe.requests_of("submit")) == 1

        @pytest.mark.parametrize("recorded_as", ["up_for_retry", "running", "restarting", "failed"])
        @pytest.mark.parametrize("how", ["waiting", "after the trigger", "without waiting"])
        def test_a_task_that_fails_after_it_has_returned_attaches(self, roe, context, how, recorded_as):
            operator = new_operator(wait_for_completion=how != "without waiting")
            value = operator.execute(context)
            if how == "after the trigger":
                event = {"outcome": "success", "ended": value}
                (operator := new_operator()).execute_complete(context, event)
            if recorded_as != "up_for_retry":  # where Airflow calls nothing
                end(operator, context, recorded_as)
            again = new_operator(wait_for_completion=how != "without waiting")
            assert again.execute(next_try(context)) == value
            assert len(roe.requests_of("submit")) == 1

        def test_the_callbacks_of_the_user_are_kept_and_those_set_late_as_well(self, roe, context):
            called = []
            operator = new_operator(on_success_callback=called.append)
            assert operator.on_success_callback == [called.append]
            operator.on_success_callback = [called.append, called.append]  # as a cluster policy does
            operator.execute(context)
            end(operator, context)
            assert called == [context, context]
            assert context["task_state_store"] == {}

    class TestNextTryOfAnotherQuery:
        @pytest.fixture(autouse=True)
        def _connected(self, roe, connect):
            connect(roe)

        def check(self, roe, context, first, then, capsys):
            """Let a task run one query and, when it is cleared, another."""
            roe.plan = QueryPlan(statuses=(), ends_as="SUCCESS")
            old = first.execute(context)["query_id"]
            roe.requests.clear()
            new = then.execute(next_try(context))["query_id"]
            assert new != old
            assert len(roe.requests_of("submit")) == 1
            assert roe.requests_of("status", old) == []
            told = capsys.readouterr().out
            assert f"Query {old}, which an earlier try has submitted, was for other SQL" in told
            assert context["task_state_store"]["query_id"]["query_id"] == new

        @pytest.mark.parametrize(
            "changed",
            [
                {"sql": "SELECT 2 AS n"},
                {"sql": "SELECT %s AS n", "parameters": [2]},
                {"worksheet_id": str(UUID(int=1))},
                {"use_admin": True},
                {"roe_conn_id": "roe_elsewhere"},
            ],
            ids=str,
        )
        def test_it_does_not_attach(self, roe, connect, context, changed, capsys):
            connect(roe.url.replace("127.0.0.1", "localhost"), conn_id="roe_elsewhere", api_key=roe.api_key,
                    organization_id=roe.organization_id)  # fmt: skip
            self.check(roe, context, new_operator(), new_operator(**changed), capsys)

        @pytest.mark.parametrize("named_by", ["the task", "the connection"])
        def test_nor_for_another_organization(self, roe, connect, context, named_by, capsys, monkeypatch):
            first, other = new_operator(), str(UUID(int=2))
            first.hook.connection  # noqa: B018 - reads it before it changes
            if named_by == "the connection":
                connect(roe, organization_id=other)
                then = new_operator()
            else:
                then = new_operator(organization_id=other)
            old = first.execute(context)["query_id"]
            monkeypatch.setattr(roe, "organization_id", other)
            roe.requests.clear()
            assert then.execute(next_try(context))["query_id"] != old
            assert roe.requests_of("status", old) == []

        def test_a_mapped_task_with_another_input_runs_that(self, roe, context):
            context |= {"ti": TaskInstance(map_index=2)}
            for value in ("X", "Y"):
                operator = new_operator(f"SELECT '{value}' AS v", result="rows")
                assert operator.execute(context) == [{"v": value}]

        def test_what_is_the_same_in_other_words_attaches(self, roe, context):
            first = new_operator(worksheet_id=UNKNOWN_QUERY)
            value = first.execute(context)
            same = new_operator(
                worksheet_id=UNKNOWN_QUERY.upper(), organization_id=roe.organization_id.upper()
            )
            assert same.execute(next_try(context)) == value

        def test_what_is_kept_is_two_ids_and_a_digest(self, roe, context):
            new_operator("SELECT 'secret' AS n").execute(context)
            [query] = roe.queries.values()
            kept = json.loads(json.dumps(context["task_state_store"]["query_id"]))
            assert len(kept.pop("asked")) == 64
            assert kept == {"query_id": query.id, "worksheet_id": query.worksheet_id}

        @pytest.mark.parametrize("kept", [UNKNOWN_QUERY, {}, [1], {"query_id": 1}], ids=str)
        def test_what_somebody_has_put_into_the_store_is_no_query_of_its_own(self, roe, context, kept):
            context["task_state_store"].set("query_id", kept)
            assert new_operator().execute(context)["status"] == "SUCCESS"
            assert len(roe.requests_of("submit")) == 1

    class TestResultThatCannotBeHandedOn:
        """A query that had to attach to it would fail for ever."""

        def finish(self, roe, connect, context, fault, **arguments):
            """Finish a task whose query has succeeded, and return whether it is kept for the next try."""
            connect(roe)
            query_id = roe.submit("SELECT 1")
            context["task_state_store"].set("query_id", {"query_id": query_id, "asked": "…"})
            if "body" in fault:
                fault["body"]["worksheet_query_id"] = query_id
            if fault:
                roe.add_fault(Fault(call="result", **{"status_code": 200} | fault))
            event = {"outcome": "success", "ended": {"query_id": query_id, "status": "SUCCESS"}}
            with pytest.raises(Exception) as e:  # noqa: PT011 - the caller looks at it
                new_operator(**{"result": "rows"} | arguments).execute_complete(context, event)
            return e.value, bool(context["task_state_store"])

        @pytest.mark.parametrize(
            ("columns", "words"),
            [
                ({"n": ("UInt8", ["1", "2"])}, "returns 2 rows, more than max_rows=1"),
                ({"n": ("UInt8", ["x"])}, "cannot be read as UInt8"),
                ({"n": ("String", ["a\0"])}, r"refuses the character U\+0000"),
                ({"a": ("UInt8", ["1"]), "b": ("UInt8", ["1"])}, "2 columns called n"),
            ],
            ids=["max_rows", "cell", "NUL", "names"],
        )
        def test_it_is_forgotten(self, roe, connect, context, columns, words):
            answer = body(statement(**columns))
            if len(columns) == 2:
                answer["results"][0]["column_names"] = ["n", "n"]
            error, kept = self.finish(roe, connect, context, {"body": answer}, max_rows=1)
            with pytest.raises(RoeInputError, match=words):
                raise error
            assert not kept

        def test_it_is_forgotten_where_roe_has_it_no_more(self, roe, connect, context):
            gone = {"status_code": 404, "body": {"detail": "Not found."}}
            error, kept = self.finish(roe, connect, context, gone)
            assert (type(error).__name__, kept) == ("RoeNotFoundError", False)

        @pytest.mark.parametrize("fault", [{"status_code": 503}, {"status_code": 403}], ids=str)
        def test_it_is_kept_where_it_could_not_be_had(self, roe, connect, context, fault):
            assert self.finish(roe, connect, context, fault)[1]

        def test_it_is_kept_where_the_file_could_not_be_written(
            self, roe, connect, context, tmp_path, monkeypatch
        ):
            def fail(*_: Any) -> None:
                raise OSError(28, "No space left on device")

            monkeypatch.setattr(Path, "replace", fail)
            path = f"file://{tmp_path}/rows.csv"
            error, kept = self.finish(roe, connect, context, {}, result="status", output_path=path)
            assert (isinstance(error, OSError), kept) == (True, True)

        def test_a_column_s_name_that_an_xcom_cannot_hold_is_refused_before_the_file_is_written(
            self, roe, connect, context, tmp_path
        ):
            answer = body(statement(n=("UInt8", ["1"])))
            answer["results"][0]["column_names"] = ["a\0b"]
            path = f"file://{tmp_path}/rows.csv"
            error, kept = self.finish(
                roe, connect, context, {"body": answer}, result="status", output_path=path
            )
            assert r"Statement 1, column 'a\x00b': Airflow's database refuses the char" in str(error)
            assert not kept
            assert list(tmp_path.iterdir()) == []

        def test_sql_that_returns_fewer_rows_is_run_then(self, roe, connect, context):
            connect(roe)
            many = "SELECT 1 AS n UNION ALL SELECT 2 UNION ALL SELECT 3 LIMIT {}"
            with pytest.raises(RoeInputError, match="max_rows=2"):
                new_operator(many.format(3), result="rows", max_rows=2).execute(context)
            mended = new_operator(many.format(2), result="rows", max_rows=2)
            assert mended.execute(next_try(context)) == [{"n": 1}, {"n": 2}]

else:

    class TestNextTryBeforeAirflow33:
        def test_it_submits_again_for_airflow_keeps_nothing_of_the_try_before(self, roe, connect, context):
            connect(roe)
            roe.plan = RUNS_ON
            fail_once(context, RoeTimeoutError)
            roe.plan = QueryPlan(statuses=(), ends_as="SUCCESS")
            assert new_operator().execute(next_try(context))["status"] == "SUCCESS"
            assert len(roe.requests_of("submit")) == 2
