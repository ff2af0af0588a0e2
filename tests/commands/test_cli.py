"""What Airflow's command line shows of the provider and its connection."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from airflow_provider_roe import __version__
from airflow_provider_roe.testing import RoeSimulator
from dev.patience import patient

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def cli(database_env: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run ``airflow …``."""
    env = database_env | {"AIRFLOW__CORE__TEST_CONNECTION": "Enabled"}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "airflow", *arguments]
        return subprocess.run(
            command, env=env, capture_output=True, text=True, timeout=patient(120), check=False
        )

    return run


def test_providers_list_names_package_and_version(
    cli: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    providers = json.loads(cli("providers", "list", "--output", "json").stdout)
    [provider] = [p for p in providers if p["package_name"] == "airflow-provider-roe"]
    assert provider["version"] == __version__
    assert "Roe AI" in provider["description"]


def test_providers_get_shows_the_metadata(cli: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    shown = cli("providers", "get", "airflow-provider-roe", "--full", "--output", "json").stdout
    assert "airflow_provider_roe.hooks.roe_sql.RoeSqlHook" in shown


def test_providers_hooks_lists_the_connection_type(
    cli: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    hooks = json.loads(cli("providers", "hooks", "--output", "json").stdout)
    [hook] = [hook for hook in hooks if hook["connection_type"] == "roe"]
    assert hook["class"] == "airflow_provider_roe.hooks.roe_sql.RoeSqlHook"
    assert hook["conn_id_attribute_name"] == "roe_conn_id"
    assert hook["package_name"] == "airflow-provider-roe"
    assert hook["hook_name"] == "Roe AI"


def test_providers_links_lists_the_link(cli: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    links = json.loads(cli("providers", "links", "--output", "json").stdout)
    assert {"extra_link_class_name": "airflow_provider_roe.links.roe.RoeLink"} in links


@pytest.mark.parametrize("form", ["uri", "json"])
def test_a_connection_is_added_shown_and_tested(
    form: str, cli: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    with RoeSimulator() as roe:
        conn_id = f"roe_{form}"
        as_json = json.dumps(
            {"conn_type": "roe", "login": roe.organization_id, "password": roe.api_key, "host": roe.url}
        )
        option = ["--conn-uri", roe.connection_uri] if form == "uri" else ["--conn-json", as_json]
        added = cli("connections", "add", conn_id, *option)
        assert added.returncode == 0, added.stderr
        [shown] = json.loads(cli("connections", "get", conn_id, "--output", "json").stdout)
        assert (shown["conn_type"], shown["login"]) == ("roe", roe.organization_id)
        tested = cli("connections", "test", conn_id)
        assert "Connection success!" in tested.stdout
        assert [request.call for request in roe.requests] == ["status"]


def test_testing_a_connection_with_a_wrong_key_says_what_to_change(
    cli: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    with RoeSimulator() as roe:
        cli("connections", "add", "roe_wrong", "--conn-uri", roe.connection_uri)
        roe.rotate_key("another-key")
        tested = cli("connections", "test", "roe_wrong")
    assert tested.returncode != 0
    assert "check the connection's API Key (password)" in tested.stdout + tested.stderr
