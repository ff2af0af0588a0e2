"""
Run an agent on one document, and branch on what it says.

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

    @task.branch
    def choose(outputs: dict) -> str:
        return "use_outputs" if outputs else "nothing_to_do"

    @task
    def use_outputs(outputs: dict) -> list[str]:
        return sorted(outputs)

    @task
    def nothing_to_do() -> None:
        pass

    choose(run.output) >> [use_outputs(run.output), nothing_to_do()]


example_roe_agent()
