from __future__ import annotations

import hashlib
import json
from uuid import UUID

import pytest

from airflow_provider_roe.testing import JobPlan

AGENT_ID = "b4a1f3d6-07c5-4e92-8f1a-6d2e9c7053ab"
VERSION_ID = "e83c5f27-91bd-4d06-a74e-2f0b8c6d1953"
OTHER_ID = "00000000-0000-4000-8000-000000000000"
AT_ONCE = JobPlan(statuses=())


@pytest.fixture
def roe(roe):
    roe.job_plan = AT_ONCE
    return roe


@pytest.fixture
def api(client):
    return Api(client)


class Api:
    """The calls of agents, as the vendor's specification has them."""

    def __init__(self, client):
        self.client = client
        self.base = client.base.replace("/database/query/", "/agents/")

    def post(self, path, **kwargs):
        return self.client.post(self.base + path, **{"params": self.client.organization} | kwargs)

    def get(self, path, **kwargs):
        return self.client.get(self.base + path, **{"params": self.client.organization} | kwargs)

    def run(self, inputs=None, agent_id=AGENT_ID, **kwargs):
        return self.post(f"run/{agent_id}/async/", **{"json": inputs or {}} | kwargs)

    def run_many(self, inputs, agent_id=AGENT_ID, **kwargs):
        return self.post(f"run/{agent_id}/async/many/", json={"inputs": inputs}, **kwargs)

    def status(self, job_id):
        return self.get(f"jobs/{job_id}/status/")

    def statuses(self, job_ids):
        return self.post("jobs/statuses/", json={"job_ids": job_ids})

    def result(self, job_id):
        return self.get(f"jobs/{job_id}/result/")

    def results(self, job_ids):
        return self.post("jobs/results/", json={"job_ids": job_ids})

    def cancel(self, job_id):
        return self.post(f"jobs/{job_id}/cancel/")


def test_a_run_answers_the_job_s_id_as_a_bare_string(roe, api):
    response = api.run({"document": "text"})
    assert response.status_code == 200
    assert response.json() in roe.jobs
    assert str(UUID(response.json())) == response.json()


def test_files_are_counted_and_hashed(roe, api):
    contents = b"%PDF" + bytes(range(256)) * 1000
    response = api.run(
        json=None,
        data={"language": "en", "metadata": json.dumps({"run": "7"})},
        files={"document": ("März.pdf", contents, "application/pdf")},
    )
    job = roe.jobs[response.json()]
    [output] = api.result(job.id).json()["outputs"]
    assert json.loads(output["value"]) == {
        "language": "en",
        "document": {
            "file_name": "März.pdf",
            "data_type": "application/pdf",
            "size": 256_004,
            "sha256": hashlib.sha256(contents).hexdigest(),
        },
    }
    assert job.metadata == {"run": "7"}


def test_a_job_goes_through_its_life(roe, api):
    roe.job_plan = JobPlan(statuses=((1, float("inf")),))
    first, second = api.run_many([{"n": "1"}, {"n": "2"}]).json()
    assert [item["status"] for item in api.statuses([second, first]).json()] == [1, 1]
    assert api.cancel(first).status_code == 204
    roe.finish_job(second, 4, "no such document")
    assert [
        (item["id"], item["status"], item["error_message"])
        for item in api.statuses([first, second, OTHER_ID]).json()
    ] == [
        (first, 5, None),
        (second, 4, "no such document"),
        (OTHER_ID, None, None),
    ]
    assert api.status(second).json().items() >= {"status": 4, "error_message": "no such document"}.items()
    assert [item["result"] for item in api.results([first, second]).json()] == [None, None]


def test_a_key_runs_once(roe, api):
    key = {"Idempotency-Key": "k"}
    first = api.run({"n": "1"}, headers=key)
    assert api.run({"n": "1"}, headers=key).json() == first.json()
    assert len(roe.jobs) == 1
    assert api.run({"n": "2"}, headers=key).status_code == 400
