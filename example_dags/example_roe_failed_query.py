"""
Go on when a query fails.

With `soft_fail` a failed query skips the sensor instead of failing it. The branch after it runs either
way and looks at what the sensor has left: a status if the query succeeded, nothing if it did not.
"""

from __future__ import annotations

from airflow.providers.common.compat.sdk import TriggerRule, dag, task

from airflow_provider_roe.hooks.roe import RoeHook
from airflow_provider_roe.sensors.roe import RoeQueryStatusSensor

SQL = "SELECT * FROM a_table_that_does_not_exist"


@dag(schedule=None, catchup=False, tags=["roe", "example"], doc_md=__doc__)
def example_roe_failed_query():
    @task
    def submit() -> str:
        return RoeHook().submit_query(SQL).query_id

    # An ordinary task would be skipped together with the sensor: hence the trigger rule.
    @task.branch(trigger_rule=TriggerRule.NONE_FAILED)
    def choose(status: dict | None) -> str:
        return "use_result" if status else "use_fallback"

    @task
    def use_result() -> str:
        return "The query succeeded."

    @task
    def use_fallback() -> str:
        return "The query failed: yesterday's numbers will do."

    wait = RoeQueryStatusSensor(task_id="wait", query_id=submit(), deferrable=True, soft_fail=True)
    choose(wait.output) >> [use_result(), use_fallback()]


example_roe_failed_query()
