"""A task that leaves a text wherever a task can leave one. It is no secret: it stands for one."""

from __future__ import annotations

from airflow.providers.common.compat.sdk import BaseOperator, dag
from airflow.providers.standard.triggers.file import FileTrigger


class LeakyOperator(BaseOperator):
    template_fields = ("text",)

    def __init__(self, *, text: str, **kwargs) -> None:
        super().__init__(**kwargs)
        self.text = text

    def execute(self, context) -> None:
        self.log.info("The text is %s", self.text)
        context["ti"].xcom_push("text", self.text)
        self.defer(trigger=FileTrigger(filepath=f"/{self.text}"), method_name="execute_complete")


@dag(schedule=None, catchup=False)
def leaky():
    LeakyOperator(task_id="leak", text="{{ dag_run.conf['text'] }}")


leaky()
