"""Search everything that an Airflow keeps and shows for a text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cryptography.fernet import Fernet, InvalidToken
from sqlalchemy import create_engine, inspect, text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dev.local_airflow import LocalAirflow

PATHS = ("connections", "eventLogs", "jobs", "importErrors", "variables", "assets/events", "dagWarnings")


def places(airflow: LocalAirflow, fernet_key: str, dag_id: str, needle: str) -> set[str]:
    """Return where a text is found: tables, files, and what the REST API tells, of runs those of one DAG."""
    sources = (tables(airflow, fernet_key), files(airflow), answers(airflow, dag_id))
    return {place for source in sources for place, content in source if needle in content}


def tables(airflow: LocalAirflow, fernet_key: str) -> Iterator[tuple[str, str]]:
    """Give every row of every table as text, and what is encrypted in it in clear."""
    engine = create_engine(airflow.sql_alchemy_conn)
    with engine.connect() as connection:
        for table in set(inspect(engine).get_table_names()) - {"connection"}:
            for row in connection.execute(text(f'SELECT * FROM "{table}"')):
                for value in row:
                    yield f"table {table}", f"{value} {_decrypted(value, fernet_key)}"


def _decrypted(value: Any, fernet_key: str) -> str:
    try:
        return Fernet(fernet_key).decrypt(value).decode()
    except (InvalidToken, TypeError, ValueError):  # the latter for what is not ASCII
        return ""


def files(airflow: LocalAirflow) -> Iterator[tuple[str, str]]:
    """Give every file that Airflow's processes have written: logs of tasks, triggers and components."""
    for file in airflow.home.rglob("*"):
        if file.is_file():
            yield (
                f"file {file.relative_to(airflow.home).parts[0]}",
                file.read_bytes().decode(errors="replace"),
            )


def answers(airflow: LocalAirflow, dag_id: str) -> Iterator[tuple[str, str]]:
    """Give what the REST API tells, in particular of a DAG's runs, their tasks, logs and XComs."""
    for path in PATHS:
        yield f"API {path}", str(pages(airflow, path))
    for run in pages(airflow, f"dags/{dag_id}/dagRuns"):
        yield "API dagRuns", str(run)
        base = f"dags/{dag_id}/dagRuns/{run['dag_run_id']}/taskInstances"
        for task in pages(airflow, base):
            yield "API taskInstances", str(task)
            if task["start_date"]:
                parameters = {"map_index": task["map_index"], "full_content": True}
                log = f"{base}/{task['task_id']}/logs/{task['try_number']}"
                yield "API logs", str(airflow.api("GET", log, params=parameters))
        for xcom in pages(airflow, f"{base}/~/xcomEntries"):
            entry = f"{base}/{xcom['task_id']}/xcomEntries/{xcom['key']}"
            yield "API xcomEntries", str(airflow.api("GET", entry, params={"map_index": xcom["map_index"]}))


def pages(airflow: LocalAirflow, path: str) -> list[Any]:
    """Return all entries of a list, or the one answer that is none."""
    found: list[Any] = []
    while True:
        page = airflow.api("GET", path, params={"limit": 100, "offset": len(found)})
        lists = [value for value in page.values() if isinstance(value, list)]
        if "total_entries" not in page or not lists:
            return [page]
        found += lists[0]
        if len(found) >= page["total_entries"] or not lists[0]:
            return found
