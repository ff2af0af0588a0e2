"""
Run an agent on one document, and use its outputs.

Trigger it with the id of an agent of yours, and an input that it takes.
"""

from __future__ import annotations

from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_roe.operators.roe_agent import RoeAgentOperator


@dag(
    schedule=None,
    catchup=False,
    tags=["roe", "example"],
    doc_md=__doc__,
    params={"agent_id": "b4a1f3d6-07c5-4e92-8f1a-6d2e9c7053ab", "document": "This contract ends in June."},
)
def example_roe_agent():
    run = RoeAgentOperator(
        task_id="run",
        agent_id="{{ params.agent_id }}",
        inputs={"document": "{{ params.document }}"},
        result="outputs",
        deferrable=True,
        retries=2,
    )

    @task
    def use_outputs(outputs: dict) -> list[str]:
        return sorted(outputs)

    use_outputs(run.output)


example_roe_agent()
