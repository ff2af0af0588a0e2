"""The link from a task to Roe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator, TaskInstanceKey


class RoeLink(BaseOperatorLink):
    """
    Opens Roe, at the task's query if the connection's ``web_url`` says where that is.

    The task pushes the URL as XCom before it waits. Airflow 3 looks there for it, and asks the link itself
    only when a worker leaves the task, which would be too late; Airflow 2.11 asks the link in the webserver,
    where there is neither the task's query nor, for certain, its connection.
    """

    name = "Open Roe"
    xcom_key = "_link_RoeLink"  # as Airflow 3 names it by itself

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the URL that the task has pushed; nothing if it has not come so far."""
        from airflow.providers.common.compat.sdk import XCom

        # Never None, which Airflow 3 would store and show as a link to "None".
        return XCom.get_value(ti_key=ti_key, key=self.xcom_key) or ""
