"""What tasks have in common that find in a later try what an earlier one has submitted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperator

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


class DurableTask(BaseOperator):
    """
    Base of the tasks of which something is kept over tries, in Airflow's store of a task's state.

    Airflow 3.3 or newer has one.
    """

    #: Whether anything is kept for a later try, and under which key
    durable: bool
    external_id_key: str

    def _store(self, context: Context) -> Any:
        """Return Airflow's store of this task's state; None where there is none, or nothing is to be kept."""
        return context.get("task_state_store") if self.durable else None

    def _forget_after_success(self, context: Context) -> None:
        """
        Let the task do its work anew when it is cleared after its success.

        A task that has returned can still fail, for example when its XCom is pushed, and its retry has to
        find what was submitted. Callbacks come after all that.
        """
        if self._store(context) is not None:
            self.on_success_callback = [self._forget_if_recorded, *self.on_success_callback]

    def _forget_if_recorded(self, context: Context) -> None:
        # Airflow calls this also when its API server has not taken the success, because it is out, or because
        # somebody has cleared the task meanwhile.
        ti: Any = context["ti"]
        states = ti.get_task_states(
            dag_id=ti.dag_id, task_ids=[ti.task_id], map_index=ti.map_index, run_ids=[ti.run_id]
        )
        if "success" in states.get(ti.run_id, {}).values():
            self._forget(context)

    def _forget(self, context: Context) -> None:
        store = self._store(context)
        if store is not None:
            store.delete(self.external_id_key)
