from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from airflow.providers.common.compat.sdk import XCom

from airflow_provider_roe.api import agents
from airflow_provider_roe.api.agents import (
    AgentJobResult,
    AgentJobs,
    AgentJobStatus,
    AgentOutput,
    ask_results,
    ask_statuses,
)
from airflow_provider_roe.api.base import Response, State
from airflow_provider_roe.exceptions import (
    RoeAuthenticationError,
    RoeError,
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


def nested(depth: int) -> list[Any]:
    inner: list[Any] = []
    for _ in range(depth):
        inner = [inner]
    return inner


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

    @pytest.mark.parametrize("metadata", [None, {}], ids=str)
    def test_without_metadata_nothing_is_said_of_it(self, metadata):
        request = agents.run_request(AGENT, {"a": "b"}, None, metadata=metadata, idempotency_key="k")
        assert request.json == {"a": "b"}

    def test_of_a_version(self):
        request = agents.run_request(AGENT, {}, None, version_id=VERSION, idempotency_key="k")
        assert request.path == f"/v1/agents/run/{AGENT}/versions/{VERSION}/async/"

    def test_of_many_without_the_cache(self):
        request = agents.run_many_request(AGENT, [{}], None, skip_cache=True, idempotency_key="k")
        assert request.headers == {"Idempotency-Key": "k", "X-Skip-Cache": "true"}

    @pytest.mark.parametrize("version_id", [None, VERSION])
    def test_of_an_agent_that_roe_does_not_know(self, version_id):
        request = agents.run_request(AGENT, {}, None, version_id=version_id, idempotency_key="k")
        with pytest.raises(
            RoeNotFoundError, match=r"no such agent, or version of it.*check agent_id and ver"
        ):
            agents.read_job_id(request, answer({"detail": "Not found."}, 404))

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
        ["x", [1], {"at": datetime.now}, {"n": float("nan")}, nested(100_000)],
        ids=["text", "list", "object", "nan", "deep"],
    )
    def test_metadata_that_is_none_is_refused(self, metadata):
        with pytest.raises(RoeInputError, match=r"^metadata must be"):
            agents.run_request(AGENT, {}, None, metadata=metadata, idempotency_key="k")

    def test_the_answer_is_an_id(self):
        request = agents.run_request(AGENT, {}, None, idempotency_key="k")
        assert agents.read_job_id(request, answer(job(10).upper())) == job(10)
        for body in (None, {}, "", "7", {"id": job(7)}, [job(7)]):
            with pytest.raises(RoeUnavailableError, match="a body that is not a job's id"):
                agents.read_job_id(request, answer(body))

    def test_of_many_an_id_for_each(self):
        request = agents.run_many_request(AGENT.upper(), [{}, {}], ORGANIZATION, idempotency_key="k")
        assert (request.path, request.json) == (f"/v1/agents/run/{AGENT}/async/many/", {"inputs": [{}, {}]})
        assert request.params == {"organization_id": ORGANIZATION}
        assert (request.headers, request.repeatable) == ({"Idempotency-Key": "k"}, True)
        assert agents.read_job_ids(request, answer([job(10).upper(), job(2)])) == [job(10), job(2)]
        for body in (job(1), [job(1)], [job(1), job(2), job(3)], [job(1), None]):
            with pytest.raises(RoeUnavailableError, match="a list of the ids of 2 jobs"):
                agents.read_job_ids(request, answer(body))


class TestStatus:
    def of(self, request_item: dict[str, Any], **statuses: frozenset[str]) -> AgentJobStatus:
        found, _ = exchange(
            ask_statuses([job(10)], None, **statuses),
            lambda request: answer([request_item | {"id": job(10).upper()}]),
        )
        return found[job(10)]

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
        assert status.request_id == "r-1"
        assert status.as_dict() == {
            "job_id": job(10),
            "status": "FAILURE",
            "error": "page 3 is blank",
            "created_at": "2026-01-05T08:00:00+00:00",
            "finished_at": "2026-01-05T08:00:05.500000+00:00",
            "duration": 5.5,
        }

    @pytest.mark.parametrize("timestamp", [None, "x", 1e14, float("nan")], ids=str)
    def test_without_a_timestamp_it_ended_when_it_was_updated_last(self, timestamp):
        status = self.of(item("", 3, timestamp=timestamp, last_updated_at="2026-01-05T08:00:05Z"))
        assert status.finished_at == datetime(2026, 1, 5, 8, 0, 5, tzinfo=UTC)
        assert status.duration is None

    def test_by_clocks_that_differ_it_took_no_time(self):
        times = {"created_at": "2026-01-05T08:00:05Z", "last_updated_at": "2026-01-05T08:00:00Z"}
        assert self.of(item("", 3, **times)).duration == 0

    @pytest.mark.parametrize(
        "fields",
        [{"timestamp": "x", "created_at": 7}, {"timestamp": 1e300}, {"timestamp": True}, {"timestamp": []}],
        ids=str,
    )
    def test_times_that_are_none_do_no_harm(self, fields):
        status = self.of(item("", 3, **fields))
        assert (status.state, status.created_at, status.duration) == (State.SUCCEEDED, None, None)
        assert status.as_dict()["created_at"] is None

    @pytest.mark.parametrize(
        ("given", "text"),
        [
            (None, None),
            ("", None),
            (" \n", None),
            ("page 3", "page 3"),
            ({"detail": "no"}, "no"),
            (["a", {"b": "c"}], "a; b: c"),
            (7, "7"),
            ("x" * 3000, "x" * 1999 + "…"),
        ],
        ids=lambda value: repr(value)[:20],
    )
    def test_an_error_of_whatever_shape_is_a_text(self, given, text):
        assert self.of(item("", 2, error_message=given)).error == text

    def test_an_error_holds_no_key(self):
        response = Response(
            200,
            {},
            json.dumps([item(job(1), 2, error_message="no a-Key+42 here")]).encode(),
            "r-1",
            secret="a-Key+42",
        )
        found, _ = exchange(ask_statuses([job(1)], None), lambda request: response)
        assert found[job(1)].error == "no *** here"

    def test_one_that_runs_has_not_finished(self):
        status = self.of(item("", 1, timestamp=1767600005.5, created_at="2026-01-05T08:00:00Z"))
        assert (status.finished_at, status.duration) == (None, None)


class TestAskingForMany:
    def test_a_thousand_with_a_request(self):
        job_ids = [job(number) for number in range(2300)]
        found, sent = exchange(ask_statuses(job_ids, ORGANIZATION), running)
        assert list(found) == job_ids
        assert [len(request.json["job_ids"]) for request in sent] == [1000, 1000, 300]
        assert {(request.method, request.path, request.repeatable) for request in sent} == {
            ("POST", "/v1/agents/jobs/statuses/", True)
        }
        assert [request.params for request in sent] == [{"organization_id": ORGANIZATION}] * 3

    def test_none_without_a_request(self):
        assert exchange(ask_statuses([], None), running) == ({}, [])

    def test_what_the_answer_says_of_others_or_of_nobody_is_left_out(self):
        odd = [
            item(job(9), 4),
            item("my-job", 4),
            {"id": None},
            {"id": 7},
            "text",
            7,
            None,
            [item(job(1), 4)],
        ]
        found, sent = exchange(ask_statuses([job(1)], None), lambda r: answer([*odd, item(job(1), 3)]))
        assert (found[job(1)].status, len(sent)) == ("SUCCESS", 1)

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
            assert request.params == {"organization_id": ORGANIZATION}
            return answer({"status": 3, "timestamp": 1767600005.5})

        found, _ = exchange(ask_statuses([job(1), job(2)], ORGANIZATION), reply)
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

    @pytest.mark.parametrize(("code", "error"), [(401, RoeAuthenticationError), (429, RoeUnavailableError)])
    def test_unless_it_is_about_all(self, code, error):
        with pytest.raises(error):
            exchange(
                ask_statuses([job(1), job(2)], None),
                lambda r: answer([item(job(1))]) if r.json else answer({}, code),
            )

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
            (RoeUnavailableError("a proxy refused", status_code=403), RoeUnavailableError),
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

    def test_that_of_one_job_is_no_answer(self):
        with pytest.raises(RoeUnavailableError, match="a body that is not within 16,777,216 bytes"):
            exchange(ask_statuses([job(1)], None), lambda request: answer([], overlong=True))


class TestWhatIsFound:
    GONE = RoeNotFoundError("gone")
    BUSY = RoeUnavailableError("busy")

    def test_is_in_the_order_of_the_jobs(self):
        assert agents.in_order(["b", "a", "b"], {"a": 1, "b": 2, "c": self.GONE}) == [2, 1, 2]

    def test_the_first_error_is_raised_and_each_time_another(self):
        """What one makes of it, such as the connection's name or the tries so far, is not another's."""
        found = {"a": 1, "b": self.GONE, "c": self.BUSY}
        with pytest.raises(RoeNotFoundError, match="gone") as told:
            agents.in_order(["a", "b", "c"], found)
        assert told.value is not self.GONE
        with pytest.raises(RoeUnavailableError):
            agents.in_order(["a", "c", "b"], found)

    def test_what_may_pass_is_raised_so_that_all_are_asked_for_again(self):
        with pytest.raises(RoeUnavailableError, match="busy") as told:
            agents.not_unavailable({"a": 1, "b": self.GONE, "c": self.BUSY})
        assert told.value is not self.BUSY

    def test_what_will_not_is_what_was_found(self):
        found: dict[str, int | RoeError] = {"a": 1, "b": self.GONE, "c": RoeOutputError("no list")}
        assert agents.not_unavailable(found) is found


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

    def test_an_error_is_cut(self):
        jobs = AgentJobs(
            tuple(AgentJobStatus(job(n), "FAILURE", State.FAILED, error="x" * 2000) for n in range(9))
        )
        assert jobs.error.count("index") == 5
        assert len(jobs.error) < 2000

    def test_of_a_failed_one_without_an_error_that_is_told(self):
        jobs = AgentJobs((AgentJobStatus(job(1), "CANCELLED", State.FAILED),) * 2)
        assert jobs.error.startswith(
            f"index 0, job {job(1)} ended as CANCELLED: Roe gave no reason.; index 1"
        )

    def test_while_they_run_it_is_that_of_one_that_is_retried(self):
        jobs = AgentJobs(
            (
                AgentJobStatus(job(1), "STARTED", State.RUNNING),
                AgentJobStatus(job(2), "RETRY", State.RUNNING, error="lost"),
            )
        )
        assert jobs.error == f"job {job(2)}: lost"

    def test_of_the_only_one_it_is_roes_own(self):
        assert self.jobs(self.F).error == self.jobs(self.R).error == "why"

    def test_counts_are_grouped_by_thousands(self):
        many = self.jobs(*[self.F] * 1200, self.S)
        assert many.status == "1,200 FAILURE, 1 SUCCESS"
        assert many.error.endswith("; and 1,195 more")

    def test_one_that_is_not_known_makes_all_unknown(self):
        known, odd = (AgentJobStatus(job(n), "7", State.RUNNING, known=bool(n)) for n in (1, 0))
        assert AgentJobs((known, known)).known
        assert not AgentJobs((known, odd)).known

    def test_what_is_told_of_one_is_not_told_of_many(self):
        times = {"created_at": datetime(2026, 1, 5, 8, tzinfo=UTC), "finished_at": datetime.now(UTC)}
        ended = AgentJobStatus(job(1), "SUCCESS", State.SUCCEEDED, request_id="r-1", **times)
        assert AgentJobs((ended,)).duration == ended.duration > 0
        assert AgentJobs((ended, ended)).duration is None
        assert AgentJobs((ended, ended)).request_id == "r-1"

    def test_as_a_dict_they_are_what_an_event_holds(self):
        jobs = self.jobs(self.S, self.F)
        assert jobs.as_dict() == {
            "status": "1 FAILURE, 1 SUCCESS",
            "jobs": [each.as_dict() for each in jobs.jobs],
        }

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
            (" application/json ;charset=utf-8", "7", 7),
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

    def test_of_a_number_that_json_has_not_the_word_is_told(self):
        with pytest.raises(ValueError, match=r"^-Infinity is no JSON$"):
            AgentOutput("key", "[1, -Infinity]", "application/json").parse()


class TestResults:
    OUTPUT: dict[str, Any] = {"key": "k", "value": "v", "data_type": "text/plain", "cost": 0.5}  # noqa: RUF012

    def of(self, statuses: dict[str, frozenset[str]] = {}, /, **fields: Any) -> Any:  # noqa: B006
        body = {"id": job(10).upper(), "status": 3, "result": [self.OUTPUT], "cost": 1} | fields
        found, _ = exchange(ask_results([job(10)], None, **statuses), lambda request: answer([body]))
        return found[job(10)]

    def test_are_read(self):
        result = self.of(
            agent_id=AGENT, agent_version_id=VERSION, input_tokens=7, output_tokens=None, inputs=[1]
        )
        assert result.outputs == (AgentOutput("k", "v", "text/plain", cost=0.5),)
        assert (result.status, result.cost, result.inputs) == ("SUCCESS", 1.0, (1,))
        assert (result.agent_id, result.agent_version_id) == (AGENT, VERSION)
        assert (result.input_tokens, result.output_tokens) == (7, None)
        assert result.corrected_outputs == ()

    def test_with_what_people_have_made_of_them(self):
        corrected = self.OUTPUT | {"value": "w", "description": "A value", "cost": None}
        result = self.of(corrected_outputs=[corrected])
        assert result.corrected_outputs == (AgentOutput("k", "w", "text/plain", "A value"),)

    def test_what_is_told_besides_does_no_harm_if_it_is_none(self):
        odd = {"agent_id": 7, "cost": "x", "inputs": {}, "input_tokens": True, "output_tokens": "7"}
        result = self.of(corrected_outputs="x", agent_version_id=[], **odd)
        assert result == AgentJobResult(
            job(10), "SUCCESS", State.SUCCEEDED, (AgentOutput("k", "v", "text/plain", cost=0.5),)
        )

    def test_a_status_that_the_connection_names_counts(self):
        names = frozenset({"9"})
        assert self.of({"failure_statuses": names}, status=9).state is State.FAILED
        assert self.of({"success_statuses": names}, status=9).outputs

    def test_are_long_and_may_be(self):
        def reply(request: Request) -> Response:
            assert request.max_body > agents.statuses_request([job(1)], None).max_body
            assert request.params == {"organization_id": ORGANIZATION}
            return answer([])

        exchange(ask_results([job(1)], ORGANIZATION), reply)

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
            "x" * 1000,
        ],
        ids=lambda value: str(value)[:40],
    )
    def test_a_success_without_outputs_as_documented_is_an_error(self, value):
        error = self.of(result=value)
        assert isinstance(error, RoeOutputError)
        assert error.job_id == job(10)
        assert len(str(error)) < 500
        assert "result must be a list of outputs" in str(error)

    @pytest.mark.parametrize(
        "fields", [{"status": 1}, {"status": None}, {"status": "3"}, {"id": job(2)}, {"status": 9}], ids=str
    )
    def test_one_that_does_not_say_that_its_job_has_ended_is_asked_for_again(self, fields):
        error = self.of(**fields)
        assert isinstance(error, RoeUnavailableError)
        assert error.request_id == "r-1"

    @pytest.mark.parametrize("code", [400, 403, 404])
    def test_a_refusal_is_narrowed_down_to_whom_it_is_about(self, code):
        def reply(request: Request) -> Response:
            ids = request.json["job_ids"]
            if job(7) in ids:
                return answer({"detail": "no"}, code)
            return answer([{"id": job_id, "status": 3, "result": []} for job_id in ids])

        found, _ = exchange(ask_results([job(number) for number in range(20)], None), reply)
        assert [n for n in range(20) if isinstance(found[job(n)], RoeError)] == [7]


class TestXCom:
    @pytest.mark.parametrize(
        ("value", "instead"),
        [
            (AgentJobStatus(job(1), "SUCCESS", State.SUCCEEDED), r"its as_dict\(\)"),
            (AgentJobResult(job(1), "SUCCESS", State.SUCCEEDED), "the values of its outputs"),
        ],
        ids=["status", "result"],
    )
    def test_what_the_next_task_could_not_read_is_refused_with_what_to_return(self, value, instead):
        with pytest.raises(RoeInputError, match=f"cannot be an XCom.*return {instead}"):
            XCom.serialize_value([value])


def test_cancelling_is_asked_for_by_post():
    request = agents.cancel_request(job(10).upper(), ORGANIZATION)
    assert (request.method, request.path) == ("POST", f"/v1/agents/jobs/{job(10)}/cancel/")
    assert request.params == {"organization_id": ORGANIZATION}
    agents.read_cancelled(request, Response(204, {}, b"", "r-1"))
    with pytest.raises(RoeNotFoundError, match=r"^Roe knows no such agent job"):
        agents.read_cancelled(request, answer({"detail": "Not found."}, 404))
