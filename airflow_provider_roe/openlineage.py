"""The lineage of a query. Only OpenLineage's own provider asks, so what is imported here is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_roe.exceptions import RoeError

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage

    from airflow_provider_roe.hooks.roe import RoeHook


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
