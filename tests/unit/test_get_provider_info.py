from __future__ import annotations

import importlib
import importlib.util
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import airflow
import jsonschema
import pytest
from airflow.providers.common.compat.sdk import Connection

from airflow_provider_roe.client.connection import RoeConnection
from airflow_provider_roe.get_provider_info import CONN_FIELDS, get_provider_info
from airflow_provider_roe.hooks.roe_sql import RoeSqlHook
from airflow_provider_roe.operators.roe import RoeQueryOperator
from airflow_provider_roe.sensors.roe import RoeQueryStatusSensor

PROJECT = Path(__file__).parents[2]
INFO = get_provider_info()
(CONNECTION_TYPE,) = INFO["connection-types"]
TABLE = [line for line in (PROJECT / "docs/connection.md").read_text().splitlines() if line.startswith("| ")]
STANDARD_FIELDS = {"description", "host", "port", "login", "password", "schema", "extra"}


def schema(name: str) -> Any:
    """Return a schema that comes with the installed Airflow."""
    return json.loads((Path(airflow.__path__[0]) / name).read_text())


def test_it_is_valid_for_the_installed_airflow():
    jsonschema.validate(INFO, schema("provider_info.schema.json"))


def test_its_connection_type_is_valid_for_the_installed_airflow():
    item = schema("provider.yaml.schema.json")["properties"]["connection-types"]["items"]
    jsonschema.validate(CONNECTION_TYPE, item)


def test_it_is_plain_json():
    assert json.loads(json.dumps(INFO)) == INFO


def test_airflow_finds_it_by_the_entry_point_of_the_distribution():
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    entry = project["entry-points"]["apache_airflow_provider"]["provider_info"]
    module, _, function = entry.partition(":")
    assert getattr(importlib.import_module(module), function) is get_provider_info
    assert project["name"] == INFO["package-name"]


KINDS = ["hooks", "operators", "sensors", "triggers"]


@pytest.mark.parametrize("kind", KINDS)
def test_it_names_every_module(kind):
    names = [name for entry in INFO[kind] for name in entry["python-modules"]]
    folder = PROJECT / "airflow_provider_roe" / kind
    there = [path.stem for path in folder.glob("[!_]*.py")]
    assert names == [f"airflow_provider_roe.{kind}.{stem}" for stem in sorted(there)]


def test_each_module_belongs_to_an_integration_that_it_names():
    known = {integration["integration-name"] for integration in INFO["integrations"]}
    assert {entry["integration-name"] for kind in KINDS for entry in INFO[kind]} == known


def test_it_registers_every_link_for_airflow_2_shows_no_other():
    in_use = {
        type(link) for task in (RoeQueryOperator, RoeQueryStatusSensor) for link in task.operator_extra_links
    }
    assert INFO["extra-links"] == [f"{link.__module__}.{link.__qualname__}" for link in in_use]


def test_the_hook_that_it_names_is_the_hook():
    module, _, name = CONNECTION_TYPE["hook-class-name"].rpartition(".")
    assert getattr(importlib.import_module(module), name) is RoeSqlHook
    assert (CONNECTION_TYPE["connection-type"], CONNECTION_TYPE["hook-name"]) == (
        RoeSqlHook.conn_type,
        RoeSqlHook.hook_name,
    )


def test_both_airflow_lines_are_told_the_same_labels():
    told = {name.replace("-", "_"): value for name, value in CONNECTION_TYPE["ui-field-behaviour"].items()}
    assert RoeSqlHook.get_ui_field_behaviour() == told


def test_the_labels_are_of_fields_that_the_form_has():
    behaviour = CONNECTION_TYPE["ui-field-behaviour"]
    for names in behaviour.values():
        assert set(names) <= STANDARD_FIELDS


def test_the_port_is_shown_because_the_test_button_would_send_0_for_a_hidden_one():
    assert "port" not in CONNECTION_TYPE["ui-field-behaviour"]["hidden-fields"]


def test_what_a_connection_may_not_have_is_hidden():
    assert CONNECTION_TYPE["ui-field-behaviour"]["hidden-fields"] == ["schema"]


def test_the_form_has_a_field_for_everything_that_is_read_from_extra():
    fields = set(CONNECTION_TYPE["conn-fields"])
    in_the_form_itself = {"conn_id", "base_url", "api_key", "organization_id"}
    assert fields - {"allow_http"} == set(RoeConnection.__dataclass_fields__) - in_the_form_itself


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name, (kind, _, _) in CONN_FIELDS.items()])
def test_every_field_of_the_form_may_be_left_empty(name, kind):
    field = CONNECTION_TYPE["conn-fields"][name]
    jsonschema.validate(None, field["schema"])
    assert kind in field["schema"]["type"]
    assert field["label"]
    assert field["description"]


@pytest.mark.parametrize("name", ["request_timeout", "retry_window", "verify", "web_url"])
def test_the_help_names_the_default_that_counts(name):
    nothing_said = RoeConnection.read(Connection(conn_id="roe", conn_type="roe", password="a-key"))
    default = getattr(nothing_said, name)
    written = default if isinstance(default, str) else json.dumps(default).removesuffix(".0")
    assert CONN_FIELDS[name][2].endswith(f" Default: {written}.")


def test_the_placeholder_of_the_base_url_is_the_one_that_counts():
    nothing_said = RoeConnection.read(Connection(conn_id="roe", conn_type="roe", password="a-key"))
    assert CONNECTION_TYPE["ui-field-behaviour"]["placeholders"]["host"] == nothing_said.base_url


@pytest.mark.parametrize("name", CONN_FIELDS)
def test_the_documentation_has_every_field_with_its_default(name):
    (row,) = [line for line in TABLE if f"`{name}`" in line.split("|")[1]]
    help_text = CONN_FIELDS[name][2]
    if "Default: " in help_text:
        assert row.split("|")[-2].strip().strip("`") == help_text.rpartition("Default: ")[2].removesuffix(".")


if importlib.util.find_spec("flask_appbuilder"):

    def test_airflow_2_shows_the_same_fields():
        from wtforms import Form

        form = type("ConnectionForm", (Form,), RoeSqlHook.get_connection_form_widgets())()
        shown = {name: (field.label.text, field.description) for name, field in form._fields.items()}
        assert shown == {name: (label, description) for name, (_, label, description) in CONN_FIELDS.items()}


def test_asking_for_it_imports_nothing_heavy():
    code = (
        "import sys, airflow_provider_roe.get_provider_info as module; module.get_provider_info();"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PROJECT
    )
    assert not {"airflow", "requests", "aiohttp", "tenacity", "pendulum"} & set(ran.stdout.split())
