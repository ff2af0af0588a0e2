"""What OpenLineage's own provider writes of a run."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

from dev.patience import patient

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_roe.testing import RoeSimulator


def test_a_run_tells_which_sql_ran_as_which_query(
    database_env: dict[str, str], example_dags: Path, roe_connection: RoeSimulator, tmp_path: Path
) -> None:
    events = tmp_path / "events.jsonl"
    subprocess.run(
        [sys.executable, "-m", "airflow", "dags", "test", "example_roe_query_operator"],
        env=database_env
        | {
            "AIRFLOW__CORE__DAGS_FOLDER": str(example_dags),
            "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(
                {"type": "file", "log_file_path": str(events), "append": True}
            ),
            "AIRFLOW_CONN_ROE_DEFAULT": roe_connection.connection_uri,
        },
        capture_output=True,
        timeout=patient(180),
        check=True,
    )
    told = [json.loads(line) for line in events.read_text().splitlines()]
    [ended] = [
        event
        for event in told
        if event["eventType"] == "COMPLETE" and event["job"]["name"] == "example_roe_query_operator.count"
    ]
    [query] = roe_connection.queries.values()
    facet = ended["run"]["facets"]["externalQuery"]
    assert (facet["externalQueryId"], facet["source"]) == (query.id, roe_connection.url)
    assert ended["job"]["facets"]["sql"]["query"] == query.sql
    assert roe_connection.api_key not in events.read_text()
