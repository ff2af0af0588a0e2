from __future__ import annotations

import hashlib
import json
import logging
import os
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_roe.client import submission as module
from airflow_provider_roe.client.client import Client
from airflow_provider_roe.client.inputs import read_all_inputs
from airflow_provider_roe.client.submission import Submission, accepted
from airflow_provider_roe.exceptions import RoeInputError, RoeRequestError, RoeUnavailableError
from airflow_provider_roe.testing import Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow_provider_roe.testing import RoeSimulator


VERSION = "e83c5f27-91bd-4d06-a74e-2f0b8c6d1953"
OTHER_VERSION = "0d4b7e91-c2a8-4f35-86d1-5e9a3f7c0b24"


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

    @pytest.mark.parametrize("code", [400, 413])
    def test_so_is_one_that_is_about_how_many_there_are(self, roe, new, code):
        roe.add_fault(Fault(call="run_agent_many", status_code=code, times=3))
        assert len(all_of(new(texts(100)))) == 100
        sent = [len(json.loads(request.body)["inputs"]) for request in roe.requests]
        assert sent == [100, 50, 25, 12, 13, 25, 50]

    def test_what_is_narrowed_down_has_the_same_keys_again(self, roe, new):
        """A job that was started beside a refused input is not started again when the task is."""
        agent_id = roe.add_agent(required=["n"])
        given = [*texts(30), {"m": "x"}, *texts(30)]
        found: dict[int, str] = {}
        for _ in range(2):
            with pytest.raises(RoeRequestError, match=r"^inputs\[30\]: "):
                gather(found, new(given, agent_id=agent_id), range(len(found), 61))
        assert len(found) == len(roe.jobs) == 30

    def test_the_cuts_are_the_same_again_whatever_is_left(self, roe, new):
        """Else those of which the answer was lost were in another request, and so were started twice."""
        submission = new(texts(16))
        coming = submission.start(dict.fromkeys(range(16), 0))
        roe.add_fault(Fault(status_code=413, times=2))
        assert list(next(coming)) == [0, 1, 2, 3]
        roe.add_fault(Fault(status_code=413, times=1))
        roe.add_fault(Fault(reset="body", times=1))
        with pytest.raises(RoeUnavailableError, match=r"^inputs\[4\] to inputs\[5\]: "):
            next(coming)
        roe.add_fault(Fault(status_code=413, times=3))
        assert len(started(submission, range(4, 16))) == 12
        assert numbers(roe) == list(range(16))

    def test_one_of_few_wanted_is_told_by_its_own_index(self, roe, new):
        given = texts(100)
        given[70] = {"m": "x"}
        with pytest.raises(RoeRequestError, match=r"^inputs\[70\]: .*Missing input key n"):
            started(new(given, agent_id=roe.add_agent(required=["n"])), [3, 70, 99])
        assert numbers(roe) == [3]

    @pytest.mark.parametrize("code", [401, 402, 403, 404, 409])
    def test_any_other_is_about_all(self, roe, new, code):
        roe.add_fault(Fault(call="run_agent_many", status_code=code))
        with pytest.raises(RoeRequestError, match=r"^inputs\[0\] to inputs\[99\]: .*") as told:
            all_of(new(texts(100)))
        assert told.value.status_code == code
        assert len(roe.requests) == 1

    def test_credits_that_run_out_in_the_middle_end_the_rest(self, roe, new):
        roe.credits = 1200
        found: dict[int, str] = {}
        with pytest.raises(RoeRequestError, match=r"^inputs\[1000\] to inputs\[1999\]: .*out of credits"):
            gather(found, new(texts(2500)), range(2500))
        assert sorted(found) == list(range(1000)) == numbers(roe)
        assert len(roe.requests) == 2

    def test_one_that_is_about_all_is_not(self, roe, new):
        roe.credits = 50
        with pytest.raises(RoeRequestError, match=r"^inputs\[0\] to inputs\[99\]: .*out of credits"):
            all_of(new(texts(100)))
        assert len(roe.requests) == 1
        assert roe.jobs == {}

    def test_a_request_holds_a_few_megabytes(self, roe, new):
        all_of(new(texts(10, text="x" * 1_000_000)))
        assert [len(json.loads(request.body)["inputs"]) for request in roe.requests] == [4, 4, 2]

    def test_each_with_a_key_and_where_wanted_without_the_cache(self, roe, new, monkeypatch):
        monkeypatch.setattr(module, "MOST_JOBS", 10)
        all_of(new(texts(20), skip_cache=True))
        assert len({request.headers["Idempotency-Key"] for request in roe.requests}) == 2
        assert all(job.skip_cache for job in roe.jobs.values())

    def test_a_number_of_its_own_is_a_request_of_its_own(self, roe, new):
        [first, second] = new(texts(6)).start({0: 0, 3: 0, 4: 0, 1: 1, 5: 1})
        assert (sorted(first), sorted(second)) == ([0, 3, 4], [1, 5])
        assert [len(request.job_ids) for request in roe.requests] == [3, 2]

    def test_what_is_not_wanted_is_not_asked_for(self, roe, new, monkeypatch):
        monkeypatch.setattr(module, "MOST_JOBS", 10)
        assert sorted(started(new(texts(100)), [5, 50, 55])) == [5, 50, 55]
        assert numbers(roe) == [5, 50, 55]
        assert len(roe.requests) == 2


class TestAlone:
    def test_the_only_one(self, roe, new):
        assert list(all_of(new(texts(1)))) == [0]
        assert [request.call for request in roe.requests] == ["run_agent"]

    def test_of_the_only_one_the_error_has_no_index(self, roe, new):
        with pytest.raises(RoeRequestError, match=r"^POST .*Missing input key n"):
            all_of(new([{"m": "x"}], agent_id=roe.add_agent(required=["n"])))

    def test_version_metadata_and_cache_are_as_wanted(self, roe, new):
        agent_id = roe.add_agent(versions=[VERSION, OTHER_VERSION])
        arguments = {"version_id": VERSION, "metadata": {"a": "b"}, "skip_cache": True}
        all_of(new(texts(2), agent_id=agent_id, **arguments))
        for job in roe.jobs.values():
            assert (job.version_id, job.metadata, job.skip_cache) == (VERSION, {"a": "b"}, True)

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

    def test_credits_that_run_out_in_the_middle_end_the_rest(self, roe, new):
        roe.credits = 20
        found: dict[int, str] = {}
        with pytest.raises(RoeRequestError, match=r"^inputs\[\d+\]: .*out of credits"):
            gather(found, new(texts(100), metadata={"a": "b"}))
        assert len(found) == 20
        assert numbers(roe) == sorted(found)
        assert len(roe.requests) <= 36  # with those that were under way when the first was refused

    def test_of_several_that_are_refused_the_first_is_told(self, roe, new):
        roe.add_fault(Fault(call="run_agent", delay=0.1))
        given = [{"n": "0"}, *[{"m": "x"}] * 7]
        with pytest.raises(RoeRequestError, match=r"^inputs\[1\]: "):
            all_of(new(given, agent_id=roe.add_agent(required=["n"]), metadata={"a": "b"}))
        assert len(roe.requests) == 8

    def test_each_is_told_as_soon_as_it_is_accepted(self, roe, new):
        coming = new(texts(20), metadata={"a": "b"}).start(dict.fromkeys(range(20), 0))
        next(coming)
        assert len(roe.jobs) < 20
        assert sum(map(len, coming)) == 19

    def test_a_file_that_is_not_there_ends_all_before_anything_is_sent(self, roe, new, tmp_path):
        (tmp_path / "0").touch()
        with pytest.raises(RoeInputError, match=r"^inputs\[1\]\['document'\]: there is no file"):
            new([{"document": str(tmp_path / name)} for name in "01"], files=["document"])
        assert roe.requests == []

    def test_files_arrive_as_they_are_in_a_request_of_known_length(self, roe, new, tmp_path):
        content = os.urandom(3_000_000)
        (tmp_path / "a scan.pdf").write_bytes(content)
        (tmp_path / "empty").touch()
        given = {"document": str(tmp_path / "a scan.pdf"), "other": str(tmp_path / "empty"), "n": "ö"}
        all_of(new([given], files=["document", "other"], metadata={"a": "b"}))
        [job] = roe.jobs.values()
        found = job.inputs["document"]
        assert (found.file_name, found.size) == ("a scan.pdf", len(content))
        assert found.sha256 == hashlib.sha256(content).hexdigest()
        assert (job.inputs["other"].size, job.inputs["n"], job.metadata) == (0, "ö", {"a": "b"})
        [request] = roe.requests
        assert int(request.headers["Content-Length"]) > len(content)
        assert "Transfer-Encoding" not in request.headers

    def test_a_file_is_sent_again_after_trouble(self, roe, connect, new, tmp_path, impatient):
        connect(roe, retry_window=30)
        (tmp_path / "scan.pdf").write_bytes(b"x" * 3_000_000)
        roe.add_fault(Fault(call="run_agent", status_code=503, times=2))
        all_of(new([{"document": str(tmp_path / "scan.pdf")}], files=["document"]))
        assert [request.status_code for request in roe.requests] == [503, 503, 200]
        [job] = roe.jobs.values()
        assert job.inputs["document"].size == 3_000_000

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

    def test_other_inputs_or_others_places_have_other_keys(self, roe, new, arguments):
        for given in (texts(3), [*texts(2), {"n": "7"}], texts(4)[1:]):
            all_of(new(given, **arguments))
        keys = [request.headers["Idempotency-Key"] for request in roe.requests]
        assert len(keys) - len(set(keys)) == (2 if arguments else 0)  # the first two, each by itself

    def test_a_key_is_the_same_in_a_later_process(self, roe, new, arguments):
        """And in a later version: an upgrade in the middle of a task starts nothing anew."""
        started(new(texts(2), **arguments), [0, 1], 7)
        keys = {request.headers["Idempotency-Key"][:12] for request in roe.requests}
        assert keys == ({"8eb186666d9d", "c7d2b100ef27"} if arguments else {"49ed1564e1f8"})

    def test_an_outage_is_told_with_the_inputs_that_it_met(self, roe, new, arguments):
        submission = new(texts(3), **arguments)
        roe.add_fault(Fault(status_code=500))
        with pytest.raises(RoeUnavailableError, match=r"^inputs\[0\].*: POST .* was answered with 500"):
            all_of(submission)


def test_how_many_were_accepted_is_told_in_words():
    assert accepted(1000, 2500) == "1,000 of 2,500 inputs were accepted, and their jobs go on."
