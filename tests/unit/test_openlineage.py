"""What arrives where OpenLineage sends its events, by way of its own provider."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from airflow.providers.openlineage.extractors.manager import ExtractorManager
from airflow.providers.openlineage.plugins.adapter import OpenLineageAdapter
from airflow.utils.state import TaskInstanceState
from openlineage.client import OpenLineageClient
from openlineage.client.transport.file import FileConfig, FileTransport

from airflow_provider_roe.operators.roe import RoeQueryOperator
from airflow_provider_roe.operators.roe_agent import RoeAgentOperator
from airflow_provider_roe.testing import Fault, JobPlan, QueryPlan

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_roe.testing import RoeSimulator

PROJECT = Path(__file__).parents[2]
QUERY = "7d9c3b1e-52f4-4a8d-9e60-1b7f2c4d8a35"
SQL = "SELECT 1 AS n;\nSELECT 2"


class TaskInstance:
    """As much of a task instance as the operator looks at."""

    dag_id, run_id, task_id, map_index, try_number = "dag", "run", "run", -1, 1
    stats_tags: dict[str, str] = {}  # noqa: RUF012

    def __init__(self, **xcoms: Any) -> None:
        self.start_date = datetime.now(UTC)
        self.xcoms = xcoms

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = value

    def xcom_pull(self, *, key: str, **_: Any) -> Any:
        return self.xcoms.get(key)


@pytest.fixture
def operator() -> RoeQueryOperator:
    return RoeQueryOperator(task_id="run", sql=SQL, poll_interval=0)


@pytest.fixture
def emit(operator: RoeQueryOperator, tmp_path: Path) -> Callable[..., Any]:
    """Return what emits the event that ends the task, and returns it as it was written."""
    file = tmp_path / "events.json"
    client = OpenLineageClient(transport=FileTransport(FileConfig(log_file_path=str(file), append=True)))
    adapter = OpenLineageAdapter(client=client)

    def emit(error: BaseException | None = None) -> Any:
        state = TaskInstanceState.FAILED if error else TaskInstanceState.SUCCESS
        found = ExtractorManager().extract_metadata(
            SimpleNamespace(run_id="r"), operator, state, SimpleNamespace(task=operator)
        )
        event = {
            "run_id": str(uuid4()),
            "job_name": "dag.run",
            "end_time": datetime.now(UTC).isoformat(),
            "task": found,
            **dict.fromkeys(["nominal_start_time", "nominal_end_time", "owners", "tags", "job_description"]),
        }
        if error:
            adapter.fail_task(**event, error=error)
        else:
            adapter.complete_task(**event)
        return json.loads(file.read_text())

    return emit


def external_query(event: Any) -> tuple[str, str]:
    facet = event["run"]["facets"]["externalQuery"]
    return facet["externalQueryId"], facet["source"]


def test_a_query_that_succeeded_is_told_with_its_sql_and_its_id_at_roe(roe, connect, operator, emit):
    connect(roe)
    operator.execute({"ti": TaskInstance()})
    event = emit()
    assert event["eventType"] == "COMPLETE"
    assert event["job"]["facets"]["sql"]["query"] == SQL
    assert external_query(event) == (next(iter(roe.queries)), roe.url)


def test_one_that_failed_is_told_with_roe_s_reason(roe, connect, operator, emit):
    connect(roe)
    roe.plan = QueryPlan(statuses=(), ends_as="FAILURE", error="Unknown table")
    with pytest.raises(Exception, match="Unknown table") as e:
        operator.execute({"ti": TaskInstance()})
    event = emit(e.value)
    assert event["eventType"] == "FAIL"
    assert "Unknown table" in event["run"]["facets"]["errorMessage"]["message"]
    assert event["job"]["facets"]["sql"]["query"] == SQL
    assert external_query(event) == (next(iter(roe.queries)), roe.url)


@pytest.mark.parametrize(
    "ended",
    [
        {"outcome": "success", "ended": {"query_id": QUERY, "status": "SUCCESS"}},
        {"outcome": "failed", "message": "Unknown table"},
        {"outcome": "error", "error": "RoeUnavailableError", "message": "Unknown table"},
    ],
    ids=lambda event: event["outcome"],
)
def test_after_a_deferral_they_are_told_by_a_process_that_did_not_submit_it(
    roe, connect, operator, emit, ended
):
    connect(roe)
    context = {"ti": TaskInstance(query_id=QUERY)}
    error = None
    try:
        operator.resume_execution("execute_complete", {"event": ended}, context)
    except Exception as e:
        error = e
    event = emit(error)
    assert ("Unknown table" in json.dumps(event)) is (ended["outcome"] != "success")
    assert external_query(event) == (QUERY, roe.url)


def test_a_query_that_roe_never_took_has_no_id(roe, connect, operator, emit):
    connect(roe)
    roe.add_fault(Fault(call="submit", status_code=403))
    with pytest.raises(Exception, match="403") as e:
        operator.execute({"ti": TaskInstance()})
    event = emit(e.value)
    assert event["job"]["facets"]["sql"]["query"] == SQL
    assert "externalQuery" not in event["run"]["facets"]


def test_where_the_connection_has_gone_the_sql_is_still_told(operator, emit):
    operator.query_id = QUERY
    event = emit()
    assert event["job"]["facets"]["sql"]["query"] == SQL
    assert "externalQuery" not in event["run"]["facets"]


def test_no_event_holds_the_key(roe, connect, operator, emit):
    connect(roe)
    roe.add_fault(Fault(call="status", status_code=401))
    with pytest.raises(Exception, match="401") as e:
        operator.execute({"ti": TaskInstance()})
    assert roe.api_key not in json.dumps(emit(e.value))


class TestAgents:
    @pytest.fixture
    def operator(self, roe: RoeSimulator, connect: Callable[..., None], tmp_path: Path) -> RoeAgentOperator:
        connect(roe)
        roe.job_plan = JobPlan(statuses=())
        for name in "ab":
            (tmp_path / name).write_text("page")
        return RoeAgentOperator(
            task_id="run",
            agent_id=roe.agent_id,
            inputs=[{"document": f"file://{tmp_path}/{name}", "text": "x"} for name in "ab"],
            files=["document"],
            output_path=f"{tmp_path}/outputs.jsonl",
        )

    def test_their_files_and_jobs_are_told(self, roe, operator, emit, tmp_path):
        operator.execute({"ti": TaskInstance()})
        event = emit()
        folder = str(tmp_path).lstrip("/")
        assert [(each["namespace"], each["name"]) for each in event["inputs"]] == [
            ("file://", f"{folder}/a"),
            ("file://", f"{folder}/b"),
        ]
        assert [each["name"] for each in event["outputs"]] == [f"{folder}/outputs.jsonl"]
        assert external_query(event) == (", ".join(operator._job_ids), roe.url)
        assert "sql" not in event["job"]["facets"]

    def test_a_file_that_several_read_is_told_once(self, operator, emit):
        operator.inputs = [operator.inputs[0]] * 2
        assert len(emit()["inputs"]) == 1

    def test_so_they_are_where_nothing_was_started(self, operator, emit):
        assert "externalQuery" not in emit()["run"]["facets"]

    def test_of_an_object_store_without_the_connection(self, operator, emit):
        operator.inputs = {"document": "s3://aws_default@bucket/in/scan.pdf"}
        operator.output_path = "s3://aws_default@bucket/out/o.parquet"
        event = emit()
        assert [(each["namespace"], each["name"]) for each in event["inputs"] + event["outputs"]] == [
            ("s3://bucket", "in/scan.pdf"),
            ("s3://bucket", "out/o.parquet"),
        ]
