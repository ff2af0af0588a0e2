"""
Run an agent, and go on as one of its outputs says.

Trigger it with the id of an agent of yours, an input that it takes, and the key of the output to look at. A
simulated agent has one, `inputs`: what it was given.
"""

from __future__ import annotations

import json

from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_roe.operators.roe_agent import RoeAgentOperator


@dag(
    schedule=None,
    catchup=False,
    tags=["roe", "example"],
    doc_md=__doc__,
    params={
        "agent_id": "b4a1f3d6-07c5-4e92-8f1a-6d2e9c7053ab",
        "document": "Invoice 4711: 120 EUR, due on 30 June.",
        "output": "inputs",
    },
)
def example_roe_agent_branch():
    classify = RoeAgentOperator(
        task_id="classify",
        agent_id="{{ params.agent_id }}",
        inputs={"document": "{{ params.document }}"},
        result="outputs",
        deferrable=True,
        retries=2,
    )

    @task.branch
    def choose(outputs: dict, params: dict | None = None) -> str:
        found = outputs[params["output"]]  # a text, or what the output's JSON says
        return "pay" if "invoice" in json.dumps(found).lower() else "file_away"

    @task
    def pay() -> str:
        return "It is an invoice."

    @task
    def file_away() -> str:
        return "It is something else."

    choose(classify.output) >> [pay(), file_away()]


example_roe_agent_branch()
