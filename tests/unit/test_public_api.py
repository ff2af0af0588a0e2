"""What docs/api.md lists is what users may rely on: it changes only where the changelog says so."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from pkgutil import walk_packages

import pytest

import airflow_provider_roe
from dev.public_api import CHECKOUT, changed, public_api, released


def test_what_changed_since_the_last_release_is_named_in_the_changelog():
    newest = re.split(r"^## ", (CHECKOUT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)[1]
    names = changed(released(), public_api())
    unnamed = [name for name in names if not re.search(rf"\b{name.rpartition('.')[2]}\b", newest)]
    assert not unnamed, "say in CHANGELOG.md what became of these: `make public-api` shows them"


@pytest.mark.parametrize(
    ("since", "now", "names"),
    [
        ({"a.f": "(x)"}, {"a.f": "(x)"}, []),
        ({"a.f": "(x)"}, {"a.f": "(x, y=1)"}, ["a.f"]),
        ({"a.f": "(x)", "a.g": "()"}, {"a.f": "(x)"}, ["a.g"]),
        ({}, {"trigger.poke_interval": "float"}, ["trigger.poke_interval"]),
    ],
    ids=["nothing", "another signature", "gone", "new"],
)
def test_a_change_is_seen(since, now, names):
    assert changed(since, now) == names


def test_every_operator_sensor_trigger_link_and_error_is_listed():
    packages = ("hooks", "links", "operators", "sensors", "triggers", "exceptions")
    modules = [
        import_module(module.name)
        for module in walk_packages(airflow_provider_roe.__path__, "airflow_provider_roe.")
        if module.name.split(".")[1] in packages and "._" not in module.name and not module.ispkg
    ]
    classes = {
        f"{module.__name__}.{name}"
        for module in modules
        for name, thing in vars(module).items()
        if inspect.isclass(thing) and thing.__module__ == module.__name__ and not name.startswith("_")
    }
    assert classes
    assert classes <= public_api().keys()
