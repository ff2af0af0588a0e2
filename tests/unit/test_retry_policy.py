from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from airflow import __version__ as airflow_version
from airflow.providers.common.compat.sdk import AirflowException, AirflowTaskTimeout, BaseOperator
from packaging.version import Version

from airflow_provider_roe.exceptions import (
    RoeAgentJobFailedError,
    RoeAuthenticationError,
    RoeError,
    RoeInputError,
    RoeNoConnectionError,
    RoeNotFoundError,
    RoeOutputError,
    RoeQueryFailedError,
    RoeRequestError,
    RoeResultError,
    RoeTimeoutError,
    RoeUnavailableError,
)
from airflow_provider_roe.operators.roe import RoeQueryOperator
from airflow_provider_roe.operators.roe_agent import RoeAgentOperator
from airflow_provider_roe.operators.roe_sql import RoeSQLExecuteQueryOperator
from airflow_provider_roe.retry_policy import RoeRetryPolicy
from airflow_provider_roe.sensors.roe import RoeQueryStatusSensor
from airflow_provider_roe.sensors.roe_agent import RoeAgentJobSensor
from airflow_provider_roe.sql.dbapi import as_dbapi_errors

TASKS: dict[str, tuple[type[Any], dict[str, Any]]] = {
    "sensor": (RoeQueryStatusSensor, {"query_id": "7d9c3b1e-52f4-4a8d-9e60-1b7f2c4d8a35"}),
    "sensor of jobs": (RoeAgentJobSensor, {"job_ids": ["7d9c3b1e-52f4-4a8d-9e60-1b7f2c4d8a35"]}),
    "operator": (RoeQueryOperator, {"sql": "SELECT 1"}),
    "operator of jobs": (
        RoeAgentOperator,
        {"agent_id": "3f0c7a52-8d1e-4b6f-9a27-5c1b0e84d6f3", "inputs": {}},
    ),
    "operator of Airflow's SQL": (RoeSQLExecuteQueryOperator, {"sql": "SELECT 1"}),
}
OUT = RoeUnavailableError("Roe is busy.", status_code=503)


def task(name: str, **arguments: Any) -> Any:
    operator, required = TASKS[name]
    return operator(task_id="run", **required, **arguments)


def as_dbapi_error(error: RoeError) -> RoeError:
    with pytest.raises(RoeError) as raised, as_dbapi_errors():
        raise error
    assert raised.value.__cause__ is error
    return raised.value


if Version(airflow_version).release < (3, 4):

    def test_it_says_which_airflow_it_needs():
        with pytest.raises(
            RoeInputError, match=r"^retry_policy: RoeRetryPolicy needs Airflow 3\.4 or newer"
        ) as e:
            RoeRetryPolicy()
        assert f"this is {airflow_version}" in str(e.value)

else:
    from airflow.sdk import RetryAction, RetryDecision

    def decide(error: BaseException, task: Any) -> RetryDecision:
        """Return what the policy, held by the task, answers to Airflow's task runner."""
        return task.retry_policy.evaluate(exception=error, try_number=1, max_tries=2, context={"task": task})

    def action(error: BaseException, name: str = "sensor") -> RetryAction:
        return decide(error, task(name, retry_policy=RoeRetryPolicy())).action

    @pytest.mark.parametrize("name", TASKS)
    def test_an_outage_uses_none_of_a_task_s_retries_for_a_day(name):
        again = timedelta(minutes=7)
        decision = decide(OUT, task(name, retry_policy=RoeRetryPolicy(), retry_delay=again))
        assert (decision.action, decision.retry_delay) == (RetryAction.RESCHEDULE, again)
        assert (decision.reschedule_timeout, decision.max_reschedules) == (timedelta(days=1), None)
        assert decision.reason == "Roe is unavailable: answered with 503"

    def test_a_task_stays_away_until_airflow_knows_that_it_has_left():
        decision = decide(OUT, task("sensor", retry_policy=RoeRetryPolicy(), retry_delay=timedelta(0)))
        assert decision.retry_delay == timedelta(seconds=15)

    @pytest.mark.parametrize("name", ["operator", "operator of jobs", "operator of Airflow's SQL"])
    def test_what_would_be_started_anew_is_left_to_its_retries(name):
        operator = task(name, retry_policy=RoeRetryPolicy(), durable=False)
        assert decide(OUT, operator).action is RetryAction.DEFAULT

    def test_so_is_a_task_that_is_not_of_this_provider():
        operator = BaseOperator(task_id="run", retry_policy=RoeRetryPolicy())
        assert decide(OUT, operator).action is RetryAction.DEFAULT
        assert RoeRetryPolicy().evaluate(OUT, 1, 2).action is RetryAction.DEFAULT

    def test_so_is_a_submit_whose_answer_was_lost():
        assert action(RoeUnavailableError("No answer.", repeatable=False), "operator") is RetryAction.DEFAULT

    @pytest.mark.parametrize("error", [RoeInputError, RoeResultError, RoeAuthenticationError])
    def test_what_no_retry_mends_fails_at_once(error):
        decision = decide(error("what is wrong"), task("operator", retry_policy=RoeRetryPolicy()))
        assert decision.action is RetryAction.FAIL
        assert decision.reason == f"{error.__name__}: it would fail again in the same way"

    @pytest.mark.parametrize(
        "error",
        [
            RoeError("something else"),
            RoeRequestError("Roe refused it.", status_code=402),
            RoeNotFoundError("There is no such query."),
            RoeQueryFailedError("The query has failed."),
            RoeAgentJobFailedError("The job has failed."),
            RoeNoConnectionError("Airflow has no connection."),
            RoeOutputError("The output is no JSON.", job_id="7d9c3b1e-52f4-4a8d-9e60-1b7f2c4d8a35"),
            RoeTimeoutError("It has not ended in time."),
            AirflowTaskTimeout("The task's execution_timeout is over."),
            AirflowException("of Airflow's"),
            ValueError("of the user's code"),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_all_else_is_as_its_retries_say(error):
        assert action(error, "operator") is RetryAction.DEFAULT

    @pytest.mark.parametrize(
        ("error", "expected"),
        [
            (OUT, RetryAction.RESCHEDULE),
            (RoeInputError("what is wrong"), RetryAction.FAIL),
            (RoeAuthenticationError("Roe did not accept the API key.", status_code=401), RetryAction.FAIL),
            (RoeUnavailableError("No answer.", repeatable=False), RetryAction.DEFAULT),
            (RoeQueryFailedError("The query has failed."), RetryAction.DEFAULT),
        ],
        ids=["outage", "input", "key", "lost submit", "failed query"],
    )
    def test_errors_of_the_db_api_are_what_led_to_them(error, expected):
        assert action(as_dbapi_error(error), "operator of Airflow's SQL") is expected
