from __future__ import annotations

import pickle
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException

from airflow_provider_roe import exceptions
from airflow_provider_roe.exceptions import (
    RoeAuthenticationError,
    RoeError,
    RoeInputError,
    RoeNotFoundError,
    RoeRequestError,
    RoeUnavailableError,
)

EVERY = [value for value in vars(exceptions).values() if isinstance(value, type)]
REQUEST_ERRORS = [RoeRequestError, RoeAuthenticationError, RoeNotFoundError, RoeUnavailableError]


def test_there_are_few():
    assert {error.__name__ for error in EVERY} == {
        "RoeError",
        "RoeInputError",
        "RoeNoConnectionError",
        "RoeRequestError",
        "RoeAuthenticationError",
        "RoeNotFoundError",
        "RoeUnavailableError",
        "RoeFailedError",
        "RoeQueryFailedError",
        "RoeAgentJobFailedError",
        "RoeResultError",
        "RoeOutputError",
        "RoeTimeoutError",
    }


@pytest.mark.parametrize("error", EVERY)
def test_each_is_a_roe_error_and_no_airflow_exception_which_would_skip_a_deferred_task(error):
    assert issubclass(error, RoeError)
    assert not issubclass(error, AirflowException)


def test_bad_input_is_a_value_error():
    assert issubclass(RoeInputError, ValueError)


@pytest.mark.parametrize("error", REQUEST_ERRORS)
def test_what_roe_refused_is_a_request_error(error):
    assert issubclass(error, RoeRequestError)


@pytest.mark.parametrize("error", EVERY)
def test_each_can_be_made_of_its_text_alone(error):
    assert str(error("what happened")) == "what happened"


@pytest.mark.parametrize("error", REQUEST_ERRORS)
def test_its_text_names_the_connection_and_the_request(error):
    raised = error("Roe is ill.", status_code=500, request_id="r-1")
    raised.conn_id = "roe_tenant"
    assert str(raised) == "Roe is ill. Connection: roe_tenant. Request id: r-1."


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (RoeInputError("query_id must be a UUID."), "query_id must be a UUID."),
        (RoeUnavailableError("GET /x was answered with 503.", status_code=503), "answered with 503"),
        (RoeUnavailableError("GET /x got no answer: it broke.", cause="it broke"), "it broke"),
        (RoeRequestError("No.", request_id="r-1"), "No."),
        (RoeError(), "RoeError"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_errors_alike_have_one_cause(error, cause):
    assert error.cause == cause


def test_the_text_of_one_that_was_retried_tells_how_often_and_how_long():
    raised = RoeUnavailableError("Roe is ill.", request_id="r-1")
    raised.attempts, raised.elapsed = 4, 31.6
    assert str(raised) == "Roe is ill. Request id: r-1. Gave up after 4 attempts in 32 s."


@pytest.mark.parametrize(
    ("error", "arguments"),
    [
        (RoeError, {}),
        (RoeInputError, {}),
        (RoeRequestError, {"status_code": 400, "request_id": "r-1"}),
        (RoeAuthenticationError, {"status_code": 401, "request_id": "r-1"}),
        (RoeNotFoundError, {"status_code": 404, "request_id": "r-1"}),
        (RoeUnavailableError, {"status_code": 503, "retry_after": 7.0, "repeatable": False}),
    ],
)
def test_each_survives_pickling_whole(error: type[RoeError], arguments: dict[str, Any]):
    raised = error("what happened", **arguments)
    copy = pickle.loads(pickle.dumps(raised))
    assert (type(copy), str(copy), vars(copy)) == (error, str(raised), vars(raised))
