"""What Airflow is to a task, over its tries."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator


class TaskInstance:
    """As much of a task instance as the operator looks at."""

    dag_id, run_id, task_id = "dag", "manual__1", "run"
    recorded_as = "running"

    def __init__(self, map_index: int = -1, try_number: int = 1) -> None:
        self.map_index = map_index
        self.try_number = try_number
        self.start_date = datetime.now(UTC)
        self.xcoms: dict[str, Any] = {}

    stats_tags: dict[str, str] = {}  # noqa: RUF012

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = value

    def xcom_pull(self, *, task_ids: str, key: str, map_indexes: int) -> Any:
        assert (task_ids, map_indexes) == ("run", self.map_index)
        return self.xcoms.get(key)

    def get_task_states(
        self, dag_id: str, *, map_index: int, task_ids: list[str], run_ids: list[str]
    ) -> dict[str, dict[str, str]]:
        assert (dag_id, map_index, task_ids, run_ids) == ("dag", self.map_index, ["run"], ["manual__1"])
        return {"manual__1": {"run": self.recorded_as}}


class Store(dict[str, Any]):
    """Airflow's store of a task's state, which outlives a try."""

    set = dict.__setitem__

    def delete(self, key: str) -> None:
        self.pop(key, None)


def next_try(context: dict[str, Any]) -> dict[str, Any]:
    """Return the context of the try after this one: XComs are gone, and the store has stayed."""
    return context | {"ti": TaskInstance(try_number=context["ti"].try_number + 1)}


def end(operator: BaseOperator, context: dict[str, Any], recorded_as: str = "success") -> None:
    """Do what Airflow does with a task that has returned, once its API server has been told."""
    context["ti"].recorded_as = recorded_as
    for callback in operator.on_success_callback or ():
        callback(context)
