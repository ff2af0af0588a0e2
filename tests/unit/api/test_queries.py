from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import XCom
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_roe.api import base, queries
from airflow_provider_roe.api.base import Response, State
from airflow_provider_roe.exceptions import RoeError, RoeInputError, RoeQueryFailedError, RoeUnavailableError
from tests.unit.api.calls import (
    ORGANIZATION,
    OTHER_QUERY,
    QUERY,
    RESULT,
    STATUS,
    SUBMIT,
    answer,
    each_call,
)

WORKSHEET = "c2b1a0f9-8e7d-4c6b-a5f4-e3d2c1b0a9f8"


def status_body(**fields: Any) -> dict[str, Any]:
    return {
        "worksheet_query_id": QUERY,
        "status": "STARTED",
        "error": None,
        "created_at": "2026-03-01T10:00:00Z",
        "finished_at": None,
    } | fields


def statement(**fields: Any) -> dict[str, Any]:
    return {
        "query": "SELECT name, total FROM invoices",
        "row_count": 2,
        "column_names": ["name", "total"],
        "column_types": ["String", "Nullable(Float64)"],
        "result_rows": [["Ada", "1.5"], ["Grace", None]],
        "start_timestamp": 1772359200.25,
        "end_timestamp": 1772359201.75,
        "summary": {"read_rows": 2, "elapsed_ns": 1500},
    } | fields


def result_body(*statements: Any, **fields: Any) -> dict[str, Any]:
    return {
        "worksheet_query_id": QUERY,
        "status": "SUCCESS",
        "error": None,
        "results": list(statements),
    } | fields


class TestRequests:
    @pytest.mark.parametrize(
        ("request_", "method", "path"),
        [
            (STATUS, "GET", f"/v1/database/query/{QUERY}/status/"),
            (RESULT, "GET", f"/v1/database/query/{QUERY}/result/"),
            (SUBMIT, "POST", "/v1/database/query/async/"),
        ],
        ids=["status", "result", "submit"],
    )
    def test_each_has_its_documented_method_and_path_and_names_the_organization(self, request_, method, path):
        assert (request_.method, request_.path) == (method, path)
        assert request_.params == {"organization_id": ORGANIZATION}

    @pytest.mark.parametrize(("call", "repeatable"), [(STATUS, True), (RESULT, True), (SUBMIT, False)])
    def test_only_a_submit_must_not_be_sent_twice(self, call, repeatable):
        assert call.repeatable is repeatable

    def test_without_an_organization_none_is_sent(self):
        assert queries.status_request(QUERY, None).params == {}

    def test_a_status_is_read_to_1_mib_and_a_result_to_64(self):
        assert (STATUS.max_body, RESULT.max_body) == (2**20, 2**26)

    def test_a_submit_carries_its_sql(self):
        assert SUBMIT.json == {"query": "SELECT 1", "use_admin": False}

    def test_a_worksheet_goes_into_query_string_and_body(self):
        call = queries.submit_request("SELECT 1", None, worksheet_id=WORKSHEET.upper(), use_admin=True)
        assert call.params == {"worksheet_id": WORKSHEET}
        assert call.json == {"query": "SELECT 1", "use_admin": True, "worksheet_id": WORKSHEET}

    @pytest.mark.parametrize("sql", ["", " \n", None, 1, ["SELECT 1"]], ids=repr)
    def test_sql_that_is_no_text_is_refused(self, sql):
        with pytest.raises(RoeInputError, match="sql must be a query's text, not"):
            queries.submit_request(sql, ORGANIZATION)

    @pytest.mark.parametrize("sql", ["x" * 2_000_000, "'" * 2_000_000, "\N{GRINNING FACE}" * 500_000])
    def test_the_answer_to_a_long_one_may_repeat_it(self, sql):
        request = queries.submit_request(sql, ORGANIZATION)
        assert len(json.dumps({"id": QUERY, "query": sql})) < request.max_body

    def test_a_submit_without_organization_and_worksheet_is_refused_with_both_named(self):
        with pytest.raises(RoeInputError, match="Organization ID") as e:
            queries.submit_request("SELECT 1", None)
        assert "worksheet_id" in str(e.value)

    @pytest.mark.parametrize("worksheet_id", ["", "../x"])
    def test_a_worksheet_that_is_no_uuid_is_refused(self, worksheet_id):
        with pytest.raises(RoeInputError, match="worksheet_id must be a UUID"):
            queries.submit_request("SELECT 1", ORGANIZATION, worksheet_id=worksheet_id)


MEANINGS = {
    State.RUNNING: "PENDING RECEIVED QUEUED STARTED RUNNING RETRY",
    State.SUCCEEDED: "SUCCESS SUCCEEDED CACHED COMPLETED",
    State.FAILED: "FAILURE FAILED ERROR REVOKED REJECTED IGNORED CANCELLED CANCELED",
}
KNOWN = [(word, state) for state, words in MEANINGS.items() for word in words.split()]


class TestStatusValues:
    @pytest.mark.parametrize("finished", [False, True])
    @pytest.mark.parametrize(
        "written",
        [str, str.lower, str.title, " {} ".format, "\t{}\n".format],
        ids=["as it is", "lower", "title", "in spaces", "in a line"],
    )
    @pytest.mark.parametrize(("word", "state"), KNOWN)
    def test_a_known_status_has_its_meaning_in_any_case_and_space(self, word, state, written, finished):
        assert queries.classify(written(word), finished=finished) == (state, True)

    @pytest.mark.parametrize("word", ["DONE", "SUCCESSFUL", "UNSUCCESSFUL", "SUCCESS!", "", "OK"])
    @pytest.mark.parametrize(("finished", "state"), [(True, State.FAILED), (False, State.RUNNING)])
    def test_an_unknown_status_is_an_end_only_with_a_finishing_time_and_never_a_success(
        self, word, finished, state
    ):
        assert queries.classify(word, finished=finished) == (state, False)

    @pytest.mark.parametrize("finished", [False, True])
    @pytest.mark.parametrize(("word", "state"), [("done", State.SUCCEEDED), (" Lost ", State.FAILED)])
    def test_a_deployment_can_name_further_words(self, word, state, finished):
        more = {"success_statuses": frozenset({"DONE"}), "failure_statuses": frozenset({"LOST"})}
        assert queries.classify(word, finished=finished, **more) == (state, True)


class TestReadStatus:
    def test_every_field_is_read(self):
        body = status_body(
            status="FAILURE", error="Unknown table", finished_at="2026-03-01T10:00:02.500+00:00"
        )
        status = queries.read_status(STATUS, answer(body))
        assert status.as_dict() == {
            "query_id": QUERY,
            "status": "FAILURE",
            "error": "Unknown table",
            "created_at": "2026-03-01T10:00:00+00:00",
            "finished_at": "2026-03-01T10:00:02.500000+00:00",
            "duration": 2.5,
        }
        assert (status.state, status.known) == (State.FAILED, True)

    @pytest.mark.parametrize("absent", [{}, {"error": None, "created_at": None, "finished_at": None}])
    def test_what_roe_does_not_tell_is_none(self, absent):
        body = {"worksheet_query_id": QUERY, "status": "PENDING"} | absent
        assert queries.read_status(STATUS, answer(body)).as_dict() == {
            "query_id": QUERY,
            "status": "PENDING",
            "error": None,
            "created_at": None,
            "finished_at": None,
            "duration": None,
        }

    def test_fields_that_nobody_knows_are_left_aside(self):
        body = status_body(query_task_id="t", progress={"percent": 40})
        assert queries.read_status(STATUS, answer(body)).status == "STARTED"

    def test_the_id_may_come_in_upper_case(self):
        assert (
            queries.read_status(STATUS, answer(status_body(worksheet_query_id=QUERY.upper()))).query_id
            == QUERY
        )

    @pytest.mark.parametrize(("status", "state"), [("RETRY", State.RUNNING), ("SUCCESS", State.SUCCEEDED)])
    def test_an_error_text_alone_is_no_failure(self, status, state):
        read = queries.read_status(STATUS, answer(status_body(status=status, error="worker lost")))
        assert (read.state, read.error) == (state, "worker lost")

    @pytest.mark.parametrize(
        ("error", "text"),
        [
            ("", None),
            ([], None),
            ("x" * 5000, "x" * 1999 + "…"),
            ("a\x1b[31m red\nline", "a [31m red line"),
            ({"message": "from a worker"}, "from a worker"),
            (["one", "two"], "one; two"),
        ],
        ids=["empty", "empty list", "long", "control characters", "dict", "list"],
    )
    def test_the_error_text_is_fit_for_a_log(self, error, text):
        assert queries.read_status(STATUS, answer(status_body(error=error))).error == text

    @pytest.mark.parametrize(
        "moment", ["yesterday", "", 5, [], {}, "2026-02-31T00:00:00Z", "2026-03-01", True]
    )
    def test_a_time_that_cannot_be_read_is_unknown_and_fails_no_wait(self, moment):
        status = queries.read_status(STATUS, answer(status_body(created_at=moment)))
        assert (status.created_at, status.duration) == (None, None)

    def test_a_finishing_time_that_cannot_be_read_is_still_an_end(self):
        status = queries.read_status(STATUS, answer(status_body(status="DONE", finished_at="yesterday")))
        assert (status.state, status.finished_at) == (State.FAILED, None)

    @pytest.mark.parametrize("year", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
    def test_a_time_at_the_edge_of_the_calendar_fails_no_wait(self, year):
        body = status_body(status="SUCCESS", created_at=year, finished_at="2026-03-01T10:00:00Z")
        assert queries.read_status(STATUS, answer(body)).as_dict()["status"] == "SUCCESS"

    def test_a_query_that_ended_before_it_began_took_no_time(self):
        body = status_body(status="SUCCESS", finished_at="2026-03-01T09:59:59Z")
        assert queries.read_status(STATUS, answer(body)).duration == 0.0

    @pytest.mark.parametrize(
        "wrong",
        [
            {"worksheet_query_id": OTHER_QUERY},
            {"worksheet_query_id": ""},
            {"worksheet_query_id": "query"},
            {"worksheet_query_id": "status"},
            {"worksheet_query_id": None},
            {"worksheet_query_id": 7},
            {"status": ""},
            {"status": "  "},
            {"status": None},
            {"status": 1},
            {"status": ["SUCCESS"]},
        ],
        ids=repr,
    )
    def test_a_status_of_another_query_or_without_its_words_is_no_answer(self, wrong):
        with pytest.raises(RoeUnavailableError, match="not the status of this query"):
            queries.read_status(STATUS, answer(status_body(status="SUCCESS") | wrong))

    @pytest.mark.parametrize("field", ["worksheet_query_id", "status"])
    def test_a_required_field_may_not_be_missing(self, field):
        body = status_body()
        del body[field]
        with pytest.raises(RoeUnavailableError, match="not the status of this query"):
            queries.read_status(STATUS, answer(body))

    def test_statuses_of_the_deployment_count(self):
        body = answer(status_body(status="Done"))
        assert (
            queries.read_status(STATUS, body, success_statuses=frozenset({"DONE"})).state is State.SUCCEEDED
        )


class TestReadSubmitted:
    def test_the_worksheet_query_id_is_its_id_and_not_the_task_s(self):
        body = {
            "id": QUERY.upper(),
            "query_task_id": OTHER_QUERY,
            "query_task_status": "PENDING",
            "query": "SELECT 1",
            "worksheet": {"id": WORKSHEET, "name": "Untitled"},
        }
        assert queries.read_submitted(SUBMIT, answer(body)) == queries.SubmittedQuery(
            QUERY, WORKSHEET, "PENDING"
        )

    def test_an_older_deployment_answers_with_the_bare_id(self):
        assert queries.read_submitted(SUBMIT, answer(QUERY)) == queries.SubmittedQuery(QUERY)

    @pytest.mark.parametrize(
        "odd", [{}, {"worksheet": None, "query_task_status": None}, {"worksheet": {"id": 7}}], ids=repr
    )
    def test_what_roe_does_not_tell_is_none(self, odd):
        assert queries.read_submitted(SUBMIT, answer({"id": QUERY} | odd)) == queries.SubmittedQuery(QUERY)

    @pytest.mark.parametrize(
        "body",
        ["", "done", None, [], [QUERY], {}, {"id": None}, {"id": "7"}, {"query_task_id": QUERY}],
        ids=repr,
    )
    def test_an_answer_without_an_id_is_an_error_and_the_query_is_not_submitted_again(self, body):
        with pytest.raises(RoeUnavailableError, match="not a submitted query") as e:
            queries.read_submitted(SUBMIT, answer(body))
        assert not e.value.repeatable


class TestReadResult:
    def test_every_statement_has_its_result(self):
        second = statement(query="SELECT 1", row_count=0, column_names=[], column_types=[], result_rows=[])
        result = queries.read_result(RESULT, answer(result_body(statement(), second)))
        assert (result.query_id, result.status, result.error) == (QUERY, "SUCCESS", None)
        first, empty = result.results
        assert first == queries.StatementResult(
            query="SELECT name, total FROM invoices",
            row_count=2,
            column_names=("name", "total"),
            column_types=("String", "Nullable(Float64)"),
            rows=(("Ada", "1.5"), ("Grace", None)),
            start_timestamp=1772359200.25,
            end_timestamp=1772359201.75,
            summary={"read_rows": 2, "elapsed_ns": 1500},
        )
        assert (empty.query, empty.rows) == ("SELECT 1", ())

    @pytest.mark.parametrize(
        ("word", "known"),
        [("STARTED", True), (" pending ", True), ("RETRY", True), ("FINALIZING", False), ("DONE", False)],
    )
    def test_one_that_says_that_its_query_runs_is_no_answer_yet(self, word, known):
        with pytest.raises(
            RoeUnavailableError, match=f"is still {word.strip()}, although.*: worker lost"
        ) as e:
            queries.read_result(RESULT, answer(result_body(statement(), status=word, error="worker lost")))
        assert (e.value.repeatable, e.value.status_code) == (True, 200)
        assert ("Wait for the query's end first" in str(e.value)) == known
        assert ("connection's extra.success_statuses" in str(e.value)) == (not known)

    @pytest.mark.parametrize("word", ["FAILURE", "revoked", "LOST"])
    @pytest.mark.parametrize("results", [[], [statement()], None])
    def test_one_that_says_that_its_query_failed_is_an_error_with_roe_s_words(self, word, results):
        body = result_body(status=word, error="result expired") | {"results": results}
        with pytest.raises(
            RoeQueryFailedError,
            match=f"^Query {QUERY} ended as {word}, says its result: result expired. Request id: the-request",
        ):
            queries.read_result(RESULT, answer(body), failure_statuses=frozenset({"LOST"}))

    def test_statuses_of_the_deployment_count(self):
        body = answer(result_body(statement(), status="Done", error="one row was skipped"))
        result = queries.read_result(RESULT, body, success_statuses=frozenset({"DONE"}))
        assert (result.status, result.error, len(result.results)) == ("Done", "one row was skipped", 1)

    def test_what_is_optional_may_be_missing(self):
        slim = {
            name: statement()[name] for name in ("row_count", "column_names", "column_types", "result_rows")
        }
        read = queries.read_result(RESULT, answer(result_body(slim))).results[0]
        assert (read.query, read.start_timestamp, read.end_timestamp, read.summary) == ("", None, None, {})

    @pytest.mark.parametrize(
        ("wrong", "words"),
        [
            (
                {"column_names": "name,total"},
                "column_names of statement 2 must be a list, and is 'name,total'",
            ),
            (
                {"column_names": ["name", 7]},
                "column_names of statement 2 must be a list of strings, and is 7",
            ),
            (
                {"column_types": ["String"]},
                "column_types of statement 2 must be a list of 2, .* is a list of 1",
            ),
            ({"column_types": "xx"}, "column_types of statement 2 must be a list, and is 'xx'"),
            ({"column_types": None}, "column_types of statement 2 must be a list, and is null"),
            ({"result_rows": "rows"}, "result_rows of statement 2 must be a list, and is 'rows'"),
            ({"result_rows": {}}, "result_rows of statement 2 must be a list, and is an object"),
            ({"result_rows": None}, "result_rows of statement 2 must be a list, and is null"),
            ({"result_rows": ["ab"]}, "a row of statement 2 must be a list of 2 cells, and is 'ab'"),
            ({"result_rows": [["Ada"]]}, "a row of statement 2 must be a list of 2 .* is a list of 1"),
            ({"result_rows": [["Ada", "1.5", "x"]]}, "a row of statement 2 must .* is a list of 3"),
            ({"result_rows": [[]]}, "a row of statement 2 must be a list of 2 cells, and is a list of 0"),
            ({"result_rows": [["Ada", "1.5"]]}, "it holds 1 of the 2 rows of statement 2"),
            ({"result_rows": [[]], "column_names": [], "column_types": []}, "a row of statement 2 must"),
            ({"row_count": "2"}, "row_count of statement 2 must be a whole number, 0 or more, and is '2'"),
            ({"row_count": True}, "row_count of statement 2 must .* and is true"),
            ({"row_count": -1}, "row_count of statement 2 must .* and is -1"),
            ({"row_count": 1.5}, "row_count of statement 2 must .* and is 1.5"),
        ],
        ids=repr,
    )
    def test_a_statement_of_the_wrong_shape_is_named_with_its_field(self, wrong, words):
        assert_unusable(result_body(statement(), statement(**wrong)), words)

    @pytest.mark.parametrize("name", ["row_count", "column_names", "column_types", "result_rows"])
    def test_so_is_a_field_that_is_missing(self, name):
        without = {field: value for field, value in statement().items() if field != name}
        assert_unusable(result_body(without), f"{name} of statement 1 must be .* and is missing")

    @pytest.mark.parametrize(
        ("wrong", "words"),
        [
            ({"results": None}, "results must be a list, for its status is SUCCESS, and is null"),
            ({"results": {}}, "results must be a list, .* and is an object"),
            ({"results": ["x"]}, "statement 1 must be an object, and is 'x'"),
            ({"results": [statement(), None]}, "statement 2 must be an object, and is null"),
            ({"status": None}, "status must be a word, and is null"),
            ({"status": "  "}, "status must be a word, and is ''"),
        ],
        ids=repr,
    )
    def test_a_result_of_the_wrong_shape_is_told_at_once(self, wrong, words):
        assert_unusable(result_body(statement()) | wrong, words)

    @pytest.mark.parametrize("name", ["results", "status"])
    def test_so_is_one_without_results_or_status(self, name):
        body = result_body(statement())
        del body[name]
        assert_unusable(body, f"{name} must be .* and is missing")

    def test_what_is_found_is_cut_and_without_the_key(self):
        body = result_body(statement(column_names="the-api-key" + "x" * 10_000))
        response = Response(200, {}, json.dumps(body).encode(), "the-request-id", secret="the-api-key")
        with pytest.raises(RoeError, match=r"and is '\*\*\*x+…'\.") as e:
            queries.read_result(RESULT, response)
        assert len(str(e.value)) < 400

    @pytest.mark.parametrize("body", [result_body(worksheet_query_id=OTHER_QUERY), {}, [], "x"], ids=repr)
    def test_what_is_not_of_this_query_is_no_answer(self, body):
        with pytest.raises(RoeUnavailableError, match="not the result of this query"):
            queries.read_result(RESULT, answer(body))

    def test_cells_are_whatever_json_can_say(self):
        rows = [["Ada", 1.5], [None, True], [["a", None], {"b": [2]}], [10**77, ""]]
        body = result_body(statement(result_rows=rows, row_count=4))
        assert queries.read_result(RESULT, answer(body)).results[0].rows == tuple(map(tuple, rows))

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
    def test_it_is_read_as_python_reads_json(self, encoding):
        text = json.dumps(result_body(statement(result_rows=[["Größe", math.inf], ["\ud800", None]])))
        read = queries.read_result(RESULT, answer(text.encode(encoding))).results[0]
        assert read.rows == (("Größe", math.inf), ("\ud800", None))


def assert_unusable(body: dict[str, Any], words: str) -> None:
    """Make sure that a result is an error at once, of these words."""
    with pytest.raises(RoeError, match=f"^Roe's result of query {QUERY} cannot be used: .*{words}") as e:
        queries.read_result(RESULT, answer(body))
    assert not isinstance(e.value, RoeUnavailableError)
    assert str(e.value).endswith("tell Roe's support. Request id: the-request-id.")


ENDED = queries.QueryStatus(QUERY, "SUCCESS", State.SUCCEEDED, created_at=datetime.now(UTC))


class TestXCom:
    @pytest.mark.parametrize(
        ("value", "instead"),
        [
            (queries.SubmittedQuery(QUERY), "its query_id"),
            (ENDED, r"its as_dict\(\)"),
            (
                queries.QueryResult(QUERY, "SUCCESS", None, ()),
                "the rows of its results, or those that RoeHook.query",
            ),
            (queries.StatementResult("SELECT 1", 0, (), (), ()), "its rows, or those that RoeHook.query"),
        ],
        ids=lambda value: type(value).__name__,
    )
    @pytest.mark.parametrize("wrapped", [False, True])
    def test_what_the_next_task_could_not_read_is_refused_with_what_to_return(self, value, instead, wrapped):
        with pytest.raises(
            RoeInputError, match=f"{type(value).__name__} cannot be an XCom.*return {instead}"
        ):
            XCom.serialize_value([{"query": value}] if wrapped else value)

    @pytest.mark.parametrize(
        "value", [queries.SubmittedQuery(QUERY).query_id, ENDED.as_dict()], ids=["id", "dict"]
    )
    def test_what_to_return_arrives_as_it_is(self, value):
        class Row:
            def __init__(self, value):
                self.value = value

        assert XCom.deserialize_value(Row(XCom.serialize_value(value))) == value


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40) | st.datetimes().map(str),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
WORDS = st.sampled_from([word for word, _ in KNOWN]) | st.sampled_from(["DONE", "success ", "LOST", ""])


def shaped(keys: dict[str, Any]) -> st.SearchStrategy[bytes]:
    """Bodies with the documented names, right or wrong."""
    return st.fixed_dictionaries({}, optional=keys).map(lambda body: json.dumps(body).encode())


STATUS_BODIES = shaped(
    {
        "worksheet_query_id": st.just(QUERY) | JSON_VALUES,
        "status": WORDS | JSON_VALUES,
        "error": JSON_VALUES,
        "created_at": st.datetimes(timezones=st.timezones()).map(datetime.isoformat) | JSON_VALUES,
        "finished_at": st.datetimes(timezones=st.timezones()).map(datetime.isoformat) | JSON_VALUES,
    }
)
RESULT_BODIES = shaped(
    {
        "worksheet_query_id": st.just(QUERY) | JSON_VALUES,
        "status": WORDS | JSON_VALUES,
        "results": st.lists(
            st.fixed_dictionaries(
                {
                    "row_count": st.integers() | JSON_VALUES,
                    "column_names": st.just(["a"]) | JSON_VALUES,
                    "column_types": st.just(["String"]) | JSON_VALUES,
                    "result_rows": st.just([["1"]]) | JSON_VALUES,
                    "start_timestamp": JSON_VALUES,
                    "summary": JSON_VALUES,
                }
            ),
            max_size=3,
        )
        | JSON_VALUES,
    }
)
RESPONSES = st.builds(
    Response,
    status_code=st.integers(min_value=100, max_value=599) | st.sampled_from([200, 401, 404, 429, 503]),
    headers=st.dictionaries(
        st.sampled_from(["retry-after", "date", "content-type"]),
        st.text(max_size=40)
        | st.integers().map(str)
        | st.datetimes(timezones=st.just(UTC)).map(lambda moment: format_datetime(moment, usegmt=True)),
    ),
    body=st.binary(max_size=200)
    | JSON_VALUES.map(lambda value: json.dumps(value).encode())
    | STATUS_BODIES
    | RESULT_BODIES,
    request_id=st.just("the-request-id"),
    overlong=st.booleans(),
)


class TestWhateverTheServerAnswers:
    @each_call
    @given(response=RESPONSES)
    def test_it_is_read_or_is_an_error_of_ours(self, call, read, response):
        try:
            value = read(call, response)
        except RoeError as e:
            text = str(e)
        else:
            assert 200 <= response.status_code < 300
            text = base.uuid(value.query_id, "query_id")
        assert text.isprintable()

    @given(body=RESULT_BODIES)
    def test_only_a_result_that_says_so_is_one(self, body):
        more = frozenset({"DONE"})
        try:
            result = queries.read_result(RESULT, answer(body), success_statuses=more)
        except RoeError:
            return
        word = json.loads(body)["status"].strip().upper()
        assert word in {*MEANINGS[State.SUCCEEDED].split(), *more}
        assert len(result.results) == len(json.loads(body)["results"])

    @given(body=STATUS_BODIES)
    def test_only_a_documented_or_configured_word_is_a_success(self, body):
        more = frozenset({"DONE"})
        try:
            status = queries.read_status(STATUS, answer(body), success_statuses=more)
        except RoeUnavailableError:
            return
        word = json.loads(body)["status"].strip().upper()
        succeeded = word in {*MEANINGS[State.SUCCEEDED].split(), *more}
        assert (status.state is State.SUCCEEDED) == succeeded
        assert json.loads(json.dumps(status.as_dict())) == status.as_dict()
