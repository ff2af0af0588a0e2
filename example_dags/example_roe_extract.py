"""
Extract the results of several queries to Parquet files, one mapped task for each.

The path may lead to any object storage that Airflow knows, such as `s3://aws_default@bucket/table.parquet`;
here it is a folder of this machine. The extension says the format: `.csv`, `.jsonl` or `.parquet`. The latter
needs `pip install 'airflow-provider-roe[parquet]'`.
"""

from __future__ import annotations

import tempfile

from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_roe.operators.roe import RoeQueryOperator

FOLDER = f"file://{tempfile.gettempdir()}/example_roe_extract"


@dag(schedule=None, catchup=False, tags=["roe", "example"], doc_md=__doc__)
def example_roe_extract():
    @task
    def list_extracts(dag_run=None) -> list[dict[str, str]]:
        return [
            {
                "sql": f"SELECT * FROM {table}",  # noqa: S608 - from the list below
                "output_path": f"{FOLDER}/{dag_run.run_id}/{table}.parquet",
            }
            for table in ("documents", "invoices", "reviews")
        ]

    @task
    def count_rows(extracts: list[list[dict]]) -> int:
        return sum(file["row_count"] for files in extracts for file in files)

    extract = RoeQueryOperator.partial(task_id="extract", deferrable=True, retries=2).expand_kwargs(
        list_extracts()
    )
    count_rows(extract.output)


example_roe_extract()
