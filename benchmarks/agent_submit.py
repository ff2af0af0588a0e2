"""
Time and peak memory of a task that starts the jobs of an agent for many inputs.

    python -m benchmarks.agent_submit [inputs] [bytes of the file that each brings along]

The simulator, in a process of its own, takes them; without a file they go in one request. The task, a
`RoeAgentOperator` that does not wait, is run in this process, once for a single input before it is measured.
All bring the same local file along, which is read anew for each.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multiprocessing.connection import Connection


def serve(pipe: Connection) -> None:
    from airflow_provider_roe.testing import RoeSimulator

    with RoeSimulator() as roe:
        pipe.send((roe.connection_uri, roe.agent_id))
        while pipe.recv():
            pipe.send({"jobs": len(roe.jobs), "requests": len(roe.requests)})


class TaskInstance:
    """As much of a task instance as the operator looks at."""

    dag_id, run_id, map_index, try_number = "benchmark", "manual", -1, 1

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id

    def xcom_push(self, key: str, value: Any) -> None:
        """Take it."""


def main(count: int, size: int) -> None:
    here, there = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(there,), daemon=True)
    server.start()
    uri, agent_id = here.recv()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["AIRFLOW_HOME"] = folder
        os.environ["AIRFLOW_CONN_ROE_DEFAULT"] = uri
        file = Path(folder, "scan.pdf")
        file.write_bytes(os.urandom(size))
        start(agent_id, 1, file)
        before, counted = peak(), ask(here)
        cpu, began = time.process_time(), time.monotonic()
        jobs = start(agent_id, count, file)
        figures = {
            "inputs": count,
            "file_bytes": size,
            "jobs": len(set(jobs)),
            "seconds": round(time.monotonic() - began, 2),
            "cpu_seconds": round(time.process_time() - cpu, 2),
            "peak_rss_mb": peak(),
            "of_it_before_mb": before,
        }
    print(json.dumps(figures | {name: value - counted[name] for name, value in ask(here).items()}))
    server.kill()


def start(agent_id: str, count: int, file: Path) -> list[str]:
    """Run the task for so many inputs, each with the file unless that is empty."""
    from airflow_provider_roe.operators.roe_agent import RoeAgentOperator

    with_file = {"document": str(file)} if file.stat().st_size else {}
    task = RoeAgentOperator(
        task_id=f"run_{count}",
        agent_id=agent_id,
        inputs=[
            {"question": f"What is the total of invoice {number}?", **with_file} for number in range(count)
        ],
        files=list(with_file),
        wait_for_completion=False,
    )
    job_ids: list[str] = task.execute({"ti": TaskInstance(task.task_id)})
    return job_ids


def ask(server: Connection) -> dict[str, int]:
    """Return what the server has counted."""
    server.send(True)
    counted: dict[str, int] = server.recv()
    return counted


def peak() -> int:
    """Return the most memory that this process has held so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 // 10**6


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000, int(sys.argv[2]) if len(sys.argv) > 2 else 0)
