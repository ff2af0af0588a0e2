"""RoeSqlHook: Roe as one of Airflow's SQL databases."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from copy import copy
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from airflow.providers.common.sql.dialects.dialect import Dialect
from airflow.providers.common.sql.hooks.handlers import return_single_query_results
from airflow.providers.common.sql.hooks.lineage import send_sql_hook_lineage
from airflow.providers.common.sql.hooks.sql import DbApiHook

from airflow_provider_roe.client.connection import WEEK
from airflow_provider_roe.exceptions import RoeInputError
from airflow_provider_roe.hooks.roe import RoeHook
from airflow_provider_roe.openlineage import DEFAULT_DATABASE, DIALECT
from airflow_provider_roe.sql import dbapi
from airflow_provider_roe.waiting.wait import seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import timedelta

    import pandas
    import polars
    from airflow.providers.common.compat.sdk import Connection
    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.providers.openlineage.sqlparser import DatabaseInfo

    from airflow_provider_roe.client.client import Client
    from airflow_provider_roe.results.spool import SpooledResult

_ONE_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NO_DATABASE = (
    "Roe cannot choose a database for a query: leave database and schema out, and write the database before"
    " the table's name in the SQL, as in db.table."
)
_NO_SQLALCHEMY = (
    "There is no SQLAlchemy dialect for Roe, and so neither an engine nor a URI: use get_records, get_df or"
    " get_conn, which is a DB-API connection."
)


class RoeSqlHook(DbApiHook):
    """
    Runs SQL on Roe for whatever in Airflow works with SQL databases.

    Airflow makes it of every connection of type ``roe``. For its operators and sensors, the parameters are
    given as ``hook_params``. What goes wrong is an exception of ``airflow_provider_roe.sql.dbapi``, whose
    text begins with Roe's reason.

    :param roe_conn_id: The Airflow connection of type ``roe``.
    :param organization_id: UUID of the organization that calls are for; by default the connection's.
    :param timeout: Seconds, or a timedelta, after which to give up a query. Default: 7 days.
    :param poll_interval: Seconds, or a timedelta, between two polls once a query has run for so long.
        Default: 60.
    :param openlineage_schemas: Whether OpenLineage asks Roe for the columns of tables, which costs up to two
        more queries when a task starts, and as many when it ends. Default: no.
    :param log_sql: Whether to log each query with its parameters.
    :param extra: What else the connection's extra holds, for Airflow's operators hand all of it on.
    :raises RoeInputError: A parameter is not known, or cannot be used.
    """

    conn_name_attr = RoeHook.conn_name_attr
    default_conn_name = RoeHook.default_conn_name
    conn_type = RoeHook.conn_type
    hook_name = RoeHook.hook_name
    supports_executemany = True

    # Properties of DbApiHook, which looks for others in the connection's extra.
    placeholder = "%s"
    insert_statement_format = "INSERT INTO {} {} VALUES ({})"
    dialect_name = DIALECT

    def __init__(
        self,
        roe_conn_id: str = RoeHook.default_conn_name,
        *,
        organization_id: str | None = None,
        timeout: float | timedelta = WEEK,
        poll_interval: float | timedelta = 60.0,
        openlineage_schemas: bool = False,
        schema: str | None = None,
        log_sql: bool = True,
        **extra: Any,
    ) -> None:
        super().__init__(roe_conn_id, log_sql=log_sql)
        self.schema = schema
        self.roe = RoeHook(roe_conn_id, organization_id=organization_id)
        self.timeout = seconds(timeout, "timeout")
        self.poll_interval = seconds(poll_interval, "poll_interval")
        self.openlineage_schemas = openlineage_schemas
        #: Makes the DB-API connection, which submits a query and waits for it.
        self.connect: Callable[[Client, float, float], dbapi.Connection] = dbapi.Connection
        #: The text and the id of each query that it has run.
        self.queries: list[tuple[str, str]] = []
        if extra:
            self._check_extra(extra)

    def _check_extra(self, given: dict[str, Any]) -> None:
        held = self.connection_extra
        unknown = [name for name, value in given.items() if name not in held or held[name] != value]
        if unknown:
            raise RoeInputError(
                f"The hook of connection {self.roe_conn_id!r} does not take {', '.join(map(repr, unknown))}."
                " hook_params may hold organization_id, timeout, poll_interval, openlineage_schemas and"
                " log_sql; all else belongs into the connection."
            )

    # What Airflow before 3.2 asks for the connection's form; later versions read the provider info.

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the form's fields for Airflow 2.11."""
        from airflow_provider_roe.get_provider_info import form_widgets

        return form_widgets()

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return the form's labels and placeholders for Airflow 2.11."""
        from airflow_provider_roe.get_provider_info import ui_field_behaviour

        return ui_field_behaviour()

    def test_connection(self) -> tuple[bool, str]:  # type: ignore[override]
        """Say whether Roe accepts the connection, for the Test button of Airflow's connection form."""
        return self.roe.test_connection()

    # Queries

    def get_conn(self) -> dbapi.Connection:
        """Return a DB-API connection."""
        return self.connect(self.roe.client, self.timeout, self.poll_interval)

    def run(
        self,
        sql: str | Iterable[str],
        autocommit: bool = False,
        parameters: Iterable[Any] | Mapping[str, Any] | None = None,
        handler: Callable[[Any], Any] | None = None,
        split_statements: bool = False,
        return_last: bool = True,
    ) -> Any:
        """
        Run a query, or several one after the other, and return what the handler makes of their results.

        A text is one query, however many statements it holds: Roe splits it. The handler gets the cursor at
        the first statement that returns columns.

        :param sql: One query, or a list of queries.
        :param autocommit: Makes no difference: Roe has no transactions.
        :param parameters: Values to put in the place of ``%s``, or a mapping for ``%(name)s``: for each query
            the same.
        :param handler: Is called with the cursor. Without one, no result is downloaded.
        :param split_statements: Whether the handler is called for each statement of a text that returns
            columns, instead of the first alone.
        :param return_last: Whether to return what it made of the last one, and not a list. Of several queries
            it is always a list.
        """
        every_set = split_statements and isinstance(sql, str)
        found: list[Any] = []
        self.descriptions = []
        for cursor in self._run_each(sql, parameters):
            is_at_one = handler is not None
            while handler is not None and is_at_one:
                found.append(handler(cursor))
                self.descriptions.append(cursor.description)
                is_at_one = every_set and bool(cursor.nextset())
        if handler is None:
            return None
        if return_single_query_results(sql, return_last, split_statements):
            del self.descriptions[:-1]
            return found[-1]
        return found

    def _run_each(self, sql: str | Iterable[str], parameters: Any) -> Iterator[dbapi.Cursor]:
        """Run queries one after the other, and yield the cursor after each."""
        texts = [sql] if isinstance(sql, str) else list(sql)
        if not any(text.strip() for text in texts):
            raise ValueError("List of SQL statements is empty")
        if isinstance(parameters, Iterator):
            parameters = tuple(parameters)
        with closing(self.get_conn()) as connection, closing(connection.cursor()) as cursor:
            for text in texts:
                self._run_command(cursor, text, parameters)
                yield cursor

    def _run_command(self, cur: dbapi.Cursor, sql_statement: str, parameters: Any) -> None:
        """Run one query. Unlike DbApiHook, ask for no row count, which would download the result."""
        if self.log_sql:
            self.log.info("Running statement: %s, parameters: %s", sql_statement, parameters)
        try:
            cur.execute(sql_statement, parameters or None)
        finally:
            if cur.query_id:
                self.queries.append((sql_statement, cur.query_id))
        self._tell(sql_statement, cur.query_id, sql_parameters=parameters)

    def _tell(self, sql: str, query_id: str | None, **more: Any) -> None:
        """Tell Airflow's lineage which query has run."""
        send_sql_hook_lineage(context=self._for_lineage, sql=sql, job_id=query_id, **more)

    @cached_property
    def _for_lineage(self) -> RoeSqlHook:
        # OpenLineage asks this one where Roe is, and nothing of Roe itself.
        hook = copy(self)
        hook.openlineage_schemas = True
        return hook

    def insert_rows(
        self,
        table: str,
        rows: Iterable[Any],
        target_fields: Iterable[str] | None = None,
        commit_every: int = 1000,
        replace: bool = False,
        *,
        executemany: bool = True,
        fast_executemany: bool = False,
        autocommit: bool = False,
        **kwargs: Any,
    ) -> None:
        """
        Write rows of Python values into a table, many in a query.

        Each query that has succeeded stays, whatever becomes of the next: log and error say how many rows
        those are.

        :param table: The table's name, as SQL writes it.
        :param rows: Sequences of values. They may come from a generator.
        :param target_fields: The columns' names. Default: those of the table, in its order.
        :param commit_every: How many rows go into a query at most; 0 for all of them. Default: 1,000.
        :param replace: Is refused: ClickHouse has no ``REPLACE INTO``.
        :param executemany: Makes no difference, nor do ``fast_executemany`` and ``autocommit``.
        """
        if replace:
            raise dbapi.NotSupportedError(
                "Roe cannot replace rows: insert them without replace, into a ReplacingMergeTree table for"
                " example, or delete the old ones first."
            )
        if kwargs:
            raise RoeInputError(f"insert_rows does not take {', '.join(map(repr, kwargs))}.")
        columns = list(target_fields or ())
        count, sql, query_id = 0, "", None
        with closing(self.get_conn()) as connection, closing(connection.cursor()) as cursor:
            try:
                for batch in _batches(rows, commit_every or None):
                    sql = sql or self._generate_insert_sql(table, batch[0], columns)
                    cursor.executemany(sql, batch)
                    query_id = cursor.query_id
                    count += len(batch)
                    self.log.info("Inserted %s rows into %s so far", f"{count:,}", table)
            except Exception:
                self.log.error(
                    "The first %s rows are in %s; the error says how many of the next batch are.",
                    f"{count:,}",
                    table,
                )
                raise
        if count:
            self.queries.append((sql, str(query_id)))
            self._tell(sql, query_id, row_count=count)

    def get_df(  # type: ignore[override]
        self,
        sql: str | list[str],
        parameters: Iterable[Any] | Mapping[str, Any] | None = None,
        *,
        df_type: Literal["pandas", "polars"] = "pandas",
    ) -> pandas.DataFrame | polars.DataFrame:
        """
        Run a query, and return a data frame of the last statement that returns columns.

        :param sql: One query; or several, of which the last counts.
        :param parameters: As :meth:`run` takes them.
        :param df_type: ``pandas`` or ``polars``: whichever it is has to be installed, as an extra of ours.
        """
        from airflow_provider_roe.results import frames

        to_frame = frames.frame_maker(df_type)
        with self._result_of(sql, parameters) as result:
            [table] = frames.last_tables(result)
            return to_frame(table)

    def get_df_by_chunks(  # type: ignore[override]
        self,
        sql: str | list[str],
        parameters: Iterable[Any] | Mapping[str, Any] | None = None,
        *,
        chunksize: int,
        df_type: Literal["pandas", "polars"] = "pandas",
    ) -> Iterator[pandas.DataFrame | polars.DataFrame]:
        """
        Run a query as :meth:`get_df` does, and yield its rows as data frames.

        :param chunksize: How many rows a frame has; the last one may have fewer.
        """
        from airflow_provider_roe.results import frames

        if chunksize < 1:
            raise RoeInputError(f"chunksize must be a whole number, 1 or more, not {chunksize!r}.")
        to_frame = frames.frame_maker(df_type)
        with self._result_of(sql, parameters) as result:
            for table in frames.last_tables(result, chunksize):
                yield to_frame(table)

    @contextmanager
    def _result_of(self, sql: str | list[str], parameters: Any) -> Iterator[SpooledResult]:
        query_id = ""
        for cursor in self._run_each(sql, parameters):
            query_id = str(cursor.query_id)
        with dbapi.as_dbapi_errors(), self.roe.open_query_result(query_id) as result:
            yield result

    # Tables

    @cached_property
    def dialect(self) -> Dialect:
        """How SQL for Roe is written."""
        return _Dialect(self)

    def get_table_schema(self, table_name: str, schema: str | None = None) -> list[dict[str, str]]:
        """
        Return the columns of a table, in its order: dicts of ``name`` and ``type``, a ClickHouse type's name.

        :param table_name: The table's name, as SQL writes it.
        :param schema: The database that it is in.
        """
        table = f"{schema}.{table_name}" if schema else table_name

        def description(cursor: dbapi.Cursor) -> Any:
            return cursor.description

        columns = self.run(f"SELECT * FROM {table} LIMIT 0", handler=description)  # noqa: S608 - as trusted as SQL
        return [{"name": column[0], "type": column[1]} for column in columns or ()]

    # Lineage

    def get_openlineage_database_info(self, connection: Connection) -> DatabaseInfo | None:
        """Tell OpenLineage how it finds a table's columns, if it is to ask for them."""
        if not self.openlineage_schemas:
            return None
        from airflow_provider_roe.openlineage import database_info

        return database_info(self.roe)

    def get_openlineage_database_dialect(self, connection: Connection) -> str:
        """Return the name by which OpenLineage's parser knows the dialect."""
        return DIALECT

    def get_openlineage_default_schema(self) -> str | None:
        """Return the name of ClickHouse's default database."""
        return DEFAULT_DATABASE

    def get_openlineage_database_specific_lineage(
        self, task_instance: Any
    ) -> OperatorLineage[Any, Any] | None:
        """Tell OpenLineage which queries have run, and which tables they name."""
        from airflow_provider_roe.openlineage import lineage, lineage_of_sql

        if not self.queries:
            return None
        if not self.openlineage_schemas:
            return lineage_of_sql(self.roe, self.queries)
        # The tables are known already.
        sql, query_id = self.queries[-1]
        return lineage(self.roe, sql, query_id)

    # What Roe has not

    @property
    def schema(self) -> None:
        """None: Roe cannot choose a database."""

    @schema.setter
    def schema(self, database: str | None) -> None:
        if database:
            raise dbapi.NotSupportedError(_NO_DATABASE)

    def get_uri(self) -> NoReturn:
        """Refuse to make a URI for SQLAlchemy."""
        raise dbapi.NotSupportedError(_NO_SQLALCHEMY)

    @property
    def sqlalchemy_url(self) -> NoReturn:
        """Refuse to make a URL for SQLAlchemy."""
        raise dbapi.NotSupportedError(_NO_SQLALCHEMY)

    def get_sqlalchemy_engine(self, engine_kwargs: Any = None) -> None:  # type: ignore[override]
        """Refuse to make an engine; but OpenLineage compiles its query for columns without one."""
        if not self.openlineage_schemas:
            raise dbapi.NotSupportedError(_NO_SQLALCHEMY)

    @property
    def inspector(self) -> NoReturn:
        """Refuse to inspect tables by SQLAlchemy."""
        raise dbapi.NotSupportedError(_NO_SQLALCHEMY)

    def bulk_load(self, table: str, tmp_file: str) -> NoReturn:
        """Refuse to load a file."""
        raise dbapi.NotSupportedError(
            "Roe cannot load a file: read its rows, and insert them by insert_rows."
        )

    def bulk_dump(self, table: str, tmp_file: str) -> NoReturn:
        """Refuse to dump a table into a file."""
        raise dbapi.NotSupportedError(
            "Roe cannot dump a table into a file: RoeQueryOperator's output_path writes what a query returns."
        )


def _batches(rows: Iterable[Any], size: int | None) -> Iterator[list[Any]]:
    left = iter(rows)
    batch = list(islice(left, size))
    while batch:
        yield batch
        batch = list(islice(left, size))


class _Dialect(Dialect):
    """Writes names as ClickHouse reads them, and asks Roe for columns."""

    def escape_word(self, word: str) -> str:
        """
        Return a column's name as SQL writes it.

        :param word: The name, in quotes or not.
        """
        if _ONE_WORD.fullmatch(word) or (len(word) > 1 and word[0] == word[-1] and word[0] in '"`'):
            return word
        return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'

    def get_column_names(
        self, table: str, schema: str | None = None, predicate: Callable[[Any], bool] = bool
    ) -> list[str]:
        """
        Return the names of the columns of a table into which can be inserted, in its order.

        :param table: The table's name, as SQL writes it.
        :param schema: The database that it is in.
        :param predicate: Tells of a dict of ``name`` and ``type`` whether the column counts.
        """
        columns = self.hook.get_table_schema(table, schema)
        return [column["name"] for column in columns if predicate(column)]
