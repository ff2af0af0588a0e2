from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys

import pytest
import requests
from airflow.models.connection import Connection

from dev.patience import patient

COMMAND = [sys.executable, "-m", "airflow_provider_roe.testing"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=patient(60), check=False
    )


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_at_the_address_that_it_prints_until_a_signal_ends_it_well(signum):
    with subprocess.Popen(COMMAND, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            url = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())[0]
            _, assignment = shlex.split(process.stdout.readline())
            name, _, uri = assignment.partition("=")
            connection = Connection(uri=uri)
            response = requests.post(
                f"{url}/v1/database/query/async/",
                params={"organization_id": connection.login},
                json={"query": "SELECT 1"},
                headers={"Authorization": f"Bearer {connection.password}"},
                timeout=patient(60),
            )
            assert response.status_code == 200
            agent_id = re.search(r"agent (\S+)", process.stdout.readline())[1]
            response = requests.post(
                f"{url}/v1/agents/run/{agent_id}/async/",
                params={"organization_id": connection.login},
                headers={"Authorization": f"Bearer {connection.password}"},
                timeout=patient(60),
            )
            assert response.status_code == 200
            assert name == "AIRFLOW_CONN_ROE_DEFAULT"
            assert f"{connection.host}:{connection.port}" == url
        finally:
            process.send_signal(signum)
        assert process.wait(timeout=patient(60)) == 0
        assert process.stderr.read() == ""


def test_a_port_in_use_is_told_in_one_line(roe):
    port = roe.url.rpartition(":")[2]
    process = run("--port", port)
    assert process.returncode == 1
    assert "address already in use" in process.stderr
    assert "Traceback" not in process.stderr


def test_clickhouse_is_served_on_loopback_alone():
    process = run("--engine", "clickhouse", "--host", "0.0.0.0")
    assert process.returncode == 1
    assert process.stderr.startswith("host must be a loopback address, not '0.0.0.0': ")
    assert "Traceback" not in process.stderr
