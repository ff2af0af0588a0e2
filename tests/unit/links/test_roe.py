from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import DAG, TaskDeferred, XCom

from airflow_provider_roe.exceptions import RoeInputError
from airflow_provider_roe.links.roe import RoeLink
from airflow_provider_roe.operators.roe import RoeQueryOperator
from airflow_provider_roe.operators.roe_agent import RoeAgentOperator
from airflow_provider_roe.sensors.roe import RoeQueryStatusSensor
from airflow_provider_roe.sensors.roe_agent import RoeAgentJobSensor
from airflow_provider_roe.testing import Fault, JobPlan, QueryPlan

if TYPE_CHECKING:
    from collections.abc import Callable

WORKSHEET = "5b0e1c2d-3f4a-4b5c-8d6e-7f8091a2b3c4"
TEMPLATE = "https://app.roe-ai.com/w/{worksheet_id}/q/{query_id}"
RUNS_ON = QueryPlan(statuses=[("STARTED", math.inf)])
TASKS = [RoeQueryOperator, RoeQueryStatusSensor]


class TaskInstance:
    """As much of a task instance as tasks look at: what is pushed is kept in order."""

    dag_id, run_id, task_id, map_index, try_number = "dag", "run", "run", -1, 1
    stats_tags: dict[str, str] = {}  # noqa: RUF012

    def __init__(self) -> None:
        self.start_date = datetime.now(UTC)
        self.xcoms: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = value

    @property
    def link(self) -> Any:
        return self.xcoms.get(RoeLink.xcom_key)


@pytest.fixture
def ti() -> TaskInstance:
    return TaskInstance()


def run(ti: TaskInstance, sql: str = "SELECT 1", **arguments: Any) -> Any:
    return RoeQueryOperator(task_id="run", sql=sql, **{"poll_interval": 0} | arguments).execute({"ti": ti})


def wait(ti: TaskInstance, query_id: str, **arguments: Any) -> Any:
    arguments = {"poke_interval": 0.05, "timeout": 30} | arguments
    return RoeQueryStatusSensor(task_id="wait", query_id=query_id, **arguments).execute({"ti": ti})


class TestWhereItLeads:
    def test_to_the_query_in_the_worksheet_that_roe_ran_it_in(self, roe, connect, ti):
        connect(roe, web_url=TEMPLATE)
        run(ti)
        [query] = roe.queries.values()
        assert ti.link == f"https://app.roe-ai.com/w/{query.worksheet_id}/q/{query.id}"

    def test_to_the_worksheet_of_the_task_where_roe_answers_with_the_bare_id(self, roe, connect, ti):
        connect(roe, web_url=TEMPLATE)
        query_id = roe.submit("SELECT 1")
        roe.add_fault(Fault(call="submit", status_code=200, body=json.dumps(query_id)))
        run(ti, worksheet_id=WORKSHEET)
        assert ti.link == f"https://app.roe-ai.com/w/{WORKSHEET}/q/{query_id}"

    def test_to_the_start_page_where_the_worksheet_is_unknown(self, roe, connect, ti):
        connect(roe, web_url=TEMPLATE)
        wait(ti, roe.submit("SELECT 1"))
        assert ti.link == "https://app.roe-ai.com/"

    def test_from_the_sensor_to_the_query_where_no_worksheet_is_needed(self, roe, connect, ti):
        connect(roe, web_url="https://app.roe-ai.com/q/{query_id}")
        query_id = roe.submit("SELECT 1")
        wait(ti, query_id)
        assert ti.link == f"https://app.roe-ai.com/q/{query_id}"

    def test_to_an_agent_s_job(self, roe, connect, ti):
        connect(roe, web_url="https://app.roe-ai.com/agents/{agent_id}/jobs/{job_id}")
        roe.job_plan = JobPlan(statuses=())
        arguments = {"agent_id": roe.agent_id, "inputs": {"a": "b"}}
        RoeAgentOperator(task_id="run", **arguments).execute({"ti": ti})
        [job_id] = roe.jobs
        assert ti.link == f"https://app.roe-ai.com/agents/{roe.agent_id}/jobs/{job_id}"
        RoeAgentOperator(task_id="run", **arguments | {"inputs": [{"a": "b"}] * 2}).execute({"ti": ti})
        assert ti.link == "https://app.roe-ai.com/"  # there is no page of several jobs
        RoeAgentJobSensor(task_id="wait", job_ids=job_id).execute({"ti": ti})
        assert ti.link == "https://app.roe-ai.com/"  # the sensor does not know the agent

    def test_to_roe_if_the_connection_does_not_say(self, roe, connect, ti):
        connect(roe)
        run(ti)
        assert ti.link == "https://app.roe-ai.com/"


class TestWhenItIsThere:
    @pytest.mark.parametrize(
        "start",
        [
            lambda roe, ti, **how: run(ti, **how),
            lambda roe, ti, **how: wait(ti, roe.submit("SELECT 1"), **how),
        ],
        ids=["operator", "sensor"],
    )
    @pytest.mark.parametrize("defer_after", [0, 0.1])
    def test_while_the_task_is_deferred(self, roe, connect, ti, start: Callable[..., Any], defer_after):
        connect(roe, web_url="https://app.roe-ai.com/q/{query_id}")
        roe.plan = RUNS_ON
        with pytest.raises(TaskDeferred):
            start(roe, ti, deferrable=True, defer_after=defer_after)
        assert ti.link == f"https://app.roe-ai.com/q/{next(iter(roe.queries))}"

    def test_before_the_first_answer_of_roe(self, roe, connect, ti):
        connect(roe)
        roe.add_fault(Fault(call="status", status_code=503))
        with pytest.raises(Exception, match="503"):
            wait(ti, roe.submit("SELECT 1"))
        assert ti.link

    def test_without_waiting(self, roe, connect, ti):
        connect(roe)
        run(ti, wait_for_completion=False)
        assert ti.link

    def test_a_task_that_pushes_no_xcoms_has_it_for_airflow_itself_stores_it_so(self, roe, connect, ti):
        connect(roe)
        run(ti, do_xcom_push=False)
        assert RoeLink.xcom_key in ti.xcoms


class TestNoTaskFailsForIt:
    def test_if_it_cannot_be_stored(self, roe, connect, ti, monkeypatch):
        connect(roe)
        monkeypatch.setattr(TaskInstance, "xcom_push", lambda *_, **__: 1 / 0)
        assert wait(ti, roe.submit("SELECT 1"))["status"] == "SUCCESS"

    def test_if_the_connection_is_wrong_it_is_told_as_ever(self, roe, connect, ti):
        connect(roe, web_url="javascript:alert(1)")
        with pytest.raises(RoeInputError, match=r"^Connection 'roe_default', field extra\.web_url"):
            wait(ti, roe.submit("SELECT 1"))
        assert ti.link is None


class TestWhatAirflowIsTold:
    TI_KEY: Any = SimpleNamespace(dag_id="d", task_id="run", run_id="r", map_index=3)

    def link_for(self, stored: Any, monkeypatch: pytest.MonkeyPatch) -> str:
        xcoms = {(id(self.TI_KEY), RoeLink.xcom_key): stored}
        monkeypatch.setattr(XCom, "get_value", lambda *, ti_key, key: xcoms[id(ti_key), key])
        return RoeLink().get_link(RoeQueryOperator(task_id="run", sql="SELECT 1"), ti_key=self.TI_KEY)

    def test_what_the_task_has_pushed(self, monkeypatch):
        assert self.link_for("https://roe.test/q", monkeypatch) == "https://roe.test/q"

    def test_never_none_which_would_be_a_link_to_a_page_of_that_name(self, monkeypatch):
        assert self.link_for(None, monkeypatch) == ""

    @pytest.mark.parametrize("task", TASKS)
    def test_every_task_has_it_also_when_it_is_mapped(self, task):
        with DAG("links", schedule=None):
            name = "sql" if task is RoeQueryOperator else "query_id"
            mapped = task.partial(task_id="mapped").expand(**{name: ["x"]})
        for links in (task.operator_extra_links, mapped.operator_extra_links):
            assert [link.name for link in links] == ["Open Roe"]
