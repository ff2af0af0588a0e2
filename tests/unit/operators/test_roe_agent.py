from __future__ import annotations

import json
import math
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from airflow import __version__ as airflow_version
from airflow.providers.common.compat.sdk import AirflowTaskTimeout, ObjectStoragePath, TaskDeferred
from packaging.version import Version

from airflow_provider_roe.exceptions import (
    RoeAgentJobFailedError,
    RoeError,
    RoeInputError,
    RoeNotFoundError,
    RoeOutputError,
    RoeRequestError,
    RoeTimeoutError,
    RoeUnavailableError,
)
from airflow_provider_roe.operators import roe_agent as module
from airflow_provider_roe.operators.roe_agent import RoeAgentOperator
from airflow_provider_roe.testing import Fault, JobPlan, RoeSimulator
from airflow_provider_roe.waiting import cancelling, task
from dev.patience import patient
from tests.unit.operators.tries import TaskInstance, end, next_try

if TYPE_CHECKING:
    from collections.abc import Callable

ENDED = JobPlan(statuses=())
RUNS_ON = JobPlan(statuses=[(1, math.inf)])
NOT_JSON = [{"key": "answer", "value": "{", "data_type": "application/json"}]


@pytest.fixture
def roe(roe: RoeSimulator, connect: Callable[..., None]) -> RoeSimulator:
    """Let jobs have succeeded as soon as they are started."""
    roe.job_plan = ENDED
    connect(roe)
    return roe


@pytest.fixture
def new(roe: RoeSimulator) -> Callable[..., RoeAgentOperator]:
    """Return a function that makes an operator for the simulator's agent."""

    def new(inputs: Any = None, **arguments: Any) -> RoeAgentOperator:
        defaults = {"agent_id": roe.agent_id, "poll_interval": 0.05, "timeout": 30}
        given = {"document": "a"} if inputs is None else inputs
        return RoeAgentOperator(task_id="run", inputs=given, **defaults | arguments)

    return new


def many(*names: str, **more: str) -> list[dict[str, str]]:
    return [{"document": name} | more for name in names]


def shaped(name: str, **plan: Any) -> dict[str, str]:
    """Return the inputs of a job that goes as a plan says."""
    return {"document": name, "simulate": json.dumps(plan)}


def documents(roe: RoeSimulator) -> list[Any]:
    """Return the document of each job that was started, in their order."""
    return [job.inputs["document"] for job in roe.jobs.values()]


class TestArguments:
    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ({"result": "rows"}, "result must be 'status' or 'outputs', not 'rows'"),
            ({"max_outputs": -1}, "max_outputs must be a whole number, 0 or more, not -1"),
            ({"max_failed": 0.5}, "max_failed must be a whole number"),
            ({"max_failed": True}, "max_failed"),
            ({"timeout": "5"}, "timeout must be .* not '5'"),
            ({"result": "outputs", "output_path": "/tmp/x.jsonl"}, "exclude each other"),
            ({"result": "outputs", "wait_for_completion": False}, "leaves no outputs"),
            ({"output_path": "/tmp/x.jsonl", "wait_for_completion": False}, "leaves no outputs"),
        ],
        ids=str,
    )
    def test_wrong_ones_are_refused_when_the_dag_is_parsed(self, new, arguments, words):
        with pytest.raises(RoeInputError, match=words):
            new(**arguments)

    @pytest.mark.parametrize(
        ("inputs", "words"),
        [
            ([], r"^inputs must be a dict, or a list of dicts with at least one, not \[\]"),
            ({}, r"^inputs must be a dict from input key to value, not \{\}"),
            ("rendered", r"^inputs must be a dict, or a list of dicts .* not 'rendered'"),
            ([{"document": "a"}, None], r"^inputs\[1\] must be a dict .* not None"),
            ([{"document": "a"}, {"document": None}], r"^inputs\[1\]\['document'\] is None"),
            ({"document": math.nan}, r"^inputs\['document'\] must be a text, a number, .* not nan"),
            ({"metadata": "x"}, r"^inputs\['metadata'\]: Roe keeps this word"),
            ({1: "x"}, r"^inputs\[1\]: the key of an input must be a text"),
        ],
        ids=str,
    )
    def test_inputs_that_are_none_are_refused_before_anything_is_started(
        self, roe, new, context, inputs, words
    ):
        with pytest.raises(RoeInputError, match=words):
            new(inputs).execute(context)
        assert roe.requests == []

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ({"files": ["document"]}, r"^inputs\[1\]\['document'\]: there is no file '/nowhere'"),
            ({"files": ["scan"]}, r"^files names 'scan', which inputs\[0\] lacks"),
            ({"files": "document"}, "^files must be a list of keys of inputs, not 'document'"),
            ({"output_path": "/tmp/x.csv"}, r"^output_path must end in \.jsonl, \.ndjson or \.parquet, not"),
            ({"max_outputs": 1}, r"^2 are more than the max_outputs=1 that a task may return: .*output_path"),
        ],
        ids=str,
    )
    def test_so_are_files_that_are_not_there_and_places_that_cannot_be(
        self, roe, new, context, tmp_path, arguments, words
    ):
        there = tmp_path / "scan.pdf"
        there.write_bytes(b"x")
        with pytest.raises(RoeInputError, match=words):
            new(many(str(there), "/nowhere"), **arguments).execute(context)
        assert roe.requests == []

    def test_an_agent_that_is_no_uuid_and_one_that_roe_does_not_know(self, new, context):
        with pytest.raises(RoeInputError, match=r"agent_id must be a UUID .* not 'my-agent'"):
            new(agent_id="my-agent").execute(context)
        with pytest.raises(RoeNotFoundError, match=r"^Roe knows no such agent, or version .*check agent_id"):
            new(agent_id=str(uuid4())).execute(context)

    @pytest.mark.parametrize("name", ["version_id", "organization_id", "output_path"])
    def test_a_template_that_renders_to_nothing_is_refused(self, roe, new, context, name):
        operator = new(**{name: "{{ nothing }}"})
        setattr(operator, name, " ")
        with pytest.raises(RoeInputError, match=f"^{name} was given, but is ' ' once"):
            operator.execute(context)
        assert roe.requests == []

    def test_a_mapped_task_is_made_of_it(self):
        mapped = RoeAgentOperator.partial(task_id="run", agent_id="x").expand(inputs=[{"a": "b"}])
        assert {"agent_id", "inputs", "files", "output_path"} <= set(mapped.template_fields)


class TestWhatItReturns:
    def test_how_the_job_ended(self, roe, new, context):
        ended = new().execute(context)
        [job] = roe.jobs.values()
        assert (ended["job_id"], ended["status"], ended["error"]) == (job.id, "SUCCESS", None)
        assert ended["duration"] == 0.0
        assert context["ti"].xcoms["job_ids"] == [job.id]

    def test_how_each_ended_in_the_order_of_the_inputs(self, roe, new, context):
        ended = new(many("a", "b", "c")).execute(context)
        assert [roe.jobs[job["job_id"]].inputs["document"] for job in ended] == ["a", "b", "c"]

    def test_outputs(self, new, context):
        outputs = [{"key": "answer", "value": {"n": 1}}, {"key": "text", "value": "2"}]
        assert new(shaped("a", statuses=[], outputs=outputs), result="outputs").execute(context) == {
            "answer": {"n": 1},
            "text": "2",
        }
        assert new(many("a", "b"), result="outputs").execute(context) == [
            {"inputs": {"document": "a"}},
            {"inputs": {"document": "b"}},
        ]

    def test_none_for_one_that_failed_among_those_that_may(self, new, context):
        inputs = [*many("a"), shaped("b", statuses=[], ends_as=4)]
        returned = new(inputs, result="outputs", max_failed=1).execute(context)
        assert returned == [{"inputs": {"document": "a"}}, None]

    def test_more_outputs_than_may_be_returned_are_an_error_that_names_the_way_out(self, new, context):
        outputs = [{"key": str(key), "value": "x"} for key in range(3)]
        with pytest.raises(RoeInputError, match=r"^3 are more than the max_outputs=2 .*output_path"):
            new(shaped("a", statuses=[], outputs=outputs), result="outputs", max_outputs=2).execute(context)

    def test_a_file_of_outputs(self, new, context, tmp_path):
        path = tmp_path / "outputs.jsonl"
        returned = new(many("a", "b"), output_path=str(path)).execute(context)
        assert returned == {"path": str(path), "row_count": 2}
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        assert [line["outputs"]["inputs"]["document"] for line in lines] == ["a", "b"]

    def test_ids_where_it_does_not_wait(self, roe, new, context):
        roe.job_plan = RUNS_ON
        job_id = new(wait_for_completion=False).execute(context)
        job_ids = new(many("a", "b"), wait_for_completion=False).execute(context)
        assert [job_id, *job_ids] == list(roe.jobs)


class TestHowItRuns:
    def test_files_are_sent_as_such(self, roe, new, context, tmp_path):
        scan = tmp_path / "scan.pdf"
        scan.write_bytes(b"\r\n--x\r\n" * 50_000)
        inputs = [{"document": str(scan)}, {"document": ObjectStoragePath(f"file://{scan}"), "n": 7}]
        new(inputs[0], files=["document"]).execute(context)
        new(inputs[1]).execute(next_try(context))
        one, other = (job.inputs for job in roe.jobs.values())
        assert (one["document"].size, one["document"].file_name) == (350_000, "scan.pdf")
        assert other == {"document": one["document"], "n": "7"}

    def test_version_metadata_and_cache(self, roe, new, context):
        agent_id = roe.add_agent(versions=["11111111-2222-4333-8444-555555555555"])
        version_id = roe.agents[agent_id].versions[0]
        new(
            many("a", "b"), agent_id=agent_id, version_id=version_id, metadata={"day": 1}, skip_cache=True
        ).execute(context)
        for job in roe.jobs.values():
            assert (job.version_id, job.metadata, job.skip_cache) == (version_id, {"day": 1}, True)
        assert sorted(documents(roe)) == ["a", "b"]

    def test_many_inputs_are_one_request_and_so_are_their_statuses(self, roe, new, context):
        new(many(*map(str, range(999)))).execute(context)
        assert [request.call for request in roe.requests] == ["run_agent_many", "job_statuses"]

    def test_a_lost_answer_starts_no_second_job(self, roe, connect, new, context):
        connect(roe, retry_window=30)
        for call in ("run_agent", "run_agent_many"):
            roe.add_fault(Fault(call=call, reset="body", times=1))
        new().execute(context)
        new(many("b", "c")).execute(next_try(context))
        assert documents(roe) == ["a", "b", "c"]
        assert len(roe.requests_of("run_agent")) == len(roe.requests_of("run_agent_many")) == 2

    def test_tasks_of_a_map_share_no_job(self, roe, new):
        for map_index in range(2):
            new().execute({"ti": TaskInstance(map_index)})
        assert documents(roe) == ["a", "a"]

    def test_other_work_of_the_same_try_is_other_jobs(self, roe, new):
        for day in range(2):
            new(metadata={"day": day}).execute({"ti": TaskInstance()})
        assert [job.metadata for job in roe.jobs.values()] == [{"day": 0}, {"day": 1}]

    def test_the_result_of_what_the_connection_calls_a_success_is_read(self, roe, connect, new, context):
        connect(roe, success_statuses=["9"])
        with pytest.raises(RoeOutputError, match="result must be a list of outputs"):
            new(shaped("a", statuses=[], ends_as=9), result="outputs").execute(context)

    def test_failure_is_told_by_the_index_of_the_input(self, new, context):
        inputs = [*many("a"), shaped("b", statuses=[], ends_as=4, error="page 3 is blank")]
        with pytest.raises(
            RoeAgentJobFailedError,
            match=r"^2 agent jobs ended as 1 FAILURE, 1 SUCCESS: index 1, job \S+ .*blank",
        ):
            new(inputs).execute(context)

    def test_it_waits_for_all_before_it_fails(self, roe, new, context):
        inputs = [shaped("a", statuses=[], ends_as=4), shaped("b", statuses=[[1, 0.3]])]
        with pytest.raises(RoeAgentJobFailedError):
            new(inputs).execute(context)
        assert all(job.ended for job in roe.jobs.values())

    @pytest.mark.parametrize(("max_failed", "fails"), [(0, True), (1, True), (2, False), (3, False)])
    def test_so_many_may_fail(self, new, context, max_failed, fails):
        inputs = [*many("a"), *(shaped(each, statuses=[], ends_as=4) for each in "bc")]
        operator = new(inputs, max_failed=max_failed)
        if fails:
            with pytest.raises(RoeAgentJobFailedError):
                operator.execute(context)
        else:
            assert [job["status"] for job in operator.execute(context)] == ["SUCCESS", "FAILURE", "FAILURE"]

    def test_credits_that_run_out_in_the_middle_are_told_with_what_goes_on(self, roe, new, context):
        roe.credits = 3
        with pytest.raises(
            RoeRequestError,
            match=r"^3 of 9 inputs were accepted, and their jobs go on\. inputs\[\d\]: .* is out of credits",
        ):
            new(many(*"abcdefghi"), metadata={"a": "b"}).execute(context)
        assert len(roe.jobs) == 3

    def test_an_input_that_roe_refuses_is_named(self, roe, new, context):
        agent_id = roe.add_agent(required=["document"])
        inputs = [*many(*"abc"), {"text": "no document"}, *many("e")]
        with pytest.raises(RoeRequestError, match=r"inputs\[3\]: .*Missing input key document"):
            new(inputs, agent_id=agent_id).execute(context)
        assert documents(roe) == ["a", "b", "c"]


class TestDeferral:
    def deferred(self, operator: RoeAgentOperator, context: Any) -> TaskDeferred:
        with pytest.raises(TaskDeferred) as deferral:
            operator.execute(context)
        return deferral.value

    def test_it_goes_on_with_the_jobs_of_the_process_before(self, roe, new, context):
        roe.job_plan = RUNS_ON
        arguments = {"deferrable": True, "defer_after": 0, "result": "outputs"}
        deferral = self.deferred(new(many("a", "b"), **arguments), context)
        kwargs = json.loads(json.dumps(deferral.trigger.serialize()[1]))
        assert kwargs["job_ids"] == list(roe.jobs)
        assert kwargs["cancel_on_kill"]
        for job_id in roe.jobs:
            roe.finish_job(job_id, 3)
        jobs = [{"job_id": job_id, "status": "SUCCESS", "error": None} for job_id in roe.jobs]
        event = {"outcome": "success", "ended": {"status": "2 SUCCESS", "jobs": jobs}}
        later = new(many("a", "b"), **arguments)
        returned = later.resume_execution(deferral.method_name, {"event": event}, context)
        assert [outputs["inputs"]["document"] for outputs in returned] == ["a", "b"]
        assert len(roe.jobs) == 2

    def test_a_template_that_renders_to_nothing_afterwards_is_refused(self, new, context, tmp_path):
        operator = new(output_path=str(tmp_path / "o.jsonl"))
        operator.output_path = None
        event = {"outcome": "success", "ended": {"status": "SUCCESS", "jobs": []}}
        with pytest.raises(RoeInputError, match=r"^output_path was given, but is None once"):
            operator.resume_execution("execute_complete", {"event": event}, context)

    def test_one_that_broke_off_looks_at_the_jobs_that_it_was_for(self, roe, new, context):
        deferral = self.deferred(new(shaped("a", statuses=[[1, 3]]), deferrable=True, defer_after=0), context)
        [job_id] = deferral.trigger.job_ids
        roe.finish_job(job_id, 3)
        ended = new(deferrable=True).resume_execution("__fail__", {"error": "Trigger failure"}, context)
        assert (ended["job_id"], ended["status"]) == (job_id, "SUCCESS")
        assert list(roe.jobs) == [job_id]

    def test_one_that_broke_off_while_they_run_is_an_error_that_leaves_them_alone(self, roe, new, context):
        roe.job_plan = RUNS_ON
        self.deferred(new(deferrable=True, defer_after=0), context)
        with pytest.raises(RoeError, match="The trigger of this wait failed"):
            new(deferrable=True).resume_execution("__fail__", {"error": "Trigger failure"}, context)
        assert not any(job.cancelled for job in roe.jobs.values())

    def test_the_event_of_a_time_out_cancels_the_jobs_of_the_process_before(self, roe, new, context):
        roe.job_plan = RUNS_ON
        self.deferred(new(many("a", "b"), deferrable=True, defer_after=0), context)
        event = {"outcome": "timeout", "message": "too long"}
        with pytest.raises(RoeTimeoutError, match=r"^too long$"):
            new(many("a", "b")).resume_execution("execute_complete", {"event": event}, context)
        assert [job.cancelled for job in roe.jobs.values()] == [True, True]

    def test_the_task_s_execution_timeout_cancels_them_too(self, roe, new, context):
        roe.job_plan = RUNS_ON
        limit = timedelta(seconds=60)
        self.deferred(new(deferrable=True, defer_after=0, execution_timeout=limit), context)
        context["ti"].start_date -= limit
        with pytest.raises(AirflowTaskTimeout, match="execution_timeout of 0:01:00 is over"):
            new(execution_timeout=limit).resume_execution("__fail__", {"error": "Trigger timeout"}, context)
        assert [job.cancelled for job in roe.jobs.values()] == [True]

    def test_so_it_does_during_the_last_look(self, roe, new, context, monkeypatch):
        roe.job_plan = RUNS_ON
        self.deferred(new(deferrable=True, defer_after=0), context)

        def over(*_: Any) -> None:
            raise AirflowTaskTimeout

        monkeypatch.setattr(task.WaitingTask, "_poll", over)
        with pytest.raises(AirflowTaskTimeout):
            new().resume_execution("__fail__", {"error": "Trigger failure"}, context)
        assert [job.cancelled for job in roe.jobs.values()] == [True]

    @pytest.mark.parametrize(
        "ended", [{}, {"status": "SUCCESS"}, {"status": "SUCCESS", "jobs": None}], ids=str
    )
    def test_an_event_that_names_no_job_is_no_success(self, new, context, ended):
        operator = new()
        with pytest.raises(RoeError, match=r"an event that is not understood"):
            operator.resume_execution(
                "execute_complete", {"event": {"outcome": "success", "ended": ended}}, context
            )

    @pytest.mark.parametrize(("cancel", "cancelled"), [(True, True), (False, False)])
    def test_a_time_out_cancels_unless_told_not_to(self, roe, new, context, cancel, cancelled):
        roe.job_plan = RUNS_ON
        operator = new(many("a", "b"), timeout=0.2, cancel_on_kill=cancel)
        with pytest.raises(
            RoeTimeoutError, match=r"^2 agent jobs are still 2 STARTED after .* timeout is 0\.2 s"
        ):
            operator.execute(context)
        assert [job.cancelled for job in roe.jobs.values()] == [cancelled] * 2


class TestBeingKilled:
    def test_what_still_runs_is_cancelled_and_told(self, roe, new, context, capsys):
        roe.job_plan = RUNS_ON
        inputs = [*many("a", "b"), shaped("c", statuses=[])]
        operator = new(inputs, wait_for_completion=False)
        operator.execute(context)
        operator.on_kill()
        assert [job.cancelled for job in roe.jobs.values()] == [True, True, False]
        assert "Cancelled 2 of 2 agent jobs that still ran" in capsys.readouterr().out

    def test_what_could_not_be_is_told(self, roe, new, context, capsys):
        roe.job_plan = RUNS_ON
        operator = new(wait_for_completion=False)
        [job_id] = [operator.execute(context)]
        roe.add_fault(Fault(call="cancel_job", status_code=400, body={"detail": "too late"}))
        operator.on_kill()
        told = capsys.readouterr().out
        assert f"Agent job {job_id} could not be cancelled, and goes on at Roe" in told
        assert "too late" in told

    def test_where_their_statuses_are_not_known_all_are_cancelled(self, roe, new, context):
        roe.job_plan = RUNS_ON
        operator = new(many("a", "b"), wait_for_completion=False)
        operator.execute(context)
        roe.add_fault(Fault(call="job_statuses", status_code=400))
        roe.add_fault(Fault(call="job_status", status_code=400))
        operator.on_kill()
        assert all(job.cancelled for job in roe.jobs.values())

    def test_they_go_on_where_they_shall(self, roe, new, context, capsys):
        roe.job_plan = RUNS_ON
        operator = new(wait_for_completion=False, cancel_on_kill=False)
        operator.execute(context)
        operator.on_kill()
        assert not any(job.cancelled for job in roe.jobs.values())
        assert "goes on at Roe" in capsys.readouterr().out

    def test_many_are_told_by_the_first_ten(self, roe, new, context, capsys):
        roe.job_plan = RUNS_ON
        operator = new(many(*map(str, range(11))), wait_for_completion=False)
        job_ids = operator.execute(context)
        operator.on_kill()
        told = capsys.readouterr().out
        assert f"Cancelled 11 of 11 agent jobs that still ran: {', '.join(job_ids[:10])}, …" in told
        assert job_ids[10] not in told

    def test_that_all_have_ended_is_told(self, roe, new, context, capsys):
        operator = new()
        operator.execute(context)
        operator.on_kill()
        assert "There is no agent job to cancel: all have ended." in capsys.readouterr().out
        assert roe.requests_of("cancel_job") == []

    def test_it_gives_up_in_time(self, roe, connect, new, context, capsys, monkeypatch):
        roe.job_plan = RUNS_ON
        connect(roe, retry_window=60)
        operator = new(wait_for_completion=False)
        job_id = operator.execute(context)
        roe.add_fault(Fault(call="cancel_job", status_code=503))
        monkeypatch.setattr(cancelling, "CANCEL_WITHIN", 0.5)
        began = time.monotonic()
        operator.on_kill()
        assert time.monotonic() - began < patient(20)
        assert f"Agent job {job_id} could not be cancelled" in capsys.readouterr().out

    def test_it_asks_with_a_hook_that_the_task_does_not_use(self, roe, new, context):
        roe.job_plan = RUNS_ON
        operator = new(wait_for_completion=False)
        operator.execute(context)
        operator.hook.client = None  # as good as: in use, in the midst of a call
        operator.on_kill()
        assert all(job.cancelled for job in roe.jobs.values())

    def test_before_there_is_a_job_nothing_happens(self, roe, new):
        new().on_kill()
        assert roe.requests == []

    def test_no_more_jobs_are_started(self, roe, new, context, tmp_path):
        scan = tmp_path / "scan.pdf"
        scan.write_bytes(b"x")
        operator = new(many(*[str(scan)] * 100), files=["document"])
        roe.job_plan = RUNS_ON
        context["ti"].xcom_push = lambda key, value: pytest.fail("it went on")
        operator._is_killed = True
        with pytest.raises(RoeError, match="killed while it started its jobs"):
            operator.execute(context)
        assert len(roe.jobs) < 50


class TestNextTry:
    def test_it_attaches_to_jobs_that_run_or_have_succeeded(self, roe, new, context):
        roe.job_plan = RUNS_ON
        first = new(many("a", "b"), wait_for_completion=False).execute(context)
        roe.finish_job(first[0], 3)
        roe.job_plan = ENDED
        second = new(many("a", "b"), wait_for_completion=False).execute(next_try(context))
        assert second == first

    @pytest.mark.parametrize("code", [4, 5])
    def test_it_runs_only_inputs_that_failed(self, roe, new, context, code):
        inputs = many("a", "b", "c")
        first = new(inputs, wait_for_completion=False).execute(context)
        roe.finish_job(first[1], code)
        second = new(inputs).execute(next_try(context))
        assert [job["job_id"] for job in second][::2] == first[::2]
        assert documents(roe) == ["a", "b", "c", "b"]

    def test_each_try_anew_for_as_long_as_they_fail(self, roe, new, context):
        for _ in range(4):
            with pytest.raises(RoeAgentJobFailedError):
                new(shaped("a", statuses=[], ends_as=4)).execute(context)
            context = next_try(context)
        assert documents(roe) == ["a"] * 4

    def test_it_starts_only_what_roe_had_not_accepted(self, roe, new, context):
        roe.credits = 3
        inputs = many(*"abcdefghi")
        with pytest.raises(RoeRequestError):
            new(inputs, metadata={"a": "b"}).execute(context)
        roe.credits = None
        roe.idempotent_runs.clear()  # a Roe that heeds no keys
        new(inputs, metadata={"a": "b"}).execute(next_try(context))
        assert sorted(documents(roe)) == list("abcdefghi")

    @pytest.mark.parametrize("call", ["run_agent", "run_agent_many"])
    def test_jobs_whose_answer_was_lost_for_good_are_found_again(self, roe, new, context, call):
        inputs = many("a") if call == "run_agent" else many("a", "b", "c")
        roe.add_fault(Fault(call=call, reset="body", times=1))
        with pytest.raises(RoeUnavailableError):
            new(inputs).execute(context)
        started = list(roe.jobs)
        assert len(started) == len(inputs)
        ended = new(inputs).execute(next_try(context))
        assert [job["job_id"] for job in ended] == list(roe.jobs) == started

    def test_a_store_that_fails_at_any_moment_lets_none_start_twice(self, roe, new, context, monkeypatch):
        monkeypatch.setattr(module, "KEEP_AFTER", 2)
        store = context["task_state_store"]
        inputs = many(*"abcdefg")

        class OutError(Exception):
            pass

        def fail_from(moment: int) -> Callable[[str, Any], None]:
            calls = iter(range(100))

            def set_(key: str, value: Any) -> None:
                if next(calls) >= moment:
                    raise OutError
                store[key] = json.loads(json.dumps(value))

            return set_

        for moment in range(4):
            store.set = fail_from(moment)
            with pytest.raises(OutError):
                new(inputs, metadata={"a": "b"}).execute(context)
            context = next_try(context)
        del store.set
        new(inputs, metadata={"a": "b"}).execute(context)
        assert sorted(documents(roe)) == list("abcdefg")

    def test_jobs_are_kept_while_others_are_still_started(self, roe, new, context, monkeypatch):
        monkeypatch.setattr(module, "KEEP_AFTER", 2)
        kept: list[int] = []
        context["task_state_store"].set = lambda _, value: kept.append(sum(map(bool, value["job_ids"])))
        new(many(*"abcde"), metadata={"a": "b"}, wait_for_completion=False).execute(context)
        assert kept == [0, 2, 4, 5]

    @pytest.mark.parametrize("with_metadata", [True, False], ids=["alone", "together"])
    def test_what_was_started_and_never_kept_is_not_started_again(self, roe, new, context, with_metadata):
        arguments = {"metadata": {"a": "b"}} if with_metadata else {}
        store = context["task_state_store"]
        planned: list[Any] = []
        store.set = lambda key, value: planned.append(json.loads(json.dumps(value)))
        new(many("a", "b", "c"), wait_for_completion=False, **arguments).execute(context)
        del store.set
        assert planned[0]["job_ids"] == [None] * 3
        store["agent_jobs"] = planned[0]  # as it was before the first request, when the worker was killed
        new(many("a", "b", "c"), **arguments).execute(next_try(context))
        assert sorted(documents(roe)) == ["a", "b", "c"]

    @pytest.mark.parametrize(
        "changed",
        [
            {"inputs": many("a", "c")},
            {"inputs": many("b", "a")},
            {"metadata": {"a": "c"}},
            {"skip_cache": True},
        ],
        ids=str,
    )
    def test_other_work_is_left_alone(self, roe, new, context, changed, capsys):
        new(many("a", "b"), wait_for_completion=False).execute(context)
        arguments = {"inputs": many("a", "b")} | changed
        new(**arguments).execute(next_try(context))
        assert len(roe.jobs) == 4
        assert "they are left alone, and all are run anew" in capsys.readouterr().out

    @pytest.mark.parametrize("what", ["agent", "version", "organization", "connection's organization", "Roe"])
    def test_so_is_that_of_another(self, roe, connect, new, context, what, capsys):
        def work(number: int) -> dict[str, Any]:
            if what == "agent":
                return {"agent_id": [roe.agent_id, other][number]}
            if what == "version":
                return {"agent_id": other, "version_id": versions[number]}
            if what == "organization":
                roe.organization_id = str(uuid4())  # a key may be that of several
                return {"organization_id": roe.organization_id}
            if what == "connection's organization":
                roe.organization_id = str(uuid4())
                connect(roe)
            return {}

        versions = [str(uuid4()), str(uuid4())]
        other = roe.add_agent(versions=versions)
        first = new(wait_for_completion=False, **work(0)).execute(context)
        if what == "Roe":
            with RoeSimulator() as elsewhere:
                connect(elsewhere)
                second = new(agent_id=roe.agent_id, wait_for_completion=False).execute(next_try(context))
                assert list(elsewhere.jobs) == [second]
                assert first not in elsewhere.jobs
        else:
            new(wait_for_completion=False, **work(1)).execute(next_try(context))
            assert len(roe.jobs) == 2
        assert "they are left alone, and all are run anew" in capsys.readouterr().out

    @pytest.mark.parametrize("code", [401, 403, 500])
    def test_where_the_jobs_cannot_be_asked_for_none_is_started(self, roe, new, context, code):
        new(many("a", "b"), wait_for_completion=False).execute(context)
        for call in ("job_status", "job_statuses"):
            roe.add_fault(Fault(call=call, status_code=code))
        with pytest.raises(RoeRequestError):
            new(many("a", "b")).execute(next_try(context))
        roe.clear_faults()
        new(many("a", "b")).execute(next_try(next_try(context)))
        assert documents(roe) == ["a", "b"]

    @pytest.mark.parametrize("waits", [True, False])
    def test_a_job_of_somebody_else_s_is_no_lost_one(self, roe, new, context, waits):
        new(wait_for_completion=False).execute(context)
        roe.foreign_jobs.add(next(iter(roe.jobs)))
        with pytest.raises(RoeRequestError, match="has no access to this organization"):
            new(wait_for_completion=waits).execute(next_try(context))
        assert documents(roe) == ["a"]

    @pytest.mark.parametrize("kept", ["x", {}, {"asked": 1}, {"asked": "x", "job_ids": None}], ids=str)
    def test_what_somebody_has_put_into_the_store_is_no_work_of_its_own(self, roe, new, context, kept):
        context["task_state_store"]["agent_jobs"] = kept
        new().execute(context)
        assert documents(roe) == ["a"]

    def test_a_file_with_other_content_is_another_input(self, roe, new, context, tmp_path):
        scan = tmp_path / "scan.pdf"
        for content in (b"one", b"other", b"other"):
            if not scan.exists() or scan.read_bytes() != content:
                scan.write_bytes(content)
            new({"document": str(scan)}, files=["document"], wait_for_completion=False).execute(context)
            context = next_try(context)
        assert [document.size for document in documents(roe)] == [3, 5]

    @pytest.mark.parametrize("waits", [True, False])
    def test_cleared_after_its_success_it_runs_all_anew(self, roe, new, context, waits):
        for _ in range(2):
            operator = new(many("a", "b"), wait_for_completion=waits)
            operator.execute(context)
            end(operator, context)
            context = next_try(context)
        assert documents(roe) == ["a", "b"] * 2

    def test_a_success_that_airflow_has_not_recorded_is_attached_to(self, roe, new, context):
        operator = new()
        operator.execute(context)
        end(operator, context, recorded_as="running")
        new().execute(next_try(context))
        assert documents(roe) == ["a"]

    def test_an_output_that_is_no_json_runs_its_input_again_and_no_other(self, roe, new, context):
        inputs = [
            *many("a"),
            {"document": "b", "simulate": json.dumps({"statuses": [], "outputs": NOT_JSON})},
        ]
        with pytest.raises(RoeOutputError, match=r"^Index 1, agent job \S+: output 'answer' .* is no JSON"):
            new(inputs, result="outputs").execute(context)
        with pytest.raises(RoeOutputError):
            new(inputs, result="outputs").execute(next_try(context))
        assert documents(roe) == ["a", "b", "b"]

    def test_so_does_that_of_a_single_job(self, roe, new, context):
        inputs = shaped("a", statuses=[], outputs=NOT_JSON)
        for _ in range(3):
            with pytest.raises(RoeOutputError, match=r"^Index 0, "):
                new(inputs, result="outputs").execute(context)
            context = next_try(context)
        assert documents(roe) == ["a"] * 3

    @pytest.mark.parametrize(
        ("becomes", "words"),
        [
            ("gone", r"^Index 2, agent job \S+: Roe knows no such agent job"),
            ("FAILURE", r"^Index 2, agent job \S+ has succeeded, but its result says FAILURE"),
        ],
        ids=str,
    )
    def test_so_does_a_result_that_is_none(self, roe, new, context, monkeypatch, becomes, words):
        monkeypatch.setattr(module, "MOST_RESULTS", 2)
        arguments = {"deferrable": True, "defer_after": 0, "result": "outputs"}
        started = new(many("a", "b", "c"), wait_for_completion=False).execute(context)
        jobs = [{"job_id": job_id, "status": "SUCCESS", "error": None} for job_id in started]
        event = {"outcome": "success", "ended": {"status": "3 SUCCESS", "jobs": jobs}}
        if becomes == "gone":
            roe.add_fault(Fault(call="job_results", status_code=404, body={"detail": "Not found."}))
            roe.add_fault(Fault(call="job_result", status_code=404, body={"detail": "Not found."}))
            for job_id in started[:2]:
                jobs[started.index(job_id)]["status"] = "FAILURE"
        else:
            roe.finish_job(started[2], 4)
        operator = new(many("a", "b", "c"), **arguments)
        with pytest.raises(RoeOutputError, match=words):
            operator.resume_execution("execute_complete", {"event": event}, context)
        kept = context["task_state_store"]["agent_jobs"]
        assert kept["job_ids"] == [*started[:2], None]
        assert kept["numbers"] == [1, 1, 2]

    def test_a_job_that_roe_has_lost_is_run_again(self, roe, new, context):
        [lost, _] = new(many("a", "b"), wait_for_completion=False).execute(context)
        roe.jobs.pop(lost)
        roe.idempotent_runs.clear()
        new(many("a", "b")).execute(next_try(context))
        assert documents(roe) == ["b", "a"]

    def test_one_that_is_not_durable_runs_all_again(self, roe, new, context):
        for _ in range(2):
            new(durable=False).execute(context)
            context = next_try(context)
        assert documents(roe) == ["a", "a"]
        assert not context["task_state_store"]


if Version(airflow_version) < Version("3.3"):  # which keeps nothing over tries
    del TestNextTry


def test_without_airflow_s_store_each_try_runs_all_anew(roe, new):
    for try_number in (1, 2):
        new(many("a", "b")).execute({"ti": TaskInstance(try_number=try_number)})
    assert documents(roe) == ["a", "b"] * 2
