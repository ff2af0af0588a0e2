from __future__ import annotations

import logging
import os
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_roe.client import submission as module
from airflow_provider_roe.client.client import Client
from airflow_provider_roe.client.inputs import read_all_inputs
from airflow_provider_roe.client.submission import Submission
from airflow_provider_roe.exceptions import RoeInputError, RoeRequestError, RoeUnavailableError
from airflow_provider_roe.testing import Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow_provider_roe.testing import RoeSimulator


@pytest.fixture
def new(roe: RoeSimulator, connect: Callable[..., None]) -> Callable[..., Submission]:
    """Return a function that makes a submission of inputs to the simulator's agent."""
    connect(roe)

    def new(given: Sequence[Any], *, files: Sequence[str] = (), **arguments: Any) -> Submission:
        defaults = {
            "agent_id": roe.agent_id,
            "scope": ["test"],
            "log": logging,
            "client": Client("roe_default"),
        }
        return Submission(inputs=read_all_inputs(given, files), **defaults | arguments)

    return new


def texts(number: int, **more: str) -> list[dict[str, str]]:
    return [{"n": str(each), **more} for each in range(number)]


def all_of(submission: Submission) -> dict[int, str]:
    return started(submission, range(len(submission.inputs)))


def started(submission: Submission, indexes: Any, number: int = 0) -> dict[int, str]:
    found: dict[int, str] = {}
    gather(found, submission, indexes, number)
    return found


def gather(found: dict[int, str], submission: Submission, indexes: Any = range(100), number: int = 0) -> None:
    """Start jobs, and take note of each as soon as it is accepted."""
    for some in submission.start(dict.fromkeys(indexes, number)):
        found |= some


def numbers(roe: RoeSimulator) -> list[int]:
    return sorted(int(job.inputs["n"]) for job in roe.jobs.values())


class TestTogether:
    @pytest.mark.parametrize(("number", "requests"), [(2, 1), (1000, 1), (1001, 2), (2500, 3)])
    def test_a_thousand_with_a_request(self, roe, new, number, requests):
        job_ids = all_of(new(texts(number)))
        assert [int(roe.jobs[job_ids[index]].inputs["n"]) for index in range(number)] == list(range(number))
        assert [request.call for request in roe.requests] == ["run_agent_many"] * requests

    def test_no_more_than_a_request_may_weigh(self, roe, new, monkeypatch):
        monkeypatch.setattr(module, "MOST_BYTES", 1000)
        all_of(new(texts(50, text="x" * 100)))
        assert len(roe.requests) == 7
        assert max(len(request.body) for request in roe.requests) < 1400
        assert numbers(roe) == list(range(50))

    def test_one_that_weighs_more_goes_by_itself(self, roe, new, monkeypatch):
        monkeypatch.setattr(module, "MOST_BYTES", 1000)
        all_of(new([*texts(2), {"n": "2", "text": "x" * 5000}, {"n": "3"}]))
        assert numbers(roe) == [0, 1, 2, 3]

    @pytest.mark.parametrize("guilty", [0, 1, 37, 98, 99])
    def test_a_refusal_is_narrowed_down_to_the_input_and_those_before_it_run(self, roe, new, guilty):
        agent_id = roe.add_agent(required=["n"])
        given = texts(100)
        given[guilty] = {"m": "x"}
        found: dict[int, str] = {}
        with pytest.raises(RoeRequestError, match=rf"^inputs\[{guilty}\]: .*Missing input key n"):
            gather(found, new(given, agent_id=agent_id))
        assert sorted(found) == list(range(guilty)) == numbers(roe)
        assert len(roe.requests) <= 16

    def test_one_that_is_about_all_is_not(self, roe, new):
        roe.credits = 50
        with pytest.raises(RoeRequestError, match=r"^inputs\[0\] to inputs\[99\]: .*out of credits"):
            all_of(new(texts(100)))
        assert len(roe.requests) == 1
        assert roe.jobs == {}


class TestAlone:
    @pytest.mark.parametrize(
        "why", [{"metadata": {"a": "b"}}, {"version_id": True}, {"files": ["document"]}], ids=str
    )
    def test_what_roe_takes_for_one_job_only(self, roe, new, tmp_path, why):
        scan = tmp_path / "scan.pdf"
        scan.write_bytes(b"x")
        if "version_id" in why:
            why = {"version_id": roe.agents[roe.agent_id].versions[0]}
        all_of(new(texts(20, document=str(scan)), **why))
        assert {request.call for request in roe.requests} == {"run_agent"}
        assert numbers(roe) == list(range(20))

    def test_some_at_once(self, roe, new):
        roe.add_fault(Fault(call="run_agent", delay=0.2))
        all_of(new(texts(40), metadata={"a": "b"}))
        assert len({request.connection for request in roe.requests}) == 8

    def test_after_a_refusal_no_further_ones_but_those_under_way(self, roe, new):
        agent_id = roe.add_agent(required=["n"])
        given = texts(100)
        given[30] = {"m": "x"}
        with pytest.raises(RoeRequestError, match=r"^inputs\[30\]: .*Missing input key n"):
            all_of(new(given, agent_id=agent_id, metadata={"a": "b"}))
        assert 30 <= len(roe.jobs) < 100  # the busier the machine, the later the refusal is seen

    def test_a_file_that_changed_is_told_by_its_input(self, new, tmp_path):
        for name in ("0", "1"):
            (tmp_path / name).write_bytes(b"x")
        submission = new([{"document": str(tmp_path / name)} for name in "01"], files=["document"])
        (tmp_path / "1").write_bytes(b"longer")
        with pytest.raises(RoeInputError, match=r"^inputs\[1\]: The file 1 no longer has the 1 bytes"):
            all_of(submission)

    def test_files_are_never_in_memory_as_a_whole(self, roe, new, tmp_path):
        scan = tmp_path / "scan.pdf"
        scan.write_bytes(os.urandom(40_000_000))
        submission = new([{"n": str(n), "document": str(scan)} for n in range(10)], files=["document"])
        tracemalloc.start()
        all_of(submission)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 40_000_000  # a block for each of eight, and the simulator's, which is in this process
        assert {job.inputs["document"].size for job in roe.jobs.values()} == {40_000_000}


@pytest.mark.parametrize("alone", [False, True], ids=["together", "alone"])
class TestKeys:
    @pytest.fixture
    def arguments(self, alone: bool) -> dict[str, Any]:
        return {"metadata": {"a": "b"}} if alone else {}

    def test_the_same_work_starts_nothing_anew(self, roe, new, arguments):
        before = all_of(new(texts(30), **arguments))
        assert all_of(new(texts(30), **arguments)) == before
        assert len(roe.jobs) == 30

    @pytest.mark.parametrize(
        "fault", [{"reset": "body"}, {"truncate": True}, {"status_code": 502, "executed": True}], ids=str
    )
    def test_nor_does_a_request_whose_answer_was_lost(self, roe, connect, new, arguments, fault, impatient):
        connect(roe, retry_window=30)
        roe.add_fault(Fault(call="run_agent" if arguments else "run_agent_many", times=1, **fault))
        assert len(all_of(new(texts(30), **arguments))) == 30
        assert len(roe.jobs) == 30

    @pytest.mark.parametrize("other", [{"scope": ["other"]}, {"number": 1}], ids=str)
    def test_other_work_does(self, roe, new, arguments, other):
        all_of(new(texts(3), **arguments))
        scope = {"scope": other["scope"]} if "scope" in other else {}
        started(new(texts(3), **arguments, **scope), range(3), other.get("number", 0))
        assert len(roe.jobs) == 6

    def test_the_same_input_twice_is_two_jobs(self, roe, new, arguments):
        all_of(new([{"n": "0"}] * 4, **arguments))
        assert len(roe.jobs) == 4

    def test_what_is_left_of_the_work_goes_in_the_same_groups_again(self, roe, new, arguments, monkeypatch):
        monkeypatch.setattr(module, "MOST_JOBS", 10)
        submission = new(texts(35), **arguments)
        first = all_of(submission)
        assert started(submission, range(10, 35)) == {i: j for i, j in first.items() if i >= 10}
        assert len(roe.jobs) == 35

    def test_an_outage_is_told_with_the_inputs_that_it_met(self, roe, new, arguments):
        submission = new(texts(3), **arguments)
        roe.add_fault(Fault(status_code=500))
        with pytest.raises(RoeUnavailableError, match=r"^inputs\[0\].*: POST .* was answered with 500"):
            all_of(submission)
