from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from airflow_provider_roe.api import agents
from airflow_provider_roe.api.agents import AgentJobs, AgentJobStatus, AgentOutput, ask_results, ask_statuses
from airflow_provider_roe.api.base import Response, State
from airflow_provider_roe.exceptions import (
    RoeAuthenticationError,
    RoeInputError,
    RoeNotFoundError,
    RoeOutputError,
    RoeRequestError,
    RoeUnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from airflow_provider_roe.api.base import Request

AGENT = "b4a1f3d6-07c5-4e92-8f1a-6d2e9c7053ab"
VERSION = "e83c5f27-91bd-4d06-a74e-2f0b8c6d1953"
ORGANIZATION = "3f0c7a52-8d1e-4b6f-9a27-5c1b0e84d6f3"


def job(number: int) -> str:
    return str(UUID(int=number))


def answer(body: Any, code: int = 200, *, overlong: bool = False) -> Response:
    return Response(code, {}, json.dumps(body).encode(), "r-1", overlong=overlong)


def exchange(
    asking: Generator[Request, Response, Any], reply: Callable[[Request], Any]
) -> tuple[Any, list[Request]]:
    """Answer the requests of a generator, or throw what goes wrong; return what it returns, and them."""
    sent = []
    try:
        request = next(asking)
        while True:
            sent.append(request)
            answered = reply(request)
            request = asking.throw(answered) if isinstance(answered, Exception) else asking.send(answered)
    except StopIteration as e:
        return e.value, sent


def item(job_id: str, status: Any = 1, **fields: Any) -> dict[str, Any]:
    return {"id": job_id, "status": status, "created_at": None, "last_updated_at": None} | fields


def running(request: Request) -> Response:
    assert request.json
    return answer([item(job_id) for job_id in request.json["job_ids"]])


class TestRuns:
    def test_one_is_json_with_its_key(self):
        request = agents.run_request(
            AGENT.upper(), {"a": "b"}, ORGANIZATION, metadata={"m": 1}, idempotency_key="k"
        )
        assert (request.method, request.path) == ("POST", f"/v1/agents/run/{AGENT}/async/")
        assert request.params == {"organization_id": ORGANIZATION}
        assert (request.json, request.form) == ({"a": "b", "metadata": {"m": 1}}, None)
        assert request.headers == {"Idempotency-Key": "k"}
        assert request.repeatable

    def test_with_files_it_is_a_form(self):
        file: Any = object()
        request = agents.run_request(
            AGENT,
            {"a": "b"},
            None,
            metadata={"m": 1},
            files={"f": file},
            skip_cache=True,
            idempotency_key="k",
        )
        assert (request.json, request.form) == (None, {"a": "b", "metadata": '{"m": 1}', "f": file})
        assert request.headers == {"Idempotency-Key": "k", "X-Skip-Cache": "true"}

    def test_of_a_version(self):
        request = agents.run_request(AGENT, {}, None, version_id=VERSION, idempotency_key="k")
        assert request.path == f"/v1/agents/run/{AGENT}/versions/{VERSION}/async/"

    @pytest.mark.parametrize(
        "ids", [{"agent_id": "../x"}, {"agent_id": None}, {"agent_id": AGENT, "version_id": "1"}], ids=str
    )
    def test_ids_that_are_none_are_refused(self, ids):
        with pytest.raises(RoeInputError, match=r"(agent|version)_id must be a UUID"):
            agents.run_request(
                ids["agent_id"], {}, None, version_id=ids.get("version_id"), idempotency_key="k"
            )

    @pytest.mark.parametrize(
        "metadata",
        ["x", [1], {"at": datetime.now}, {"n": float("nan")}],
        ids=["text", "list", "object", "nan"],
    )
    def test_metadata_that_is_none_is_refused(self, metadata):
        with pytest.raises(RoeInputError, match=r"^metadata must be"):
            agents.run_request(AGENT, {}, None, metadata=metadata, idempotency_key="k")

    def test_the_answer_is_an_id(self):
        request = agents.run_request(AGENT, {}, None, idempotency_key="k")
        assert agents.read_job_id(request, answer(job(7).upper())) == job(7)
        for body in (None, {}, "", "7", {"id": job(7)}, [job(7)]):
            with pytest.raises(RoeUnavailableError, match="a body that is not a job's id"):
                agents.read_job_id(request, answer(body))

    def test_of_many_an_id_for_each(self):
        request = agents.run_many_request(AGENT, [{}, {}], None, idempotency_key="k")
        assert (request.path, request.json) == (f"/v1/agents/run/{AGENT}/async/many/", {"inputs": [{}, {}]})
        assert agents.read_job_ids(request, answer([job(1), job(2)])) == [job(1), job(2)]
        for body in (job(1), [job(1)], [job(1), job(2), job(3)], [job(1), None]):
            with pytest.raises(RoeUnavailableError, match="a list of the ids of 2 jobs"):
                agents.read_job_ids(request, answer(body))


class TestStatus:
    def of(self, request_item: dict[str, Any], **statuses: frozenset[str]) -> AgentJobStatus:
        found, _ = exchange(
            ask_statuses([job(1)], None, **statuses),
            lambda request: answer([request_item | {"id": job(1).upper()}]),
        )
        return found[job(1)]

    @pytest.mark.parametrize(
        ("code", "word", "state"),
        [
            (0, "PENDING", State.RUNNING),
            (1, "STARTED", State.RUNNING),
            (2, "RETRY", State.RUNNING),
            (3, "SUCCESS", State.SUCCEEDED),
            (4, "FAILURE", State.FAILED),
            (5, "CANCELLED", State.FAILED),
            (6, "CACHED", State.SUCCEEDED),
        ],
    )
    def test_a_code_has_a_word_and_a_meaning(self, code, word, state):
        status = self.of(item("", code))
        assert (status.status, status.state, status.known) == (word, state, True)

    @pytest.mark.parametrize("code", [-1, 7, 99])
    def test_an_unknown_code_is_no_end(self, code):
        status = self.of(item("", code))
        assert (status.status, status.state, status.known) == (str(code), State.RUNNING, False)

    def test_unless_the_connection_names_it(self):
        assert self.of(item("", 7), success_statuses=frozenset({"7"})).state is State.SUCCEEDED
        assert self.of(item("", 7), failure_statuses=frozenset({"7"})).state is State.FAILED

    def test_times_and_error(self):
        status = self.of(
            item(
                "",
                4,
                created_at="2026-01-05T08:00:00Z",
                timestamp=1767600005.5,
                error_message="page 3\x00 is blank",
            )
        )
        assert status.created_at == datetime(2026, 1, 5, 8, tzinfo=UTC)
        assert status.finished_at == datetime(2026, 1, 5, 8, 0, 5, 500_000, tzinfo=UTC)
        assert (status.duration, status.error) == (5.5, "page 3 is blank")
        assert json.loads(json.dumps(status.as_dict()))["duration"] == 5.5

    @pytest.mark.parametrize(
        "fields", [{"timestamp": "x", "created_at": 7}, {"timestamp": 1e300}, {"timestamp": True}], ids=str
    )
    def test_times_that_are_none_do_no_harm(self, fields):
        assert self.of(item("", 3, **fields)).state is State.SUCCEEDED

    def test_one_that_runs_has_not_finished(self):
        assert self.of(item("", 1, timestamp=1767600005.5)).finished_at is None


class TestAskingForMany:
    def test_a_thousand_with_a_request(self):
        job_ids = [job(number) for number in range(2300)]
        found, sent = exchange(ask_statuses(job_ids, ORGANIZATION), running)
        assert list(found) == job_ids
        assert [len(request.json["job_ids"]) for request in sent] == [1000, 1000, 300]
        assert {(request.method, request.path, request.repeatable) for request in sent} == {
            ("POST", "/v1/agents/jobs/statuses/", True)
        }

    @pytest.mark.parametrize(
        "odd",
        [
            [],
            [None],
            [{}],
            [item(job(2), None)],
            [item(job(2), "SUCCESS")],
            [item(job(2), True)],
            [item(job(2), 3.5)],
            [item(job(9), 3)],
        ],
        ids=str,
    )
    def test_one_that_the_answer_says_nothing_of_is_asked_for_alone(self, odd):
        def reply(request: Request) -> Response:
            if request.json:
                return answer([item(job(1)), *odd])
            assert (request.method, request.path) == ("GET", f"/v1/agents/jobs/{job(2)}/status/")
            return answer({"status": 3, "timestamp": 1767600005.5})

        found, _ = exchange(ask_statuses([job(1), job(2)], None), reply)
        assert [found[job(n)].status for n in (1, 2)] == ["STARTED", "SUCCESS"]

    @pytest.mark.parametrize(
        ("reply", "error"),
        [
            (answer({"detail": "Not found."}, 404), RoeNotFoundError),
            (answer({"detail": "no"}, 403), RoeRequestError),
            (answer({}, 500), RoeUnavailableError),
            (answer({"status": "SUCCESS"}), RoeUnavailableError),
            (answer(3), RoeUnavailableError),
            (RoeUnavailableError("no answer"), RoeUnavailableError),
        ],
        ids=str,
    )
    def test_what_is_wrong_with_it_then_is_its_own_trouble(self, reply, error):
        found, _ = exchange(
            ask_statuses([job(1), job(2)], None), lambda r: answer([item(job(1))]) if r.json else reply
        )
        assert found[job(1)].status == "STARTED"
        assert isinstance(found[job(2)], error)

    @pytest.mark.parametrize("code", [400, 403, 404, 413])
    @pytest.mark.parametrize("guilty", [[0], [999], [3, 500], [7, 8, 9]], ids=str)
    def test_a_refusal_is_narrowed_down_to_whom_it_is_about(self, code, guilty):
        wrong = {job(number) for number in guilty}

        def reply(request: Request) -> Response:
            return answer({"detail": "no"}, code) if wrong & {*request.json["job_ids"]} else running(request)

        found, sent = exchange(ask_statuses([job(number) for number in range(1000)], None), reply)
        assert {job_id for job_id, status in found.items() if isinstance(status, RoeRequestError)} == wrong
        assert sum(isinstance(status, AgentJobStatus) for status in found.values()) == 1000 - len(wrong)
        assert len(sent) <= 1 + 20 * len(wrong)

    @pytest.mark.parametrize(
        ("refusal", "error"),
        [
            (answer({}, 401), RoeAuthenticationError),
            (answer({}, 402), RoeRequestError),
            (answer({}, 429), RoeUnavailableError),
            (answer({}, 503), RoeUnavailableError),
            (answer({}, 302), RoeRequestError),
            (Response(404, {}, b"<h1>Not Found</h1>", "r-1"), RoeRequestError),
            (answer({"not": "a list"}), RoeUnavailableError),
            (RoeUnavailableError("no answer"), RoeUnavailableError),
        ],
        ids=str,
    )
    def test_what_is_about_no_job_is_raised_at_once(self, refusal, error):
        sent = []

        def reply(request: Request) -> Any:
            sent.append(request)
            return refusal

        with pytest.raises(error):
            exchange(ask_statuses([job(1), job(2)], None), reply)
        assert len(sent) == 1

    def test_an_answer_that_is_too_long_is_asked_for_in_halves(self):
        def reply(request: Request) -> Response:
            ids = request.json["job_ids"]
            return answer([], overlong=True) if len(ids) > 3 else running(request)

        found, sent = exchange(ask_statuses([job(number) for number in range(10)], None), reply)
        assert len(found) == 10
        assert len(sent) == 7


class TestJobsOfOneWait:
    def jobs(self, *states: State, max_failed: int = 0) -> AgentJobs:
        words = {State.RUNNING: "STARTED", State.SUCCEEDED: "SUCCESS", State.FAILED: "FAILURE"}
        found = [AgentJobStatus(job(n), words[state], state, error="why") for n, state in enumerate(states)]
        return AgentJobs(tuple(found), max_failed)

    R, S, F = State.RUNNING, State.SUCCEEDED, State.FAILED

    @pytest.mark.parametrize(
        ("states", "max_failed", "state"),
        [
            ([S], 0, S),
            ([F], 0, F),
            ([R], 0, R),
            ([S, S, S], 0, S),
            ([S, R, F], 0, R),
            ([F, F, R], 0, R),
            ([S, F, S], 0, F),
            ([S, F, S], 1, S),
            ([F, F, S], 1, F),
            ([F, F], 2, S),
        ],
    )
    def test_they_run_until_the_last_has_ended_and_fail_if_more_failed_than_may(
        self, states, max_failed, state
    ):
        assert self.jobs(*states, max_failed=max_failed).state is state

    def test_their_status_is_how_many_there_are_of_each(self):
        assert self.jobs(self.S, self.F, self.S).status == "1 FAILURE, 2 SUCCESS"
        assert self.jobs(self.S).status == "SUCCESS"

    def test_their_error_names_the_first_by_index(self):
        error = self.jobs(self.S, *[self.F] * 8).error
        assert error.startswith(f"index 1, job {job(1)} ended as FAILURE: why.; index 2, ")
        assert error.endswith("; and 3 more")
        assert self.jobs(self.S, self.S).error is None

    def test_of_none_there_is_no_success(self):
        with pytest.raises(RoeInputError, match="no agent job to wait for"):
            AgentJobs(())


class TestOutputs:
    @pytest.mark.parametrize(
        ("data_type", "value", "parsed"),
        [
            ("text/plain", "7", "7"),
            ("application/json", "7", 7),
            ("Application/JSON; charset=utf-8", '{"a": [1, null]}', {"a": [1, None]}),
            ("application/vnd.roe+json", "true", True),
            ("text/json", '"x"', "x"),
            ("application/jsonlines", "1", "1"),
        ],
    )
    def test_of_type_json_are_parsed_and_others_stay_text(self, data_type, value, parsed):
        assert AgentOutput("key", value, data_type).parse() == parsed

    @pytest.mark.parametrize("value", ["", "{", "NaN", "-Infinity", "{'a': 1}", "1 2"])
    def test_what_is_no_json_though_its_type_says_so_is_an_error(self, value):
        with pytest.raises(ValueError, match=r"\S"):
            AgentOutput("key", value, "application/json").parse()


class TestResults:
    OUTPUT: dict[str, Any] = {"key": "k", "value": "v", "data_type": "text/plain", "cost": 0.5}  # noqa: RUF012

    def of(self, **fields: Any) -> Any:
        body = {"id": job(1), "status": 3, "result": [self.OUTPUT], "cost": 1, "inputs": None} | fields
        found, _ = exchange(ask_results([job(1)], None), lambda request: answer([body]))
        return found[job(1)]

    def test_are_read(self):
        result = self.of(
            agent_id=AGENT, agent_version_id=VERSION, input_tokens=7, output_tokens=None, inputs=[1]
        )
        assert result.outputs == (AgentOutput("k", "v", "text/plain", cost=0.5),)
        assert (result.status, result.cost, result.inputs) == ("SUCCESS", 1.0, (1,))
        assert (result.agent_id, result.agent_version_id) == (AGENT, VERSION)
        assert (result.input_tokens, result.output_tokens) == (7, None)

    def test_a_hundred_with_a_request(self):
        def reply(request: Request) -> Response:
            return answer([{"id": job_id, "status": 3, "result": []} for job_id in request.json["job_ids"]])

        found, sent = exchange(ask_results([job(number) for number in range(250)], None), reply)
        assert len(found) == 250
        assert [len(request.json["job_ids"]) for request in sent] == [100, 100, 50]

    @pytest.mark.parametrize("code", [4, 5])
    @pytest.mark.parametrize("value", [None, "ERR_7", [OUTPUT]], ids=str)
    def test_a_job_that_has_not_succeeded_has_no_outputs(self, code, value):
        result = self.of(status=code, result=value)
        assert (result.state, result.outputs) == (State.FAILED, ())

    @pytest.mark.parametrize(
        "value",
        [
            None,
            "ERR_7",
            {},
            [7],
            [{"key": "k"}],
            [{"key": "k", "value": 7, "data_type": "x"}],
            [OUTPUT, None],
        ],
        ids=str,
    )
    def test_a_success_without_outputs_as_documented_is_an_error(self, value):
        error = self.of(result=value)
        assert isinstance(error, RoeOutputError)
        assert error.job_id == job(1)
        assert "result must be a list of outputs" in str(error)

    @pytest.mark.parametrize(
        "fields", [{"status": 1}, {"status": None}, {"status": "3"}, {"id": job(2)}, {"status": 9}], ids=str
    )
    def test_one_that_does_not_say_that_its_job_has_ended_is_asked_for_again(self, fields):
        assert isinstance(self.of(**fields), RoeUnavailableError)


def test_cancelling_is_asked_for_by_post():
    request = agents.cancel_request(job(1).upper(), ORGANIZATION)
    assert (request.method, request.path) == ("POST", f"/v1/agents/jobs/{job(1)}/cancel/")
    agents.read_cancelled(request, Response(204, {}, b"", "r-1"))
    with pytest.raises(RoeNotFoundError, match=r"^Roe knows no such agent job"):
        agents.read_cancelled(request, answer({"detail": "Not found."}, 404))
