"""
The public interface: what docs/api.md lists, as names and signatures, and what a trigger is stored with.

    python -m dev.public_api            what has changed since the last release
    python -m dev.public_api release    take the interface of now for that of a release
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from enum import EnumMeta
from importlib import import_module
from pathlib import Path
from typing import Any

from airflow_provider_roe import __version__
from airflow_provider_roe.get_provider_info import CONN_FIELDS
from airflow_provider_roe.triggers.roe import RoeQueryStatusTrigger
from airflow_provider_roe.triggers.roe_agent import RoeAgentJobTrigger

CHECKOUT = Path(__file__).parents[1]
REFERENCE = CHECKOUT / "docs" / "api.md"
RELEASED = CHECKOUT / "tests" / "public_api.txt"
STORED_TRIGGERS = CHECKOUT / "tests" / "unit" / "triggers" / "stored"

_DIRECTIVE = re.compile(r"\.\. auto(?:class|exception|function):: (\S+)\n((?:   :.*\n)*)")
_MEMBERS = re.compile(r":members:(.*)")


def public_api() -> dict[str, str]:
    """Return for each public name what may not change by chance: its signature or its value."""
    api: dict[str, str] = {}
    for path, options in _DIRECTIVE.findall(REFERENCE.read_text()):
        module, _, name = path.rpartition(".")
        thing = getattr(import_module(module), name)
        api[path] = _signature(thing)
        if members := _MEMBERS.search(options):
            names = members[1].replace(",", " ").split() or _own_members(thing)
            api |= {f"{path}.{member}": _signature(getattr(thing, member)) for member in names}
    api |= {f"connection.{name}": kind for name, (kind, *_) in CONN_FIELDS.items()}
    return api | {
        f"{path.rpartition('.')[2]}.{name}": type(value).__name__
        for path, arguments in triggers()
        for name, value in arguments.items()
    }


def triggers() -> list[tuple[str, dict[str, Any]]]:
    """Return the triggers as Airflow stores them, with every argument set."""
    wait = {
        "roe_conn_id": "roe_default",
        "organization_id": "3f0c7a52-8d1e-4b6f-9a27-5c1b0e84d6f3",
        "deferred_at": 1772366410.5,
        "started_at": 1772366400.5,
        "timeout": 604800.0,
        "poke_interval": 60.0,
        "exponential_backoff": True,
        "max_wait": 600.0,
        "silent_fail": True,
    }
    one = "7d9c3b1e-52f4-4a8d-9e60-1b7f2c4d8a35"
    return [
        RoeQueryStatusTrigger(query_id=one, **wait).serialize(),
        RoeAgentJobTrigger(job_ids=[one], max_failed=1, cancel_on_kill=True, **wait).serialize(),
    ]


def changed(since: dict[str, str], now: dict[str, str]) -> list[str]:
    """Return the names that one has and the other has not, or has otherwise."""
    return sorted(name for name in since.keys() | now.keys() if since.get(name) != now.get(name))


def released() -> dict[str, str]:
    """Return the interface of the last release."""
    lines = RELEASED.read_text().splitlines()
    return dict(line.split(" ", 1) for line in lines)


def release() -> None:
    """Take the interface of now for that of a release, and keep how it stores triggers."""
    RELEASED.write_text("".join(f"{name} {value}\n" for name, value in sorted(public_api().items())))
    for path, arguments in triggers():
        folder = STORED_TRIGGERS / path.rpartition(".")[2]
        folder.mkdir(parents=True, exist_ok=True)
        stored = json.dumps({"classpath": path, "kwargs": arguments}, indent=2)
        (folder / f"{__version__}.json").write_text(f"{stored}\n")


def _own_members(thing: type) -> list[str]:
    return [name for name in vars(thing) if not name.startswith("_")]


def _signature(thing: Any) -> str:
    if isinstance(thing, EnumMeta):
        return "an enum"
    if isinstance(thing, type):
        thing = thing.__init__  # type: ignore[misc] - what Airflow's metaclasses say of the class differs
    if not callable(thing):
        return "a property" if isinstance(thing, property) else repr(thing)
    signature = inspect.signature(thing)
    parameters = [
        parameter.replace(annotation=parameter.empty)
        for parameter in signature.parameters.values()
        if parameter.name != "self" and not parameter.name.startswith("_")
    ]
    return str(signature.replace(parameters=parameters, return_annotation=signature.empty))


if __name__ == "__main__":
    if sys.argv[1:] == ["release"]:
        release()
    for name in changed(released(), public_api()):
        print(f"{name}: {released().get(name, 'new')} -> {public_api().get(name, 'gone')}")
