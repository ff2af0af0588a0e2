from __future__ import annotations

import json
import math

import pytest

from airflow_provider_roe.testing import Fault, InputFile, JobPlan


def test_a_job_without_the_input_goes_by_the_plan():
    plan = JobPlan(ends_as=6)
    assert plan.with_input({"document": "simulate"}) == (plan, [])


def test_a_file_is_no_settings():
    plan = JobPlan()
    assert plan.with_input({"simulate": InputFile("a.json", "application/json", 2, "00")}) == (plan, [])


def test_the_input_says_how_the_job_goes():
    settings = {
        "statuses": [[0, 1], [2, 5, "lost a worker"]],
        "ends_as": 4,
        "error": "no text",
        "clock_skew": -60,
        "fields": {"created_at": None},
        "outputs": [{"key": "total", "value": 3}],
        "cost": 0.5,
        "input_tokens": 7,
        "output_tokens": None,
        "faults": [{"call": "job_status", "status_code": 503, "times": 2}, {"hang": True}],
    }
    plan, faults = JobPlan().with_input({"simulate": json.dumps(settings)})
    assert plan == JobPlan(
        statuses=((0, 1), (2, 5, "lost a worker")),
        ends_as=4,
        error="no text",
        clock_skew=-60,
        fields={"created_at": None},
        outputs=[{"key": "total", "value": 3}],
        cost=0.5,
        input_tokens=7,
        output_tokens=None,
    )
    assert faults == [Fault(call="job_status", status_code=503, times=2), Fault(hang=True)]


def test_what_the_input_does_not_say_stays_as_planned():
    plan, _ = JobPlan(statuses=(), error="no luck").with_input({"simulate": '{"ends_as": 5}'})
    assert plan == JobPlan(statuses=(), error="no luck", ends_as=5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ([], r"expected an object, not \[\]"),
        (
            {"stauses": []},
            "unknown key 'stauses', expected one of clock_skew, cost, ends_as, error, faults, ",
        ),
        ({"statuses": [["PENDING", 1]]}, "statuses must be a list of .*"),
        ({"statuses": [[True, 1]]}, "statuses must be a list"),
        ({"statuses": [[1, math.nan]]}, "statuses must be a list"),
        ({"ends_as": "SUCCESS"}, "ends_as must be a whole number, not 'SUCCESS'"),
        ({"ends_as": None}, "ends_as must be a whole number, not None"),
        ({"error": 1}, "error must be a string, not 1"),
        ({"outputs": {}}, "outputs must be a list of mappings with key and value, not {}"),
        ({"outputs": [{"key": "a"}]}, "outputs must be a list"),
        ({"outputs": [{"key": 1, "value": ""}]}, "outputs must be a list"),
        ({"cost": "1"}, "cost must be a number, not '1'"),
        ({"cost": None}, "cost must be a number, not None"),
        ({"input_tokens": 1.5}, "input_tokens must be a whole number, not 1.5"),
        ({"output_tokens": "1"}, "output_tokens must be a whole number, not '1'"),
        ({"faults": [{"status_code": 503, "job_id": "1"}]}, "unknown key 'job_id'"),
        (
            {"faults": [{"call": "job_statuses", "hang": True}]},
            "a job's own fault can meet its job_status and job_result and cancel_job calls only, not 'job_st",
        ),
    ],
)
def test_a_malformed_input_is_refused_with_a_reason(settings, message):
    with pytest.raises(ValueError, match=f"^input simulate: {message}"):
        JobPlan().with_input({"simulate": json.dumps(settings)})


def test_an_input_that_is_not_json_is_refused():
    with pytest.raises(ValueError, match="input simulate: not JSON: Expecting value"):
        JobPlan().with_input({"simulate": ""})


def test_outputs_have_to_be_json():
    with pytest.raises(ValueError, match="outputs must be JSON"):
        JobPlan(outputs=[{"key": "a", "value": object()}])
