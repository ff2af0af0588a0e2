"""What OpenLineage learns about a query. Only its own provider asks, so what is imported here is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_roe.exceptions import RoeError

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage

    from airflow_provider_roe.operators.roe import RoeQueryOperator


def lineage(operator: RoeQueryOperator) -> OperatorLineage[Any, Any]:
    """
    Return the query's SQL, and its id at the Roe that runs it.

    Why a task has failed is not said here: OpenLineage's provider adds the error itself.

    :param operator: The operator, when it has succeeded or failed.
    """
    from airflow.providers.common.compat.openlineage.facet import ExternalQueryRunFacet, SQLJobFacet
    from airflow.providers.openlineage.extractors import OperatorLineage

    run_facets = {}
    if operator.query_id:
        try:
            source = operator.hook.connection.base_url
        except RoeError as e:
            operator.log.warning("OpenLineage does not learn the query's id, for its Roe is unknown: %s", e)
        else:
            run_facets["externalQuery"] = ExternalQueryRunFacet(operator.query_id, source)
    return OperatorLineage(job_facets={"sql": SQLJobFacet(str(operator.sql))}, run_facets=run_facets)
