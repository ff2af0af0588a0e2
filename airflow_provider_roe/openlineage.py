"""The lineage of a query. Only OpenLineage's own provider asks, so what is imported here is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_provider_roe.exceptions import RoeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.providers.openlineage.sqlparser import DatabaseInfo

    from airflow_provider_roe.hooks.roe import RoeHook

#: ClickHouse's name for itself, and that of its default database
DIALECT, DEFAULT_DATABASE = "clickhouse", "default"


def lineage(hook: RoeHook, sql: str, query_id: str | None) -> OperatorLineage[Any, Any]:
    """
    Return the query's SQL, and its id at the Roe that runs it.

    Why a task has failed is not said here: OpenLineage's provider adds the error itself.

    :param hook: The hook that has submitted it.
    :param sql: The query.
    :param query_id: Its id; None if it was not submitted.
    """
    from airflow.providers.common.compat.openlineage.facet import ExternalQueryRunFacet, SQLJobFacet
    from airflow.providers.openlineage.extractors import OperatorLineage

    run_facets = {}
    if query_id:
        try:
            source = hook.connection.base_url
        except RoeError as e:
            hook.log.warning("OpenLineage does not learn the query's id, for its Roe is unknown: %s", e)
        else:
            run_facets["externalQuery"] = ExternalQueryRunFacet(query_id, source)
    return OperatorLineage(job_facets={"sql": SQLJobFacet(sql)}, run_facets=run_facets)


def lineage_of_jobs(
    hook: RoeHook, job_ids: Sequence[str], inputs: Sequence[str], output: str | None
) -> OperatorLineage[Any, Any]:
    """
    Return the files that jobs read and that was written of them, and the jobs' ids at the Roe that runs them.

    :param hook: The hook that has started them.
    :param job_ids: Their ids.
    :param inputs: URLs of the files that they were given.
    :param output: URL of the file that their outputs were written to; None if to none.
    """
    from airflow.providers.openlineage.extractors.manager import ExtractorManager

    found = lineage(hook, "", ", ".join(job_ids) or None)
    to_dataset = ExtractorManager.convert_to_ol_dataset_from_object_storage_uri
    found.job_facets.pop("sql")
    found.inputs = [dataset for url in dict.fromkeys(inputs) if (dataset := to_dataset(_url(url)))]
    found.outputs = [dataset for url in filter(None, [output]) if (dataset := to_dataset(_url(url)))]
    return found


def _url(path: str) -> str:
    """Return the URL of a file, without the connection that it is reached by."""
    parts = urlsplit(path if "://" in path else f"file://{path}")
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def lineage_of_sql(hook: RoeHook, queries: list[tuple[str, str]]) -> OperatorLineage[Any, Any]:
    """
    Return the tables that queries read and write, as their SQL names them, and the last one's id.

    :param hook: The hook that has submitted them.
    :param queries: The text and the id of each.
    """
    from airflow.providers.openlineage.sqlparser import SQLParser

    found = SQLParser(DIALECT, DEFAULT_DATABASE).generate_openlineage_metadata_from_sql(
        [sql for sql, _ in queries], hook, database_info(hook), use_connection=False
    )
    found.run_facets |= lineage(hook, *queries[-1]).run_facets
    return found


def database_info(hook: RoeHook) -> DatabaseInfo:
    """
    Return OpenLineage's way to name Roe's tables, and to find their columns in ClickHouse's catalogue.

    :param hook: The hook of the connection.
    """
    from airflow.providers.openlineage.sqlparser import DatabaseInfo

    return DatabaseInfo(
        scheme="roe",
        authority=urlsplit(hook.connection.base_url).netloc,
        information_schema_columns=[
            *("table_schema", "table_name", "column_name", "ordinal_position", "data_type")
        ],
        normalize_name_method=str,  # ClickHouse tells A from a
    )
