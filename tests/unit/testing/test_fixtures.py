from __future__ import annotations

import os

import requests

pytest_plugins = ["airflow_provider_roe.testing.fixtures"]

seen = []


def test_the_simulator_runs(roe_simulator):
    seen.append(roe_simulator)
    assert requests.get(roe_simulator.url, timeout=10).status_code == 404


def test_every_test_has_a_simulator_of_its_own(roe_simulator):
    assert roe_simulator not in seen
    assert roe_simulator.requests == []


def test_the_simulator_alone_sets_no_connection(roe_simulator):
    assert os.environ.get("AIRFLOW_CONN_ROE_DEFAULT") != roe_simulator.connection_uri


def test_airflows_default_connection_leads_to_the_simulator(roe_connection, roe_simulator):
    from airflow.models.connection import Connection

    connection = Connection.get_connection_from_secrets("roe_default")
    assert roe_connection is roe_simulator
    assert f"{connection.host}:{connection.port}" == roe_simulator.url
    assert connection.password == roe_simulator.api_key
