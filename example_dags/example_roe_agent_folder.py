"""
Run an agent on every document of a folder, as one task, and write the outputs to a Parquet file.

The folder may lie in any object storage that Airflow knows, such as `s3://aws_default@bucket/inbox`; here it
is one of this machine. Parquet needs `pip install 'airflow-provider-roe[parquet]'`.
"""

from __future__ import annotations

import tempfile

from airflow.providers.common.compat.sdk import ObjectStoragePath, dag, task

from airflow_provider_roe.operators.roe_agent import RoeAgentOperator

FOLDER = f"file://{tempfile.gettempdir()}/example_roe_agent_folder"


@dag(
    schedule=None,
    catchup=False,
    tags=["roe", "example"],
    doc_md=__doc__,
    params={"agent_id": "b4a1f3d6-07c5-4e92-8f1a-6d2e9c7053ab"},
)
def example_roe_agent_folder():
    @task
    def add_documents(dag_run=None) -> str:
        folder = ObjectStoragePath(f"{FOLDER}/{dag_run.run_id}/inbox")
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("contract.txt", "invoice.txt", "letter.txt"):
            (folder / name).write_text(f"This is a {name}.")
        return str(folder)

    @task
    def list_documents(folder: str) -> list[dict[str, str]]:
        return [{"document": str(path)} for path in ObjectStoragePath(folder).iterdir()]

    run = RoeAgentOperator(
        task_id="run",
        agent_id="{{ params.agent_id }}",
        inputs=list_documents(add_documents()),
        files=["document"],
        output_path=FOLDER + "/{{ run_id }}/outputs.parquet",
        max_failed=1,
        deferrable=True,
        retries=2,
    )

    @task
    def count_rows(file: dict) -> int:
        return file["row_count"]

    count_rows(run.output)


example_roe_agent_folder()
