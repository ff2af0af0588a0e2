from __future__ import annotations

import copy
import math
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from airflow import __version__ as airflow_version
from airflow.providers.common.compat.sdk import DAG, AirflowException, AirflowFailException, TaskDeferred
from airflow.providers.common.sql.operators import sql as common
from airflow.providers.openlineage.extractors.manager import ExtractorManager
from airflow.utils.state import TaskInstanceState
from packaging.version import Version

from airflow_provider_roe.exceptions import RoeQueryFailedError
from airflow_provider_roe.operators import roe_sql
from airflow_provider_roe.sql import dbapi
from airflow_provider_roe.testing import Fault, QueryPlan, RoeSimulator
from airflow_provider_roe.testing.query import Query
from tests.unit.operators.tries import TaskInstance, end, next_try
from tests.unit.results.answers import body, statement

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_roe.operators.roe_sql import RoeSQLTask

FOLLOWED = {"follow_task_ids_if_true": ["yes"], "follow_task_ids_if_false": ["no"]}
#: For each operator: arguments with which it succeeds, such with which its check fails, and how many queries
#: it runs.
OPERATORS: dict[str, tuple[dict[str, Any], dict[str, Any], int]] = {
    "RoeSQLExecuteQueryOperator": ({"sql": ["SELECT 1", "SELECT 2"]}, {}, 2),
    "RoeSQLColumnCheckOperator": (
        {"table": "documents", "column_mapping": {"id": {"min": {"equal_to": 1}}}},
        {"table": "documents", "column_mapping": {"id": {"min": {"equal_to": 2}}}},
        1,
    ),
    "RoeSQLTableCheckOperator": (
        {"table": "documents", "checks": {"pages": {"check_statement": "pages >= 0"}}},
        {"table": "documents", "checks": {"pages": {"check_statement": "pages > 0"}}},
        1,
    ),
    "RoeSQLCheckOperator": ({"sql": "SELECT 1, 2"}, {"sql": "SELECT 1, 0"}, 1),
    "RoeSQLValueCheckOperator": (
        {"sql": "SELECT 41", "pass_value": 42, "tolerance": 0.1},
        {"sql": "SELECT 30", "pass_value": 42, "tolerance": 0.1},
        1,
    ),
    "RoeSQLIntervalCheckOperator": (
        {"table": "documents", "metrics_thresholds": {"COUNT(*)": 1.5}, "date_filter_column": "1 OR ''"},
        {"table": "documents", "metrics_thresholds": {"COUNT(*)": 0.5}, "date_filter_column": "1 OR ''"},
        2,
    ),
    "RoeSQLThresholdCheckOperator": (
        {"sql": "SELECT 2", "min_threshold": "SELECT 1", "max_threshold": "SELECT 3"},
        {"sql": "SELECT 4", "min_threshold": "SELECT 1", "max_threshold": "SELECT 3"},
        3,
    ),
    "RoeBranchSQLOperator": ({"sql": "SELECT 1"} | FOLLOWED, {"sql": "SELECT 'perhaps'"} | FOLLOWED, 1),
}
ALL = pytest.mark.parametrize("name", OPERATORS)
CHECKS = pytest.mark.parametrize("name", [name for name, (_, fails, _) in OPERATORS.items() if fails])
QUERY = "7d9c3b1e-52f4-4a8d-9e60-1b7f2c4d8a35"
RUNS_ON = QueryPlan(statuses=[("STARTED", math.inf)])


pytestmark = pytest.mark.usefixtures("told")


@pytest.fixture(autouse=True)
def _connected(roe: RoeSimulator, connect: Callable[..., None]) -> None:
    connect(roe)
    roe.plan = QueryPlan(statuses=())


@pytest.fixture(autouse=True)
def followed(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Return the branches that are followed, one after the other: there is no DAG to skip tasks in."""
    chosen: list[list[str]] = []

    def choose(_: Any, ti: TaskInstance, branch: list[str]) -> None:
        chosen.append(branch)

    monkeypatch.setattr(common.BranchSQLOperator, "skip_all_except", choose)
    return chosen


def new(name: str, **arguments: Any) -> RoeSQLTask:
    """Return a new operator, as each process of a task makes it."""
    arguments = {"hook_params": {"poll_interval": 0.05, "timeout": 30}} | copy.deepcopy(arguments)
    return getattr(roe_sql, name)(task_id="run", **arguments)


def run(roe: RoeSimulator, context: dict[str, Any], name: str, **arguments: Any) -> tuple[Any, list[str]]:
    """Run a task that defers, as often as it does; return its value and the queries that it deferred for."""
    deferred_for = []
    arguments |= {"deferrable": True, "defer_after": 0}
    try:
        return new(name, **arguments).execute(context), deferred_for
    except TaskDeferred as e:
        deferred = e
    while True:
        query_id = deferred.trigger.serialize()[1]["query_id"]
        deferred_for.append(query_id)
        roe.finish(query_id, "SUCCESS")
        event = {"outcome": "success", "ended": {"query_id": query_id, "status": "SUCCESS"}}
        try:
            operator = new(name, **arguments)
            return operator.resume_execution("execute_complete", {"event": event}, context), deferred_for
        except TaskDeferred as e:
            deferred = e


def ended(roe: RoeSimulator, sql: str) -> str:
    """Submit a query and let it succeed; return its id."""
    query_id = roe.submit(sql)
    roe.finish(query_id, "SUCCESS")
    return query_id


def submitted(roe: RoeSimulator) -> int:
    return len(roe.requests_of("submit"))


class TestEach:
    @ALL
    def test_it_does_what_airflow_s_does(self, roe, context, name):
        succeeds, _, queries = OPERATORS[name]
        new(name, **succeeds).execute(context)
        assert context["ti"].xcoms["query_ids"] == list(roe.queries)
        assert submitted(roe) == queries

    @ALL
    def test_deferred_it_waits_for_each_query_in_the_triggerer_and_submits_it_once(self, roe, context, name):
        succeeds, _, queries = OPERATORS[name]
        here = new(name, **succeeds).execute({"ti": TaskInstance()})
        roe.queries.clear()
        roe.requests.clear()
        roe.plan = RUNS_ON
        value, deferred_for = run(roe, context, name, **succeeds)
        assert value == here
        assert deferred_for == list(roe.queries) == context["ti"].xcoms["query_ids"]
        assert submitted(roe) == len(deferred_for) == queries

    @CHECKS
    def test_a_check_fails_as_airflow_s_does(self, context, name):
        with pytest.raises(AirflowException):
            new(name, **OPERATORS[name][1]).execute(context)

    @CHECKS
    def test_so_it_does_after_a_deferral(self, roe, context, name):
        roe.plan = RUNS_ON
        with pytest.raises(AirflowException):
            run(roe, context, name, **OPERATORS[name][1])

    @CHECKS
    def test_a_retry_after_a_check_that_failed_submits_anew(self, roe, context, name):
        _, fails, queries = OPERATORS[name]
        for tries in (1, 2):
            with pytest.raises(AirflowException):
                new(name, **fails).execute(next_try(context))
            assert submitted(roe) == tries * queries

    @ALL
    @pytest.mark.parametrize("deferrable", [False, True])
    def test_sql_that_fails_is_a_db_api_error_with_roe_s_reason(self, roe, context, name, deferrable):
        roe.plan = QueryPlan(statuses=(), ends_as="FAILURE", error="Unknown table")
        with pytest.raises(dbapi.DatabaseError, match=r"^Unknown table") as e:
            new(name, deferrable=deferrable, **OPERATORS[name][0]).execute(context)
        assert isinstance(e.value.__cause__, RoeQueryFailedError)

    @ALL
    def test_its_arguments_can_come_from_default_args_and_be_mapped(self, name):
        operator = getattr(roe_sql, name)
        with DAG("dag", schedule=None, default_args={"conn_id": "roe_other", "deferrable": True}):
            task = operator(task_id="run", **OPERATORS[name][0])
            operator.partial(task_id="mapped", **OPERATORS[name][0]).expand(defer_after=[0, 1])
        assert (task.conn_id, task.deferrable) == ("roe_other", True)


class TestDeferring:
    def test_a_failure_that_the_trigger_tells_is_the_same_error(self, context):
        context["ti"].xcom_push("query_ids", [QUERY])
        event = {
            "outcome": "failed",
            "message": f"Query {QUERY} ended as FAILURE: Unknown table.",
            "status": "FAILURE",
            "reason": "Unknown table",
        }
        with pytest.raises(dbapi.ProgrammingError, match=rf"^Unknown table\. Query {QUERY} ended as FAILURE"):
            new("RoeSQLCheckOperator", sql="SELECT 1").resume_execution(
                "execute_complete", {"event": event}, context
            )

    def test_a_deferral_that_broke_off_looks_at_the_query_that_it_was_for(self, roe, context):
        context["ti"].xcom_push("query_ids", [ended(roe, "SELECT 7"), ended(roe, "SELECT 8")])
        operator = new("RoeSQLExecuteQueryOperator", sql=["SELECT 7", "SELECT 8"])
        assert operator.resume_execution("__fail__", {"error": "Trigger failure"}, context) == [
            [(7,)],
            [(8,)],
        ]

    def test_sql_that_its_template_makes_anew_is_not_submitted_again(self, roe, context):
        roe.plan = RUNS_ON
        with pytest.raises(TaskDeferred):
            new("RoeSQLExecuteQueryOperator", sql="SELECT 1", deferrable=True, defer_after=0).execute(context)
        [query_id] = roe.queries
        roe.finish(query_id, "SUCCESS")
        event = {"outcome": "success", "ended": {"query_id": query_id, "status": "SUCCESS"}}
        rendered_again = new("RoeSQLExecuteQueryOperator", sql="SELECT 2")
        assert rendered_again.execute_complete(context, event) == [(1,)]
        assert submitted(roe) == 1

    def test_the_wait_is_as_the_hook_s_parameters_say(self, roe, context):
        roe.plan = RUNS_ON
        organization = str(UUID(int=7))
        roe.organization_id = organization
        hook_params = {"timeout": 77, "poll_interval": 7, "organization_id": organization}
        with pytest.raises(TaskDeferred) as e:
            new(
                "RoeSQLCheckOperator",
                sql="SELECT 1",
                hook_params=hook_params,
                deferrable=True,
                defer_after=0,
            ).execute(context)
        _, kwargs = e.value.trigger.serialize()
        assert (kwargs["timeout"], kwargs["poke_interval"], kwargs["organization_id"]) == (
            77,
            7,
            organization,
        )

    def test_a_query_that_lasts_too_long_is_an_operational_error(self, roe, context):
        roe.plan = RUNS_ON
        with pytest.raises(dbapi.OperationalError, match="is still STARTED"):
            new("RoeSQLCheckOperator", sql="SELECT 1", hook_params={"timeout": 0.3}).execute(context)

    def test_being_killed_says_that_the_query_goes_on(self, roe, context, capsys):
        operator = new("RoeSQLCheckOperator", sql="SELECT 1")
        operator.execute(context)
        operator.on_kill()
        [query_id] = roe.queries
        assert f"Query {query_id} goes on at Roe" in capsys.readouterr().out

    @pytest.mark.parametrize(("value", "branch"), [("1", ["yes"]), ("'off'", ["no"]), ("0", ["no"])])
    def test_a_branch_is_followed_once_and_only_when_the_query_has_ended(
        self, roe, context, followed, value, branch
    ):
        roe.plan = RUNS_ON
        run(roe, context, "RoeBranchSQLOperator", sql=f"SELECT {value}", **FOLLOWED)
        assert followed == [branch]


class TestNextTry:
    SQL = ("INSERT INTO documents SELECT 99, 'a', 'b', 'c', 1, 'd', 'e'", "SELECT 2")

    def test_when_the_task_has_succeeded_and_is_cleared_all_is_submitted_anew(self, roe, context):
        operator = new("RoeSQLExecuteQueryOperator", sql=list(self.SQL))
        operator.execute(context)
        end(operator, context)
        new("RoeSQLExecuteQueryOperator", sql=list(self.SQL)).execute(next_try(context))
        assert submitted(roe) == 4

    def test_a_handler_s_error_makes_a_retry_submit_anew(self, roe, context):
        def fail(cursor: Any) -> None:
            raise LookupError(str(cursor.fetchall()))

        for _ in range(2):
            with pytest.raises(LookupError, match="2"):
                new("RoeSQLExecuteQueryOperator", sql="SELECT 2", handler=fail).execute(next_try(context))
        assert submitted(roe) == 2

    if Version(airflow_version) >= Version("3.3"):

        def fail_second(self, roe: RoeSimulator, context: dict[str, Any]) -> str:
            """Let the first of two queries succeed and the second fail; return the first one's id."""
            with pytest.raises(dbapi.DatabaseError):
                new("RoeSQLExecuteQueryOperator", sql=[self.SQL[0], "SELECT nothing"]).execute(context)
            return next(iter(roe.queries))

        def test_what_has_succeeded_is_not_repeated_when_the_next_query_fails(self, roe, context):
            first = self.fail_second(roe, context)
            context = next_try(context)
            with pytest.raises(dbapi.DatabaseError):
                new("RoeSQLExecuteQueryOperator", sql=[self.SQL[0], "SELECT nothing"]).execute(context)
            assert submitted(roe) == 3
            assert context["ti"].xcoms["query_ids"][0] == first

        def test_nor_when_the_next_query_has_been_mended(self, roe, context):
            first = self.fail_second(roe, context)
            context = next_try(context)
            value = new("RoeSQLExecuteQueryOperator", sql=list(self.SQL)).execute(context)
            assert value == [None, [(2,)]]
            assert submitted(roe) == 3
            assert context["ti"].xcoms["query_ids"][0] == first

        def test_a_query_for_other_sql_is_left_alone(self, roe, context, capsys):
            first = self.fail_second(roe, context)
            new("RoeSQLExecuteQueryOperator", sql="SELECT 3").execute(next_try(context))
            assert submitted(roe) == 3
            told = capsys.readouterr().out
            assert f"Query {first}, which an earlier try has submitted, was for other SQL" in told

        def test_a_query_that_runs_is_attached_to(self, roe, context):
            roe.plan = RUNS_ON
            with pytest.raises(dbapi.OperationalError):
                new("RoeSQLCheckOperator", sql="SELECT 1", hook_params={"timeout": 0.3}).execute(context)
            roe.finish(next(iter(roe.queries)), "SUCCESS")
            new("RoeSQLCheckOperator", sql="SELECT 1").execute(next_try(context))
            assert submitted(roe) == 1

        def test_a_result_that_cannot_be_had_does_not_run_the_query_again(self, roe, context):
            roe.add_fault(Fault(call="result", status_code=503, times=1))
            with pytest.raises(dbapi.OperationalError):
                new("RoeSQLCheckOperator", sql="SELECT 1").execute(context)
            new("RoeSQLCheckOperator", sql="SELECT 1").execute(next_try(context))
            assert submitted(roe) == 1

        def test_a_result_that_cannot_be_read_does(self, roe, context, monkeypatch):
            answer = body(statement(n=("UInt8", ["x"])))
            with monkeypatch.context() as patch:
                patch.setattr(Query, "as_result", lambda query: answer | query.as_status())
                with pytest.raises(dbapi.DataError, match="cannot be read as UInt8"):
                    new("RoeSQLCheckOperator", sql="SELECT 1").execute(context)
            new("RoeSQLCheckOperator", sql="SELECT 1").execute(next_try(context))
            assert submitted(roe) == 2

        @pytest.mark.parametrize("call", ["status", "result"])
        def test_nor_does_what_came_before_a_query_that_roe_has_lost(self, roe, context, call):
            operator = new("RoeSQLExecuteQueryOperator", sql=list(self.SQL))
            submit = operator.hook.submit_query

            def submit_and_lose(sql: str) -> Any:
                submitted = submit(sql)
                if sql == self.SQL[1]:
                    roe.add_fault(Fault(call=call, query_id=submitted.query_id, status_code=404))
                return submitted

            operator.hook.submit_query = submit_and_lose
            with pytest.raises(dbapi.OperationalError, match="Roe knows no such query"):
                operator.execute(context)
            value = new("RoeSQLExecuteQueryOperator", sql=list(self.SQL)).execute(next_try(context))
            assert value == [None, [(2,)]]
            assert [query.sql for query in roe.queries.values()] == [*self.SQL, self.SQL[1]]

        def test_not_durable_it_submits_anew(self, roe, context):
            for _ in range(2):
                new("RoeSQLCheckOperator", sql="SELECT 1", durable=False).execute(next_try(context))
            assert submitted(roe) == 2
            assert context["task_state_store"] == {}


class TestArguments:
    def test_a_check_that_is_not_to_be_retried_is_none(self, context):
        with pytest.raises(AirflowFailException):
            new("RoeSQLCheckOperator", sql="SELECT 0", retry_on_failure=False).execute(context)

    def test_parameters_are_bound(self, context):
        operator = new("RoeSQLExecuteQueryOperator", sql="SELECT %(a)s AS a", parameters={"a": "its"})
        assert operator.execute(context) == [("its",)]

    def test_a_database_is_refused_before_any_request(self, roe, context):
        with pytest.raises(dbapi.NotSupportedError, match="Roe cannot choose a database"):
            new("RoeSQLCheckOperator", sql="SELECT 1", database="sales").execute(context)
        assert roe.requests == []


class TestOpenLineage:
    """What its provider finds after a task; what Airflow's own operators tell is in the hook's tests."""

    def extract(self, operator: RoeSQLTask) -> Any:
        return ExtractorManager().extract_metadata(
            SimpleNamespace(run_id="r"), operator, TaskInstanceState.SUCCESS, SimpleNamespace(task=operator)
        )

    def test_after_a_deferral_it_has_the_tables_and_the_query_of_the_process_before(self, roe, context):
        sql = "SELECT 1 FROM documents"
        query_id = ended(roe, sql)
        context["ti"].xcom_push("query_ids", [query_id])
        operator = new("RoeSQLCheckOperator", sql=sql)
        event = {"outcome": "success", "ended": {"query_id": query_id, "status": "SUCCESS"}}
        operator.resume_execution("execute_complete", {"event": event}, context)
        found = self.extract(operator)
        assert [dataset.name for dataset in found.inputs] == ["default.documents"]
        assert found.run_facets["externalQuery"].externalQueryId == query_id

    def test_a_query_that_failed_is_told_with_its_id(self, roe, context):
        operator = new("RoeSQLCheckOperator", sql="SELECT 1 FROM nowhere")
        with pytest.raises(dbapi.ProgrammingError):
            operator.execute(context)
        assert self.extract(operator).run_facets["externalQuery"].externalQueryId == next(iter(roe.queries))

    def test_the_columns_of_tables_are_none_of_the_task_s_queries(self, roe, context):
        operator = new(
            "RoeSQLCheckOperator", sql="SELECT 1 FROM documents", hook_params={"openlineage_schemas": True}
        )
        operator.execute(context)
        self.extract(operator)
        assert len(roe.queries) == 2
        assert len(context["ti"].xcoms["query_ids"]) == 1
