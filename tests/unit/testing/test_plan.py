from __future__ import annotations

import json
import math

import pytest

from airflow_provider_roe.testing import Fault, QueryPlan


def comment(settings: object) -> str:
    text = settings if isinstance(settings, str) else json.dumps(settings)
    return f"-- nightly\n/* simulate {text} */ SELECT 1"


def test_a_query_without_a_comment_goes_by_the_plan():
    plan = QueryPlan(ends_as="CACHED")
    assert plan.with_comment("SELECT 1 /* simulated */") == (plan, [])


def test_a_comment_says_how_the_query_goes():
    sql = comment(
        {
            "statuses": [["PENDING", 1], ["RETRY", 5, "lost a worker"]],
            "ends_as": "FAILURE",
            "error": "out of memory",
            "clock_skew": -60,
            "fields": {"created_at": None},
            "faults": [{"call": "status", "status_code": 503, "times": 2, "retry_after": 1}, {"hang": True}],
        }
    )
    plan, faults = QueryPlan().with_comment(sql)
    assert plan == QueryPlan(
        statuses=(("PENDING", 1), ("RETRY", 5, "lost a worker")),
        ends_as="FAILURE",
        error="out of memory",
        clock_skew=-60,
        fields={"created_at": None},
    )
    assert faults == [Fault(call="status", status_code=503, times=2, retry_after=1), Fault(hang=True)]


def test_what_a_comment_does_not_say_stays_as_planned():
    plan, _ = QueryPlan(statuses=(), error="no luck").with_comment(comment({"ends_as": "REVOKED"}))
    assert plan == QueryPlan(statuses=(), error="no luck", ends_as="REVOKED")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("{'ends_as': 1}", "not JSON: Expecting property name enclosed in double quotes"),
        ("", "not JSON: Expecting value"),
        ("[" * 100_000, "not JSON: "),
        ([], r"expected an object, not \[\]"),
        (
            {"stauses": []},
            "unknown key 'stauses', expected one of clock_skew, ends_as, error, faults, fields, statuses",
        ),
        ({"statuses": "PENDING"}, "statuses must be a list of .*, not 'PENDING'"),
        ({"statuses": [["PENDING"]]}, "statuses must be a list"),
        ({"statuses": [["PENDING", "1"]]}, "statuses must be a list"),
        ({"statuses": [["PENDING", -1]]}, "statuses must be a list"),
        ({"statuses": [["PENDING", math.nan]]}, "statuses must be a list"),
        ({"statuses": [["PENDING", 1, 2]]}, "statuses must be a list"),
        ({"statuses": [1]}, "statuses must be a list"),
        ({"ends_as": 1}, "ends_as must be a string, not 1"),
        ({"error": []}, r"error must be a string, not \[\]"),
        ({"clock_skew": "1"}, "clock_skew must be a number of seconds"),
        ({"clock_skew": math.inf}, "clock_skew must be a number of seconds"),
        ({"fields": []}, "fields must be a mapping"),
        ({"faults": {}}, "faults must be a list"),
        ({"faults": [1]}, "expected an object, not 1"),
        ({"faults": [{"status": 503}]}, "unknown key 'status'"),
        ({"faults": [{"status_code": 503, "query_id": "1"}]}, "unknown key 'query_id'"),
        ({"faults": [{}]}, "nothing to do"),
        ({"faults": [{"call": "submit", "hang": True}]}, "status and result calls only, not 'submit'"),
    ],
)
def test_a_malformed_comment_is_refused_with_a_reason(settings, message):
    with pytest.raises(ValueError, match=f"^simulate comment: .*{message}"):
        QueryPlan().with_comment(comment(settings))


def test_fields_have_to_be_json():
    with pytest.raises(ValueError, match="fields must be JSON"):
        QueryPlan(fields={"status": object()})
