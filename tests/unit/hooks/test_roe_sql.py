from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pandas
import polars
import pytest
from airflow.providers.common.compat.sdk import BaseHook
from airflow.providers.common.sql.hooks.handlers import fetch_all_handler, fetch_one_handler
from airflow.providers.common.sql.hooks.sql import DbApiHook
from airflow.providers.common.sql.operators import sql as operators
from airflow.providers.common.sql.sensors.sql import SqlSensor
from airflow.providers.openlineage.extractors.manager import ExtractorManager
from airflow.providers.openlineage.sqlparser import SQLParser
from airflow.utils.state import TaskInstanceState

from airflow_provider_roe.exceptions import RoeError, RoeInputError, RoeQueryFailedError
from airflow_provider_roe.hooks.roe_sql import RoeSqlHook
from airflow_provider_roe.sql import dbapi
from airflow_provider_roe.testing import QueryPlan, RoeSimulator
from airflow_provider_roe.testing.query import Query
from tests.unit.results.answers import body, statement

if TYPE_CHECKING:
    from collections.abc import Callable

SQL = "SELECT 1 AS n, 'one' AS word UNION ALL SELECT 2, NULL"
ROWS = [(1, "one"), (2, None)]
OTHER_ORGANIZATION = "11111111-2222-4333-8444-555555555555"


pytestmark = pytest.mark.usefixtures("told")


@pytest.fixture(autouse=True)
def _connected(roe: RoeSimulator, connect: Callable[..., None]) -> None:
    connect(roe)
    roe.plan = QueryPlan(statuses=())


@pytest.fixture
def hook() -> RoeSqlHook:
    return RoeSqlHook()


class TestMadeByAirflow:
    def test_of_a_connection_of_the_type(self):
        hook = BaseHook.get_connection("roe_default").get_hook()
        assert isinstance(hook, RoeSqlHook)
        assert hook.get_conn_id() == hook.roe.roe_conn_id == "roe_default"

    @pytest.mark.parametrize(
        "extra",
        [
            {"verify": "true", "success_statuses": ["DONE"], "web_url": "https://roe.example.com"},
            {"retry_windw": 5, "schema_of_ours": "x"},  # which the log tells to be unknown
            {"extra__roe__request_timeout": 7},
            {"organization_id": OTHER_ORGANIZATION},
        ],
        ids=str,
    )
    def test_by_an_operator_with_all_of_the_connection_s_extra(self, roe, connect, extra):
        connect(roe, conn_id="roe_extra", **extra)
        operator = operators.SQLCheckOperator(task_id="t", conn_id="roe_extra", sql="SELECT 1")
        assert isinstance(operator.get_db_hook(), RoeSqlHook)

    def test_by_an_operator_with_parameters_of_its_own(self):
        parameters = {"organization_id": OTHER_ORGANIZATION, "timeout": 60, "poll_interval": 5}
        operator = operators.SQLCheckOperator(
            task_id="t", conn_id="roe_default", sql="SELECT 1", hook_params=parameters
        )
        hook = operator.get_db_hook()
        assert (hook.roe.organization_id, hook.timeout, hook.poll_interval) == (OTHER_ORGANIZATION, 60, 5)

    def test_by_a_sensor(self):
        hook = SqlSensor(
            task_id="t", conn_id="roe_default", sql="SELECT 1", hook_params={"timeout": 60}
        )._get_hook()
        assert hook.timeout == 60

    @pytest.mark.parametrize(
        ("parameters", "words"),
        [
            (
                {"warehouse": "big"},
                r"connection 'roe_default' does not take 'warehouse'. hook_params may hold",
            ),
            ({"retry_window": 7}, "does not take 'retry_window'.*belongs into the connection"),
            ({"timeout": "5"}, "timeout must be a number of seconds or a timedelta"),
        ],
        ids=str,
    )
    def test_a_parameter_that_it_does_not_know_is_refused(self, parameters, words):
        operator = operators.SQLCheckOperator(
            task_id="t", conn_id="roe_default", sql="SELECT 1", hook_params=parameters
        )
        with pytest.raises(RoeInputError, match=words):
            operator.get_db_hook()

    def test_a_database_is_refused(self, roe):
        operator = operators.SQLCheckOperator(
            task_id="t", conn_id="roe_default", sql="SELECT 1", database="sales"
        )
        with pytest.raises(dbapi.NotSupportedError, match=r"Roe cannot choose a database.*as in db\.table"):
            operator.execute({})
        with pytest.raises(dbapi.NotSupportedError, match="Roe cannot choose a database"):
            RoeSqlHook(schema="sales")
        assert roe.requests == []

    def test_its_connection_is_tested_as_roe_s(self, roe, hook):
        assert hook.test_connection() == (
            True,
            f"{roe.url} accepts the API key for organization {roe.organization_id}.",
        )
        assert len(roe.queries) == 0


class TestRun:
    def test_records_are_tuples_of_python_values(self, hook):
        assert hook.get_records(SQL) == ROWS
        assert hook.get_first(SQL) == ROWS[0]
        assert [column[0] for column in hook.last_description] == ["n", "word"]

    def test_for_the_organization_that_it_is_given(self, roe):
        roe.organization_id = OTHER_ORGANIZATION
        assert RoeSqlHook(organization_id=OTHER_ORGANIZATION).get_records(SQL) == ROWS

    def test_a_text_is_one_query_and_its_first_result_counts(self, roe, hook):
        text = "DELETE FROM documents; SELECT 1; -- a comment; with a semicolon\nSELECT 2"
        assert hook.get_records(text) == [(1,)]
        [query] = roe.queries.values()
        assert query.sql == text

    @pytest.mark.parametrize("handler", [fetch_all_handler, fetch_one_handler, None])
    @pytest.mark.parametrize("return_last", [True, False])
    @pytest.mark.parametrize("split_statements", [True, False])
    @pytest.mark.parametrize(
        "sql", ["SELECT 1", ["SELECT 1"], ["SELECT 1", "SELECT 2"], "SELECT 1; SELECT 2"], ids=str
    )
    def test_what_is_returned_has_the_form_that_airflow_s_operators_expect(
        self, hook, sql, split_statements, return_last, handler
    ):
        arguments = {"split_statements": split_statements, "return_last": return_last}
        expected: list[Any] = [[(1,)], [(2,)]]
        if "2" not in str(sql) or (isinstance(sql, str) and not split_statements):
            del expected[1:]
        if handler is fetch_one_handler:
            expected = [rows[0] for rows in expected]
        if handler is None:
            expected = None
        elif isinstance(sql, str) and (return_last or not split_statements):
            expected = expected[-1]
        assert hook.run(sql, handler=handler, **arguments) == expected

    @pytest.mark.parametrize("split_statements", [True, False, None])
    def test_by_airflow_s_operator_whatever_it_is_told_about_splitting(self, roe, split_statements):
        operator = operators.SQLExecuteQueryOperator(
            task_id="t",
            conn_id="roe_default",
            sql="DROP TABLE IF EXISTS x; SELECT 1; SELECT 2",
            split_statements=split_statements,
        )
        assert operator.execute({}) == ([(2,)] if split_statements else [(1,)])
        assert len(roe.queries) == 1

    @pytest.mark.parametrize("parameters", [["its", 2], ("its", 2), iter(["its", 2])], ids=["l", "t", "i"])
    def test_parameters_are_bound(self, hook, parameters):
        assert hook.get_first("SELECT %s AS a, %s AS b", parameters) == ("its", 2)

    def test_so_are_named_ones(self, hook):
        assert hook.get_first("SELECT %(b)s AS a, '100%%' AS b", {"b": "its"}) == ("its", "100%")

    @pytest.mark.parametrize("parameters", [None, (), {}], ids=str)
    def test_without_any_a_percent_sign_is_one(self, hook, parameters):
        assert hook.get_first("SELECT '100%' AS a, '%s' AS b", parameters) == ("100%", "%s")

    def test_without_a_handler_nothing_is_downloaded(self, roe, hook):
        hook.run([SQL, SQL])
        assert len(roe.queries) == 2
        assert roe.requests_of("result") == []

    def test_with_one_it_is_downloaded_once(self, roe, hook):
        hook.get_records(SQL)
        assert len(roe.requests_of("result")) == 1

    @pytest.mark.parametrize("sql", ["", " ", [], [""]], ids=repr)
    def test_no_sql_is_refused_as_airflow_s_other_hooks_do(self, hook, sql):
        with pytest.raises(ValueError, match="List of SQL statements is empty"):
            hook.run(sql)

    def test_autocommit_makes_no_difference(self, hook):
        assert hook.run(SQL, autocommit=True, handler=fetch_all_handler) == ROWS
        assert hook.get_autocommit(hook.get_conn()) is False

    @pytest.mark.parametrize("log_sql", [True, False])
    def test_the_log_has_the_sql_unless_told_otherwise(self, log_sql, capsys):
        RoeSqlHook(log_sql=log_sql).get_records("SELECT 'shown'")
        assert ("SELECT 'shown'" in capsys.readouterr().out) is log_sql

    @pytest.mark.parametrize(
        "run",
        [
            lambda hook: hook.run("SELECT * FROM nowhere"),
            lambda hook: hook.get_first("SELECT * FROM nowhere"),
            lambda hook: hook.get_df("SELECT * FROM nowhere"),
            lambda hook: list(hook.get_df_by_chunks("SELECT * FROM nowhere", chunksize=1)),
            lambda hook: hook.insert_rows("nowhere", [(1,)]),
            lambda hook: hook.get_table_schema("nowhere"),
        ],
        ids=["run", "get_first", "get_df", "get_df_by_chunks", "insert_rows", "get_table_schema"],
    )
    def test_sql_that_fails_is_a_db_api_error_that_begins_with_roe_s_reason(self, hook, run):
        with pytest.raises(dbapi.DatabaseError, match=r"^no such table: nowhere") as e:
            run(hook)
        assert isinstance(e.value.__cause__, RoeQueryFailedError)


class TestFrames:
    @pytest.mark.parametrize("get_df", ["get_df", "get_pandas_df"])
    def test_pandas(self, hook, get_df):
        frame = getattr(hook, get_df)(SQL)
        assert isinstance(frame, pandas.DataFrame)
        assert frame["n"].tolist() == [1, 2]
        assert frame["word"].isna().tolist() == [False, True]

    def test_polars(self, hook):
        frame = hook.get_df(SQL, df_type="polars")
        assert isinstance(frame, polars.DataFrame)
        assert frame.rows() == ROWS

    def test_parameters_are_bound(self, hook):
        assert hook.get_df("SELECT %(a)s AS a", {"a": "its"})["a"].tolist() == ["its"]

    @pytest.mark.parametrize("sql", ["SELECT 1 AS n; SELECT 2 AS m", ["SELECT 1 AS n", "SELECT 2 AS m"]])
    def test_of_several_it_is_the_last(self, hook, sql):
        assert hook.get_df(sql)["m"].tolist() == [2]

    @pytest.mark.parametrize("df_type", ["pandas", "polars"])
    @pytest.mark.parametrize("chunksize", [1, 2, 3, 7, 100])
    def test_in_chunks(self, hook, df_type, chunksize):
        many = " UNION ALL ".join(f"SELECT {n} AS n" for n in range(7))
        frames = list(hook.get_df_by_chunks("SELECT 8 AS n; " + many, chunksize=chunksize, df_type=df_type))
        assert [len(frame) for frame in frames[:-1]] == [chunksize] * (len(frames) - 1)
        assert [n for frame in frames for n in frame["n"].to_list()] == list(range(7))

    @pytest.mark.parametrize("df_type", ["pandas", "polars"])
    def test_without_rows_there_is_one_without_rows(self, hook, df_type):
        none = "SELECT 1 AS n WHERE 1 = 0"
        [frame] = hook.get_df_by_chunks(none, chunksize=2, df_type=df_type)
        assert list(frame.columns) == list(hook.get_df(none, df_type=df_type).columns) == ["n"]
        assert len(frame) == 0

    def test_without_columns_there_is_none(self, hook):
        with pytest.raises(dbapi.ProgrammingError, match=r"^None of the query's statements returns columns"):
            hook.get_df("DELETE FROM invoices")

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ({"df_type": "spark"}, "df_type must be 'pandas' or 'polars', not 'spark'"),
            ({"chunksize": 0}, "chunksize must be a whole number, 1 or more, not 0"),
        ],
        ids=str,
    )
    def test_what_cannot_be_made_is_refused_before_anything_is_submitted(self, roe, hook, arguments, words):
        with pytest.raises(RoeInputError, match=words):
            list(hook.get_df_by_chunks(SQL, **{"chunksize": 1} | arguments))
        assert roe.requests == []


class TestInsertRows:
    @pytest.fixture(autouse=True)
    def texts(self, roe: RoeSimulator) -> Callable[[], list[str]]:
        """Let all queries succeed; return what returns their texts."""
        roe.plan = QueryPlan(statuses=(), ends_as="SUCCESS")
        return lambda: [query.sql for query in roe.queries.values()]

    @pytest.mark.parametrize(
        ("commit_every", "queries"), [(1000, 1), (0, 1), (2, 3), (5, 1), (4, 2)], ids=str
    )
    @pytest.mark.parametrize("kind", [list, iter], ids=["list", "generator"])
    def test_many_rows_are_one_query(self, hook, texts, kind, commit_every, queries):
        rows = [(n, f"its {n}") for n in range(5)]
        hook.insert_rows("db.t", kind(rows), ["n", "a word"], commit_every=commit_every)
        assert len(texts()) == queries
        assert all(text.startswith('INSERT INTO db.t (n, "a word") VALUES') for text in texts())
        assert [n for text in texts() for n in range(5) if f"s {n}" in text] == list(range(5))

    def test_values_keep_their_types(self, hook, texts):
        hook.insert_rows("t", [(1, "1", None)])
        [text] = texts()
        assert "(1,'1',NULL)" in text.replace(", ", ",")

    def test_no_rows_are_no_query(self, roe, hook):
        hook.insert_rows("t", [])
        assert roe.requests == []

    def test_when_a_query_fails_the_log_says_how_many_rows_are_there_and_no_row(self, roe, hook, capsys):
        roe.plan = QueryPlan(statuses=())
        rows = [(1, "a", "b", "c", 1, "d", "secret")]
        with pytest.raises(dbapi.DatabaseError):
            hook.insert_rows("documents", [(99, *rows[0][1:]), *rows], commit_every=1)
        told = capsys.readouterr().out
        assert "The first 1 rows are in documents" in told
        assert "secret" not in told

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ({"replace": True}, "Roe cannot replace rows: insert them without replace"),
            ({"replace_index": "id"}, "insert_rows does not take 'replace_index'"),
        ],
        ids=str,
    )
    def test_what_roe_cannot_do_is_refused(self, roe, hook, arguments, words):
        with pytest.raises(RoeError, match=words):
            hook.insert_rows("t", [(1,)], **arguments)
        assert roe.requests == []

    @pytest.mark.parametrize("columns", [None, ["id", "file_name"]], ids=str)
    def test_by_airflow_s_operator_which_may_ask_for_the_columns(self, roe, texts, columns):
        operators.SQLInsertRowsOperator(
            task_id="t", conn_id="roe_default", table_name="documents", columns=columns, rows=[(1, "a")]
        ).execute({})
        assert texts()[-1].startswith("INSERT INTO documents (id, file_name")
        assert len(texts()) == (1 if columns else 2)


class TestTables:
    def test_columns_are_told_without_reading_a_row(self, roe, hook):
        columns = hook.get_table_schema("invoices")
        assert [column["name"] for column in columns][:2] == ["number", "document_id"]
        assert all(column["type"] for column in columns)
        assert [query.sql for query in roe.queries.values()] == ["SELECT * FROM invoices LIMIT 0"]

    def test_of_a_database_too(self, roe, hook):
        assert hook.dialect.get_column_names("documents", "main")[0] == "id"
        assert hook.dialect.get_target_fields("main.documents")[0] == "id"

    @pytest.mark.parametrize(
        ("name", "written"),
        [
            ("id", "id"),
            ("_Id1", "_Id1"),
            ("a b", '"a b"'),
            ("1st", '"1st"'),
            ("naïve", '"naïve"'),
            ('a"b', '"a\\"b"'),
            ("a\\b", '"a\\\\b"'),
            ('"a b"', '"a b"'),
            ("`a b`", "`a b`"),
            ('"', '"\\""'),
        ],
    )
    def test_a_column_s_name_is_written_as_clickhouse_reads_it(self, hook, name, written):
        assert hook.dialect.escape_word(name) == written


class TestWhatRoeHasNot:
    @pytest.mark.parametrize(
        "ask",
        [
            lambda hook: hook.get_uri(),
            lambda hook: hook.sqlalchemy_url,
            lambda hook: hook.get_sqlalchemy_engine(),
            lambda hook: hook.inspector,
            lambda hook: hook.dialect.get_primary_keys("documents"),
        ],
        ids=["get_uri", "sqlalchemy_url", "get_sqlalchemy_engine", "inspector", "get_primary_keys"],
    )
    def test_sqlalchemy_is_refused_with_what_to_do_instead(self, roe, hook, ask):
        with pytest.raises(dbapi.NotSupportedError, match=r"no SQLAlchemy dialect for Roe.*use get_records"):
            ask(hook)
        assert roe.requests == []

    @pytest.mark.parametrize("name", ["bulk_load", "bulk_dump"])
    def test_so_are_files(self, hook, name):
        with pytest.raises(dbapi.NotSupportedError, match="Roe cannot"):
            getattr(hook, name)("documents", "/tmp/file")


def names_of(method: Any) -> set[str]:
    return {p.name for p in inspect.signature(method).parameters.values() if p.kind is not p.VAR_KEYWORD}


@pytest.mark.parametrize(
    "name", [name for name, member in vars(RoeSqlHook).items() if inspect.isfunction(member)]
)
def test_each_method_takes_what_airflow_s_takes(name):
    theirs = getattr(DbApiHook, name, None)
    if theirs and name != "__init__":
        assert names_of(theirs) <= names_of(getattr(RoeSqlHook, name))


class TestLineage:
    def test_it_has_each_query_with_its_id(self, roe, hook, told):
        hook.run(["SELECT 1", "SELECT 2"])
        hook.get_df("SELECT %s AS n", [3])
        roe.plan = QueryPlan(statuses=(), ends_as="SUCCESS")
        hook.insert_rows("t", [(1,), (2,)])
        assert [entry["job_id"] for entry in told] == list(roe.queries)
        assert [entry["sql"] for entry in told] == [
            *("SELECT 1", "SELECT 2", "SELECT %s AS n", "INSERT INTO t  VALUES (%s)")
        ]
        assert told[2]["sql_parameters"] == [3]
        assert told[3]["row_count"] == 2

    def test_openlineage_finds_where_the_query_of_a_python_task_ran(self, roe, hook, told):
        hook.run("SELECT 1")
        info = told[0]["context"].get_openlineage_database_info(None)
        assert SQLParser.create_namespace(info) == roe.url.replace("http://", "roe://")
        assert told[0]["context"].get_conn_id() == "roe_default"


class TestOpenLineage:
    def extract(self, operator: Any, start: bool = False) -> Any:
        """Return what OpenLineage's provider makes of an operator of Airflow's that has run."""
        state = None if start else TaskInstanceState.SUCCESS
        return ExtractorManager().extract_metadata(
            SimpleNamespace(run_id="r"), operator, state, SimpleNamespace(task=operator)
        )

    def operator(self, **hook_params: Any) -> Any:
        return operators.SQLExecuteQueryOperator(
            task_id="t",
            conn_id="roe_default",
            sql="INSERT INTO documents SELECT * FROM sales.Invoices",
            hook_params=hook_params,
        )

    @pytest.fixture(autouse=True)
    def _succeeds(self, roe: RoeSimulator) -> None:
        roe.plan = QueryPlan(statuses=(), ends_as="SUCCESS")

    def test_the_sql_names_the_tables_and_costs_no_query(self, roe):
        operator = self.operator()
        self.extract(operator, start=True)
        operator.execute({})
        found = self.extract(operator)
        [query_id] = roe.queries
        assert found.run_facets["externalQuery"].externalQueryId == query_id
        assert found.job_facets["sql"].query == operator.sql
        assert [dataset.name for dataset in found.inputs] == ["sales.Invoices"]
        assert [dataset.name for dataset in found.outputs] == ["default.documents"]
        assert {dataset.namespace for dataset in found.inputs} == {roe.url.replace("http://", "roe://")}

    def test_where_it_is_told_to_it_asks_roe_for_columns(self, roe, monkeypatch):
        def catalogue(query: Query) -> dict[str, Any]:
            table = ("sales", "Invoices") if "'Invoices'" in query.sql else ("default", "documents")
            row = statement(
                table_schema=("String", [table[0]]),
                table_name=("String", [table[1]]),
                column_name=("String", ["Total"]),
                ordinal_position=("UInt64", ["1"]),
                data_type=("String", ["Decimal(9, 2)"]),
            )
            return body(row) | query.as_status()

        monkeypatch.setattr(Query, "as_result", catalogue)
        operator = self.operator(openlineage_schemas=True)
        operator.execute({})
        found = self.extract(operator)
        [ran, *asked] = [query.sql for query in roe.queries.values()]
        assert ran == operator.sql
        assert ["information_schema.columns" in sql for sql in asked] == [True, True]
        for datasets, name in ((found.inputs, "sales.Invoices"), (found.outputs, "default.documents")):
            [dataset] = datasets
            [column] = dataset.facets["schema"].fields
            assert (dataset.name, column.name, column.type) == (name, "Total", "Decimal(9, 2)")
        assert found.run_facets["externalQuery"].externalQueryId == next(iter(roe.queries))
