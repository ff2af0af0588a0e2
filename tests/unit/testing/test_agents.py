from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import UUID

import pytest

from airflow_provider_roe.testing import Fault, InputFile, JobPlan

AGENT_ID = "b4a1f3d6-07c5-4e92-8f1a-6d2e9c7053ab"
VERSION_ID = "e83c5f27-91bd-4d06-a74e-2f0b8c6d1953"
OTHER_ID = "00000000-0000-4000-8000-000000000000"

FOREVER = JobPlan(statuses=((1, math.inf),))
FORBIDDEN = (403, {"detail": "You do not have permission to perform this action."})
NOT_FOUND = (404, {"detail": "Not found."})
PDF = ("a.pdf", b"%PDF", "application/pdf")
A_PDF = InputFile(
    "a.pdf", "application/pdf", 4, "315d429b7714cedb6ad04ac31240145257692630457f3c88253c5beceac76027"
)


def told(response):
    return response.status_code, response.json()


class TestRun:
    def test_answers_the_job_s_id_as_a_bare_string(self, roe, client):
        response = client.run_agent({"document": "text"})
        assert response.status_code == 200
        assert response.headers["Content-Type"] == "application/json"
        job = roe.jobs[response.json()]
        assert job.id == str(UUID(job.id))
        assert (job.agent_id, job.version_id) == (AGENT_ID, VERSION_ID)
        assert (job.inputs, job.metadata, job.skip_cache) == ({"document": "text"}, {}, False)

    @pytest.mark.parametrize(
        "body",
        [
            {"json": {"text": "Größe & Co.", "empty": ""}},
            {"data": {"text": "Größe & Co.", "empty": ""}},
            {"files": {"text": (None, "Größe & Co."), "empty": (None, "")}},
        ],
        ids=["json", "urlencoded", "multipart"],
    )
    def test_takes_texts_in_any_of_three_forms(self, roe, client, body):
        job_id = client.run_agent(**{"json": None} | body).json()
        assert roe.jobs[job_id].inputs == {"text": "Größe & Co.", "empty": ""}

    def test_takes_files(self, roe, client):
        job_id = client.run_agent(data={"language": "en"}, files={"document": PDF}).json()
        assert roe.jobs[job_id].inputs == {"language": "en", "document": A_PDF}

    def test_takes_a_number_for_its_text(self, roe, client):
        assert roe.jobs[client.run_agent({"pages": 7, "share": 0.5}).json()].inputs == {
            "pages": "7",
            "share": "0.5",
        }

    def test_takes_no_body_for_no_inputs(self, roe, client):
        assert roe.jobs[client.run_agent().json()].inputs == {}

    def test_every_run_is_a_job_of_its_own(self, roe, client):
        assert client.run_agent({}).json() != client.run_agent({}).json()
        assert len(roe.jobs) == 2

    @pytest.mark.parametrize(
        ("body", "metadata"),
        [
            ({"json": {"metadata": {"run": "7"}}}, {"run": "7"}),
            ({"json": {"metadata": '{"run": "7"}'}}, {"run": "7"}),
            ({"json": {"metadata": None}}, {}),
            ({"data": {"metadata": '{"run": "7"}'}}, {"run": "7"}),
            ({"files": {"metadata": (None, '{"run": "7"}')}}, {"run": "7"}),
            ({"files": {"metadata": (None, "null")}}, {}),
        ],
    )
    def test_notes_metadata_which_is_no_input(self, roe, client, body, metadata):
        job = roe.jobs[client.run_agent(**{"json": None} | body).json()]
        assert (job.metadata, job.inputs) == (metadata, {})

    @pytest.mark.parametrize(
        ("body", "message"),
        [
            ({"document": "x", "metadata": "{"}, {"metadata": ["Invalid JSON string."]}),
            (
                {"document": "x", "metadata": "[]"},
                {"metadata": ['Expected a dictionary of items but got type "list".']},
            ),
            (
                {"document": "x", "metadata": 7},
                {"metadata": ['Expected a dictionary of items but got type "int".']},
            ),
            ({}, ["Missing input key document"]),
            ({"Document": "x"}, ["Missing input key document"]),
            ({"document": None}, {"document": ["This field may not be null."]}),
            ({"document": {"a": 1}}, {"document": ["Not a valid string."]}),
            ({"document": True}, {"document": ["Not a valid string."]}),
            (["x"], {"detail": "Invalid data. Expected a dictionary, but got list."}),
        ],
    )
    def test_refuses_an_invalid_body(self, roe, client, body, message):
        agent_id = roe.add_agent(required=["document"])
        assert told(client.run_agent(body, agent_id=agent_id)) == (400, message)
        assert not roe.jobs

    def test_refuses_what_is_not_json_though_it_says_so(self, client):
        response = client.run_agent(data="{", headers={"Content-Type": "application/json"})
        assert response.status_code == 400
        assert response.json()["detail"].startswith("JSON parse error - ")

    def test_refuses_a_body_of_another_kind(self, client):
        response = client.run_agent(data=b"x", headers={"Content-Type": "text/plain"})
        assert told(response) == (415, {"detail": 'Unsupported media type "text/plain" in request.'})

    def test_takes_a_version_of_the_agent(self, roe, client):
        versions = [OTHER_ID, VERSION_ID]
        agent_id = roe.add_agent(versions=versions)
        ran = [client.run_agent({}, agent_id=agent_id, version=version).json() for version in ["", *versions]]
        assert [roe.jobs[job_id].version_id for job_id in ran] == [VERSION_ID, OTHER_ID, VERSION_ID]

    @pytest.mark.parametrize(
        "where", [{"agent_id": OTHER_ID}, {"version": OTHER_ID}, {"agent_id": "7"}, {"version": "7"}]
    )
    def test_an_unknown_agent_or_version_is_404(self, client, where):
        assert told(client.run_agent({}, **where)) == NOT_FOUND


class TestRunMany:
    def test_answers_the_jobs_ids_in_order(self, roe, client):
        response = client.run_many([{"n": str(n)} for n in range(1000)])
        assert response.status_code == 200
        assert [roe.jobs[job_id].inputs for job_id in response.json()] == [{"n": str(n)} for n in range(1000)]

    def test_ignores_metadata(self, roe, client):
        body = {"inputs": [{"n": "1", "metadata": {"run": "7"}}, {"metadata": "{"}], "metadata": 7}
        ids = client.run_many(None, json=body).json()
        assert [(roe.jobs[job_id].inputs, roe.jobs[job_id].metadata) for job_id in ids] == [
            ({"n": "1"}, {}),
            ({}, {}),
        ]

    @pytest.mark.parametrize(
        ("body", "message"),
        [
            ({}, {"inputs": ["This field is required."]}),
            ({"inputs": {}}, {"inputs": ['Expected a list of items but got type "dict".']}),
            ({"inputs": []}, {"inputs": ["This list may not be empty."]}),
            (
                {"inputs": [{"d": ""}] * 1001},
                {"inputs": ["Ensure this field has no more than 1000 elements."]},
            ),
            (
                {"inputs": [{"d": ""}, "x"]},
                {"inputs": ["Invalid data. Expected a dictionary, but got str."]},
            ),
            ({"inputs": [{"d": ""}, {}]}, ["Missing input key d"]),
            ({"inputs": [{"d": ""}, {"d": []}]}, {"d": ["Not a valid string."]}),
            (
                {"inputs": [{"d": ""}, {"d": "", "simulate": "[]"}]},
                ["input simulate: expected an object, not []"],
            ),
        ],
    )
    def test_starts_none_where_one_is_refused(self, roe, client, body, message):
        agent_id = roe.add_agent(required=["d"])
        assert told(client.run_many(None, agent_id=agent_id, json=body)) == (400, message)
        assert not roe.jobs

    def test_takes_json_alone(self, client):
        assert client.run_many(None, json=None, data={"inputs": "[]"}).status_code == 415

    def test_an_unknown_agent_is_404(self, client):
        assert told(client.run_many([{}], agent_id=OTHER_ID)) == NOT_FOUND


class TestStatus:
    def test_has_the_documented_fields(self, roe, client):
        job_id = roe.run_agent()
        status = client.job_status(job_id).json()
        assert status.keys() == {"status", "timestamp"}
        assert status["status"] == 3
        assert abs(datetime.now(UTC).timestamp() - status["timestamp"]) < 60

    def test_follows_the_plan(self, roe, client, until):
        job_id = roe.run_agent(plan=JobPlan(((0, 0.5), (2, 0.5, "lost a worker"), (1, 0.5)), 4, "no text"))
        seen = []
        until(lambda: seen.append(client.job_status(job_id).json()) or seen[-1]["status"] == 4)
        states = [(status["status"], status.get("error_message")) for status in seen]
        changes = [states[0]] + [b for a, b in pairwise(states) if a != b]
        assert changes == [(0, None), (2, "lost a worker"), (1, None), (4, "no text")]

    def test_tells_the_time_of_the_last_change(self, roe, client):
        job = roe.jobs[roe.run_agent(plan=FOREVER)]
        assert client.job_status(job.id).json()["timestamp"] == job.created_at.timestamp()
        roe.finish_job(job.id, 3)
        assert client.job_status(job.id).json()["timestamp"] > job.created_at.timestamp()

    def test_of_an_unknown_job_is_404_and_of_a_foreign_one_403(self, roe, client):
        assert told(client.job_status(OTHER_ID)) == NOT_FOUND
        assert told(client.job_status(roe.add_foreign_job())) == FORBIDDEN

    def test_fields_can_be_made_wrong_or_missing(self, roe, client):
        plan = JobPlan((), fields={"status": "SUCCESS", "timestamp": JobPlan.MISSING})
        job_id = roe.run_agent(plan=plan)
        assert client.job_status(job_id).json() == {"status": "SUCCESS"}
        [item] = client.job_statuses([job_id]).json()
        assert item.keys() == {"id", "status", "created_at", "last_updated_at", "error_message"}
        assert item["status"] == "SUCCESS"


class TestStatuses:
    def test_has_the_documented_fields(self, roe, client):
        job_id = roe.run_agent(plan=JobPlan((), 4, "no text"))
        [item] = client.job_statuses([job_id]).json()
        moment = item["created_at"]
        assert item == {
            "id": job_id,
            "status": 4,
            "created_at": moment,
            "last_updated_at": moment,
            "timestamp": datetime.fromisoformat(moment).timestamp(),
            "error_message": "no text",
        }
        assert moment.endswith("Z")

    def test_come_in_the_order_in_which_they_were_asked_for(self, roe, client):
        ids = [roe.run_agent(plan=JobPlan((), ends_as=code)) for code in (3, 4, 5, 6)]
        asked = [ids[2], ids[0], ids[3], ids[1], ids[2]]
        assert [(item["id"], item["status"]) for item in client.job_statuses(asked).json()] == list(
            zip(asked, [5, 3, 6, 4, 5], strict=True)
        )

    def test_of_an_unknown_job_is_null(self, roe, client):
        known = roe.run_agent()
        first, second = client.job_statuses([OTHER_ID, known]).json()
        assert first.pop("id") == OTHER_ID
        assert set(first.values()) == {None}
        assert (first.keys() | {"id"}, second["id"]) == (second.keys(), known)

    def test_an_id_may_be_written_in_any_way(self, roe, client):
        job_id = roe.run_agent()
        [item] = client.job_statuses([UUID(job_id).hex.upper()]).json()
        assert (item["id"], item["status"]) == (job_id, 3)

    def test_the_servers_clock_can_be_ahead(self, roe, client):
        job_id = roe.run_agent(plan=JobPlan((), clock_skew=3600))
        [item] = client.job_statuses([job_id]).json()
        ahead = datetime.fromisoformat(item["last_updated_at"]) - datetime.now(UTC)
        assert timedelta(minutes=59) < ahead < timedelta(minutes=61)


class TestManyAtOnce:
    """What the calls for statuses and for results of many have in common."""

    @pytest.fixture(params=["job_statuses", "job_results"])
    def ask(self, request, client):
        return getattr(client, request.param)

    def test_a_thousand_are_answered(self, roe, ask):
        ids = [roe.run_agent() for _ in range(1000)]
        assert [item["id"] for item in ask(ids).json()] == ids

    @pytest.mark.parametrize(
        ("ids", "message"),
        [
            ([], "This list may not be empty."),
            ([OTHER_ID] * 1001, "Ensure this field has no more than 1000 elements."),
            ([OTHER_ID, "7"], "Must be a valid UUID."),
            ([OTHER_ID, 7], "Must be a valid UUID."),
            ([[OTHER_ID]], "Must be a valid UUID."),
            (OTHER_ID, 'Expected a list of items but got type "str".'),
        ],
    )
    def test_invalid_ids_are_400(self, ask, ids, message):
        assert told(ask(ids)) == (400, {"job_ids": [message]})

    def test_no_ids_are_400(self, ask):
        assert told(ask(None, json={})) == (400, {"job_ids": ["This field is required."]})

    def test_a_foreign_job_among_them_is_403_for_all(self, roe, ask):
        assert told(ask([roe.run_agent(), roe.add_foreign_job()])) == FORBIDDEN


class TestResult:
    def test_tells_the_job_and_its_outputs(self, roe, client):
        job_id = roe.run_agent({"language": "en", "document": A_PDF})
        result = client.job_result(job_id).json()
        [output] = result.pop("outputs")
        assert result == {
            "agent_id": AGENT_ID,
            "agent_version_id": VERSION_ID,
            "inputs": [
                {"key": "language", "description": "", "data_type": "text/plain", "value": "en"},
                {
                    "key": "document",
                    "description": "",
                    "data_type": "application/pdf",
                    "value": "a.pdf",
                    "file_name": "a.pdf",
                },
            ],
            "input_tokens": 100,
            "output_tokens": 50,
        }
        assert json.loads(output.pop("value")) == {
            "language": "en",
            "document": {
                "file_name": "a.pdf",
                "data_type": "application/pdf",
                "size": 4,
                "sha256": A_PDF.sha256,
            },
        }
        assert output == {"key": "inputs", "description": "", "data_type": "application/json", "cost": 0.01}

    def test_has_the_plan_s_outputs(self, roe, client):
        outputs = [
            {"key": "summary", "value": "All is well."},
            {"key": "fields", "value": {"total": 3}},
            {"key": "page", "value": "<p>", "data_type": "text/html", "description": "A page", "cost": 2},
        ]
        job_id = roe.run_agent(plan=JobPlan((), outputs=outputs, cost=0.5, input_tokens=None))
        result = client.job_result(job_id).json()
        assert (result["input_tokens"], result["output_tokens"]) == (None, 50)
        keys = ("key", "value", "data_type", "description", "cost")
        assert [tuple(output[key] for key in keys) for output in result["outputs"]] == [
            ("summary", "All is well.", "text/plain", "", 0.5),
            ("fields", '{"total": 3}', "application/json", "", 0.5),
            ("page", "<p>", "text/html", "A page", 2),
        ]

    @pytest.mark.parametrize(
        ("plan", "tokens"), [(FOREVER, None), (JobPlan((), 4, "no"), 100), (JobPlan((), 5), 100)]
    )
    def test_is_empty_without_success(self, roe, client, plan, tokens):
        job_id = roe.run_agent(plan=plan)
        result = client.job_result(job_id).json()
        assert (result["agent_id"], result["outputs"], result["input_tokens"]) == (AGENT_ID, [], tokens)
        [item] = client.job_results([job_id]).json()
        assert (item["agent_id"], item["result"], item["input_tokens"]) == (AGENT_ID, None, tokens)

    def test_of_an_unknown_job_is_404_and_of_a_foreign_one_403(self, roe, client):
        assert told(client.job_result(OTHER_ID)) == NOT_FOUND
        assert told(client.job_result(roe.add_foreign_job())) == FORBIDDEN


class TestResults:
    def test_tell_what_single_ones_do_with_status_and_cost(self, roe, client):
        job_id = roe.run_agent({"n": "1"}, JobPlan((), cost=0.25))
        [item] = client.job_results([job_id]).json()
        single = client.job_result(job_id).json()
        assert item == {
            "id": job_id,
            "status": 3,
            "cost": 0.25,
            "corrected_outputs": None,
            "result": single.pop("outputs"),
            **single,
        }

    def test_of_an_unknown_job_is_null(self, roe, client):
        known = roe.run_agent()
        first, second = client.job_results([OTHER_ID, known]).json()
        assert first.pop("id") == OTHER_ID
        assert set(first.values()) == {None}
        assert (first.keys() | {"id"}, second["id"]) == (second.keys(), known)


class TestCancel:
    def test_ends_the_job(self, roe, client):
        job_id = roe.run_agent(plan=FOREVER)
        response = client.cancel_job(job_id)
        assert (response.status_code, response.content) == (204, b"")
        assert client.job_status(job_id).json()["status"] == 5
        assert (roe.jobs[job_id].cancelled, roe.jobs[job_id].ended) == (True, True)

    def test_changes_nothing_afterwards(self, roe, client):
        job_id = roe.run_agent(plan=JobPlan((), 4, "no text"))
        assert client.cancel_job(job_id).status_code == 204
        job = roe.jobs[job_id]
        assert (job.status, job.error, job.cancelled) == (4, "no text", False)

    def test_of_an_unknown_job_is_404_and_of_a_foreign_one_403(self, roe, client):
        assert told(client.cancel_job(OTHER_ID)) == NOT_FOUND
        assert told(client.cancel_job(roe.add_foreign_job())) == FORBIDDEN


KEY = {"headers": {"Idempotency-Key": "k"}}


class TestIdempotency:
    @pytest.mark.parametrize(
        "run",
        [
            lambda client, n: client.run_agent({"n": n, "metadata": {"m": 1}}, **KEY),
            lambda client, n: client.run_agent(data={"n": n}, **KEY),
            lambda client, n: client.run_agent(data={"t": "x"}, files={"f": ("a", n)}, **KEY),
            lambda client, n: client.run_agent(files={"f": (n, "x")}, **KEY),
            lambda client, n: client.run_agent({"metadata": {"n": n}}, **KEY),
            lambda client, n: client.run_many([{"n": "0"}, {"n": n}], **KEY),
        ],
        ids=["json", "urlencoded", "contents of a file", "name of a file", "metadata", "many"],
    )
    def test_the_same_key_runs_once_and_for_nothing_else(self, roe, client, run):
        first, again, other = run(client, "1"), run(client, "1"), run(client, "2")
        started = len(roe.jobs)
        assert told(again) == told(first)
        assert told(other) == (400, ["This Idempotency-Key was used for a run with another body."])
        assert started == (1 if isinstance(first.json(), str) else 2)
        assert {job.idempotency_key for job in roe.jobs.values()} == {"k"}
        records = roe.requests[:2]
        assert records[0].job_ids == records[1].job_ids == list(roe.jobs)
        assert "multipart" not in records[0].headers["Content-Type"] or records[0].body != records[1].body

    def test_another_agent_or_version_is_another_body(self, roe, client):
        client.run_agent({}, **KEY)
        assert client.run_agent({}, version=VERSION_ID, **KEY).status_code == 400
        assert client.run_agent({}, agent_id=roe.add_agent(), **KEY).status_code == 400

    def test_other_keys_and_none_run_again(self, roe, client):
        for headers in ({}, {}, {"Idempotency-Key": "k"}, {"Idempotency-Key": "l"}):
            client.run_agent({}, headers=headers)
        assert [job.idempotency_key for job in roe.jobs.values()] == [None, None, "k", "l"]

    def test_a_refused_run_does_not_use_up_its_key(self, roe, client):
        roe.credits = 0
        assert client.run_agent({}, **KEY).status_code == 403
        roe.credits = 1
        assert client.run_agent({}, **KEY).json() == client.run_agent({}, **KEY).json()
        assert roe.credits == 0

    def test_a_lost_answer_is_had_again(self, roe, client):
        roe.add_fault(Fault(call="run_agent", status_code=502, executed=True, times=1))
        assert client.run_agent({}, **KEY).status_code == 502
        assert [client.run_agent({}, **KEY).json()] == list(roe.jobs)


class TestCaching:
    @pytest.fixture
    def run(self, roe, client):
        """Return a function that runs an agent that caches, and returns the job's status."""
        agent_id = roe.add_agent(caching=True)

        def run(inputs, **kwargs):
            job = roe.jobs[client.run_agent(inputs, agent_id=agent_id, **kwargs).json()]
            return job.status

        return run

    def test_a_job_like_one_that_succeeded_takes_its_outputs(self, roe, client, run):
        roe.job_plan = JobPlan((), outputs=[{"key": "a", "value": "first"}])
        assert run({"n": "1"}) == 3
        roe.job_plan = FOREVER
        assert run({"n": "1", "metadata": {"other": "metadata"}}) == 6
        outputs = [item["result"] for item in client.job_results(list(roe.jobs)).json()]
        assert outputs[0] == outputs[1]
        assert outputs[0][0]["value"] == "first"

    def test_other_inputs_run(self, run):
        assert [run({"n": "1"}), run({"n": "2"}), run({"n": "1"}), run({"n": "2"})] == [3, 3, 6, 6]

    @pytest.mark.parametrize("end", [JobPlan((), 4), JobPlan((), 5), FOREVER])
    def test_a_job_without_success_is_no_cache(self, roe, run, end):
        roe.job_plan = end
        run({})
        roe.job_plan = JobPlan(())
        assert run({}) == 3

    def test_a_client_can_do_without(self, roe, run):
        assert [run({}), run({}, headers={"X-Skip-Cache": "true"}), run({})] == [3, 3, 6]
        assert [job.skip_cache for job in roe.jobs.values()] == [False, True, False]

    def test_an_agent_does_not_cache_by_default(self, roe, client):
        for _ in range(2):
            client.run_agent({})
        assert [job.status for job in roe.jobs.values()] == [3, 3]


class TestCredits:
    def test_each_job_takes_one_until_none_is_left(self, roe, client):
        roe.credits = 4
        assert client.run_agent({}).status_code == 200
        assert client.run_many([{}, {}]).status_code == 200
        refused = (403, {"detail": "Insufficient credits to start a new job"})
        assert told(client.run_many([{}, {}])) == refused
        assert (roe.credits, len(roe.jobs)) == (1, 3)
        assert client.run_agent({}).status_code == 200
        assert told(client.run_agent({})) == refused

    def test_what_starts_no_job_takes_none(self, roe, client):
        roe.credits = 1
        client.run_agent({"metadata": "{"})
        client.run_agent({}, agent_id=OTHER_ID)
        roe.run_agent()
        assert roe.credits == 1


class TestSimulateInput:
    def test_shapes_the_job(self, roe, client):
        text = json.dumps(
            {"ends_as": 4, "error": "no text", "faults": [{"call": "job_status", "status_code": 503}]}
        )
        shaped, plain = client.run_many([{"simulate": text}, {}]).json()
        assert (roe.jobs[shaped].status, roe.jobs[shaped].error) == (4, "no text")
        assert [client.job_status(job_id).status_code for job_id in (shaped, plain)] == [503, 200]

    def test_goes_before_the_agent_s_plan_which_goes_before_the_simulator_s(self, roe, client):
        agent_id = roe.add_agent(plan=JobPlan((), 4, "agent"))
        roe.job_plan = JobPlan((), 5)
        for inputs in ({}, {"simulate": '{"error": "input"}'}):
            client.run_agent(inputs, agent_id=agent_id)
        client.run_agent({})
        assert [(job.status, job.error) for job in roe.jobs.values()] == [
            (4, "agent"),
            (4, "input"),
            (5, None),
        ]

    def test_that_is_malformed_is_told(self, client):
        code, [message] = told(client.run_agent({"simulate": '{"end_as": 4}'}))
        assert code == 400
        assert message.startswith("input simulate: unknown key 'end_as', expected one of clock_skew, cost, ")


class TestAccess:
    CALLS = (
        ("POST", f"run/{AGENT_ID}/async/"),
        ("POST", f"run/{AGENT_ID}/versions/{VERSION_ID}/async/"),
        ("POST", f"run/{AGENT_ID}/async/many/"),
        ("GET", "jobs/{}/status/"),
        ("POST", "jobs/statuses/"),
        ("GET", "jobs/{}/result/"),
        ("POST", "jobs/results/"),
        ("POST", "jobs/{}/cancel/"),
    )

    @pytest.fixture(params=CALLS, ids=[path for _, path in CALLS])
    def call(self, request, roe, client):
        """Return a function that makes a call."""
        method, path = request.param
        job_id = roe.run_agent()
        body = {"job_ids": [job_id]} if "jobs" in path else {"inputs": [{}]} if "many" in path else {}
        return lambda **kwargs: client.agents(method, path.format(job_id), **{"json": body} | kwargs)

    def test_a_wrong_key_is_401(self, call):
        response = call(headers={"Authorization": "Bearer wrong"})
        assert told(response) == (401, {"detail": "Invalid API key."})

    def test_another_organization_is_403(self, call):
        assert told(call(params={"organization_id": OTHER_ID})) == FORBIDDEN

    def test_an_organization_is_a_uuid(self, call):
        assert told(call(params={"organization_id": "acme"})) == (
            400,
            {"organization_id": "Must be a valid UUID."},
        )

    def test_running_needs_the_organization_and_following_does_not(self, roe, call):
        response = call(params={})
        if "/run/" in roe.requests[0].path:
            assert told(response) == (400, {"organization_id": "This field is required."})
        else:
            assert response.ok

    def test_a_wrong_method_is_405(self, roe, client, call):
        call()
        response = client.delete(roe.url + roe.requests[0].path)
        assert response.status_code == 405
        assert response.headers["Allow"] == roe.requests[0].method
        assert response.json() == {"detail": 'Method "DELETE" not allowed.'}


@pytest.mark.parametrize(
    "path",
    [
        "",
        f"{AGENT_ID}/",
        f"run/{AGENT_ID}/",
        f"run/{AGENT_ID}/async",
        f"run/{AGENT_ID}/versions/{VERSION_ID}/",
        f"run/{AGENT_ID}/versions/{VERSION_ID}/async/many/",
        f"run/{AGENT_ID.upper()}/async/",
        "jobs/7/status/",
        f"jobs/{OTHER_ID}/",
        f"jobs/{OTHER_ID}/delete-data/",
    ],
)
def test_an_unknown_route_below_agents_is_404_as_json(roe, client, path):
    assert told(client.agents("GET", path)) == NOT_FOUND
    assert roe.requests[0].call == "other"


class TestRecording:
    def test_a_run_is_recorded_with_the_job_that_it_created(self, roe, client):
        job_id = client.run_agent({"n": "1"}).json()
        [record] = roe.requests_of("run_agent")
        assert record.path == f"/v1/agents/run/{AGENT_ID}/async/"
        assert json.loads(record.body) == {"n": "1"}
        assert (record.job_id, record.job_ids, record.form) == (job_id, [job_id], None)
        assert (record.status_code, record.query_id) == (200, None)

    def test_a_form_is_recorded_though_its_body_is_cut(self, roe, client):
        text = "long " * 2000
        client.run_agent(data={"text": text}, files={"document": PDF})
        client.run_agent(data={"text": text})
        multipart, urlencoded = roe.requests
        assert (len(multipart.body), multipart.form) == (4096, {"text": text, "document": A_PDF})
        assert (len(urlencoded.body), urlencoded.form) == (10_005, {"text": text})

    def test_requests_can_be_asked_for_by_call_and_job(self, roe, client):
        first, second = client.run_many([{}, {}]).json()
        for call in (client.job_status, client.job_result, client.cancel_job):
            call(first)
        client.job_statuses([second])
        client.job_results([first, second])
        calls = ["run_agent_many", "job_status", "job_result", "cancel_job", "job_statuses", "job_results"]
        assert [record.call for record in roe.requests] == calls
        assert [len(roe.requests_of(call, job_id=first)) for call in calls] == [1, 1, 1, 1, 0, 1]
        assert [len(roe.requests_of(call, job_id=second)) for call in calls] == [1, 0, 0, 0, 1, 1]
        assert [record.job_id for record in roe.requests] == [None, first, first, first, None, None]
        assert roe.requests[-1].job_ids == [first, second]


class TestAtTheServer:
    def test_a_job_can_be_created_without_a_request(self, roe):
        agent_id = roe.add_agent(OTHER_ID, versions=[VERSION_ID])
        job_id = roe.run_agent({"n": "1"}, FOREVER, agent_id=agent_id, metadata={"run": 7})
        job = roe.jobs[job_id]
        assert (job.agent_id, job.version_id, job.inputs) == (OTHER_ID, VERSION_ID, {"n": "1"})
        assert (job.plan, job.metadata, job.status, job.ended) == (FOREVER, {"run": 7}, 1, False)

    def test_a_job_can_be_ended_at_any_moment(self, roe):
        job = roe.jobs[roe.run_agent(plan=FOREVER)]
        roe.finish_job(job.id, 4, "no text")
        assert (job.status, job.error, job.ended, job.cancelled) == (4, "no text", True, False)

    def test_an_agent_s_ids_are_uuids(self, roe):
        assert UUID(roe.add_agent()) != UUID(roe.add_agent())
        for wrong in ({"agent_id": "7"}, {"versions": ["7"]}):
            with pytest.raises(ValueError, match="UUID"):
                roe.add_agent(**wrong)
