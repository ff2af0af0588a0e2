"""The SQL operators that wait in the triggerer: of each a task that is to end well, and one to fail."""

from __future__ import annotations

from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_roe.operators.roe_sql import (
    RoeBranchSQLOperator,
    RoeSQLCheckOperator,
    RoeSQLColumnCheckOperator,
    RoeSQLExecuteQueryOperator,
    RoeSQLIntervalCheckOperator,
    RoeSQLTableCheckOperator,
    RoeSQLThresholdCheckOperator,
    RoeSQLValueCheckOperator,
)

#: For each operator what all of its tasks have, what makes them end well, and what makes them fail
OPERATORS = {
    RoeSQLExecuteQueryOperator: (
        {"return_last": False, "parameters": {"n": 20}},
        {"sql": ["SELECT count(*) FROM days WHERE amount >= %(n)s", "SELECT %(n)s"]},
        {"sql": ["SELECT %(n)s", "SELECT %(n)s FROM nowhere"]},
    ),
    RoeSQLColumnCheckOperator: (
        {"table": "days"},
        {"column_mapping": {"amount": {"null_check": {"equal_to": 0}, "max": {"equal_to": 30}}}},
        {"column_mapping": {"amount": {"null_check": {"equal_to": 1}}}},
    ),
    RoeSQLTableCheckOperator: (
        {"table": "days"},
        {"checks": {"row_count": {"check_statement": "count(*) = 3"}}},
        {"checks": {"row_count": {"check_statement": "count(*) = 4"}}},
    ),
    RoeSQLCheckOperator: ({}, {"sql": "SELECT 1, 'a'"}, {"sql": "SELECT 1, 0"}),
    RoeSQLValueCheckOperator: (
        {"sql": "SELECT sum(amount) FROM days"},
        {"pass_value": 60},
        {"pass_value": 61},
    ),
    RoeSQLIntervalCheckOperator: (
        {"table": "days", "days_back": -7, "date_filter_column": "day"},
        {"metrics_thresholds": {"SUM(amount)": 1.5}},
        {"metrics_thresholds": {"COUNT(*)": 1.5}},
    ),
    RoeSQLThresholdCheckOperator: (
        {"sql": "SELECT max(amount) FROM days", "min_threshold": "SELECT min(amount) FROM days"},
        {"max_threshold": 30},
        {"max_threshold": 29},
    ),
}


@dag(schedule=None, catchup=False, max_active_tasks=40, default_args={"retries": 0})
def sql_deferrable():
    roe = {"conn_id": "roe_sql", "deferrable": True, "defer_after": 0, "hook_params": {"poll_interval": 1}}
    for operator, (both, well, badly) in OPERATORS.items():
        operator(task_id=operator.__name__, **both, **well, **roe)
        operator(task_id=f"{operator.__name__}_fails", **both, **badly, **roe)
    choose = RoeBranchSQLOperator(
        task_id="branch",
        sql="SELECT count(*) = 4 FROM days",
        follow_task_ids_if_true="there",
        follow_task_ids_if_false="not_there",
        **roe,
    )

    @task
    def there() -> None:
        """Is not run."""

    @task
    def not_there() -> None:
        """Is run."""

    choose >> [there(), not_there()]


sql_deferrable()
