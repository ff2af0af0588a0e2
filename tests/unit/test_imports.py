"""Imports run one way, as the source shows, and what a DAG file imports is light, as an interpreter shows."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib.util import resolve_name
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

PROJECT = Path(__file__).parents[2]
PACKAGE = "airflow_provider_roe"

#: The rooms of the package: each imports from the layers before its own. The package itself says its version.
LAYERS = [
    {"__init__", "defaults", "exceptions"},
    {"get_provider_info"},
    {"api", "metrics"},
    {"client", "links"},
    {"waiting", "results", "openlineage"},
    {"sql"},
    {"hooks", "retry_policy"},
    {"triggers"},
    {"operators"},
    {"sensors"},  # what both have in common lies beside the operators
]
LAYER_OF = {room: layer for layer, rooms in enumerate(LAYERS) for room in rooms}
#: The types of the hook that a wait and the lineage are given; the hook imports both.
FOR_TYPES_ONLY = {("waiting", "hooks"), ("openlineage", "hooks")}
#: What is to judge the provider states itself what it needs of it, but for shapes.
OF_TESTING = {"testing", "api"}

#: Modules that need nothing but the standard library and each other
PURE = ("api", "sql.literals")

#: What is imported where it is first used, for the scheduler parses DAGs all day
NOT_FOR_PARSING = (
    "aiohttp",
    "airflow.providers.common.sql",
    "airflow.providers.openlineage",
    "airflow_provider_roe.openlineage",
    "airflow_provider_roe.results",
    "airflow_provider_roe.sql",
    "airflow_provider_roe.testing",
    "ijson",
    "numpy",
    "openlineage",
    "pandas",
    "pendulum",
    "polars",
    "pyarrow",
    "requests",
    "sqlparse",
    "tenacity",
    "urllib3",
)


class Import(NamedTuple):
    """An import of a module of the provider, be it in a function of it."""

    module: str
    line: int
    imported: str
    for_types: bool

    def __str__(self) -> str:
        return f"{self.module} imports {self.imported} (line {self.line})"

    @property
    def rooms(self) -> tuple[str, str]:
        """Room of the module, and of the provider's module that it imports."""
        return self.module.split(".")[0], self.imported.removeprefix(f"{PACKAGE}.").split(".")[0]

    def is_of_the_provider(self) -> bool:
        return is_within(self.imported, PACKAGE)


def is_within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def imports_in(code: str, module: str) -> Iterator[Import]:
    """Yield the imports in the code of a module, whose name is without the package's."""
    package = f"{PACKAGE}.{module}".rpartition(".")[0]
    tree = ast.parse(code)
    for_types = {
        inner
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}
        for statement in block.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            source = resolve_name("." * node.level + (node.module or ""), package)
            names = [source]
            if source == PACKAGE:
                names = [f"{PACKAGE}.{'__init__' if a.name == '__version__' else a.name}" for a in node.names]
        else:
            continue
        for name in names:
            yield Import(module, node.lineno, name, node in for_types)


def all_imports() -> list[Import]:
    root = PROJECT / PACKAGE
    return [
        each
        for path in sorted(root.rglob("*.py"))
        for each in imports_in(path.read_text(), ".".join(path.relative_to(root).with_suffix("").parts))
    ]


def may(each: Import) -> bool:
    """Return whether a module of the provider may import another one of the provider's."""
    importer, imported = each.rooms
    if importer == "testing":
        return imported in OF_TESTING
    if each.for_types and each.rooms in FOR_TYPES_ONLY:
        return True
    return importer == imported or LAYER_OF.get(imported, len(LAYERS)) < LAYER_OF[importer]


def test_each_module_imports_from_the_layers_before_its_own():
    wrong = [str(each) for each in all_imports() if each.is_of_the_provider() and not may(each)]
    assert not wrong, "against the direction of imports:\n" + "\n".join(wrong)


def test_what_does_no_io_needs_the_standard_library_alone():
    others = [
        str(each)
        for each in all_imports()
        if is_within(each.module, *PURE)
        and not each.is_of_the_provider()
        and each.imported.partition(".")[0] not in sys.stdlib_module_names
    ]
    assert not others, "neither Airflow nor a library is wanted here:\n" + "\n".join(others)


@pytest.mark.parametrize(
    ("module", "code"),
    [
        ("client.transport", "from airflow_provider_roe.hooks.roe import RoeHook"),
        ("client.transport", "import airflow_provider_roe.hooks.roe"),
        ("client.transport", "from airflow_provider_roe import hooks"),
        ("client.transport", "from ..hooks.roe import RoeHook"),
        ("client.transport", "def f():\n    from airflow_provider_roe.hooks.roe import RoeHook"),
        ("client.transport", "if TYPE_CHECKING:\n    from airflow_provider_roe.hooks.roe import RoeHook"),
        ("waiting.wait", "from airflow_provider_roe.hooks.roe import RoeHook"),
        ("results.spool", "from airflow_provider_roe.waiting.wait import Wait"),
        ("hooks.roe", "from airflow_provider_roe.testing import RoeSimulator"),
        ("testing.query", "from airflow_provider_roe.client import retry"),
        ("testing.query", "from airflow_provider_roe import __version__"),
    ],
)
def test_an_import_in_the_wrong_direction_is_seen(module, code):
    [found] = imports_in(code, module)
    assert not may(found)


@pytest.mark.parametrize(
    ("module", "code"),
    [
        ("client.transport", "from airflow_provider_roe import __version__, exceptions"),
        ("client.transport", "from airflow_provider_roe.client.connection import RoeConnection"),
        ("waiting.wait", "if TYPE_CHECKING:\n    from airflow_provider_roe.hooks.roe import RoeHook"),
        ("hooks.roe", "from airflow_provider_roe.waiting.wait import Wait"),
        ("testing.query", "from airflow_provider_roe.api.queries import State"),
    ],
)
def test_one_in_the_right_direction_is_none(module, code):
    assert all(may(each) for each in imports_in(code, module))


def loaded_by(code: str) -> set[str]:
    """Return the modules that code prints after "loaded", in an interpreter of its own."""
    command = [sys.executable, "-c", code]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, cwd=PROJECT)
    return set(ran.stdout.partition("loaded")[2].split())


def test_a_dag_file_costs_no_library_that_only_running_it_needs():
    code = (
        "import sys\n"
        "from airflow.providers.common.compat.sdk import BaseHook, BaseSensorOperator\n"
        "from airflow.providers.common.compat.sdk import ResumableJobMixin, conf\n"
        "from airflow.triggers.base import BaseTrigger\n"
        # Before 3.1, Airflow itself imports much for the first task of any kind.
        "BaseSensorOperator(task_id='any')\n"
        "before = set(sys.modules)\n"
        "from airflow_provider_roe.operators.roe import RoeQueryOperator\n"
        "from airflow_provider_roe.sensors.roe import RoeQueryStatusSensor\n"
        "RoeQueryOperator(task_id='run', sql='SELECT 1')\n"
        "RoeQueryStatusSensor(task_id='wait', query_id='x')\n"
        "print('loaded', *set(sys.modules) - before)\n"
    )
    loaded = loaded_by(code)
    assert "airflow_provider_roe.operators.roe" in loaded
    assert [name for name in sorted(loaded) if is_within(name, *NOT_FOR_PARSING)] == []


def test_nor_does_the_sql_hook_beside_airflow_s_own():
    code = (
        "import sys\n"
        "import airflow.providers.common.sql.operators.sql\n"
        "before = set(sys.modules)\n"
        "import airflow_provider_roe.operators.roe_sql\n"
        "print('loaded', *set(sys.modules) - before)\n"
    )
    loaded = loaded_by(code)
    assert "airflow_provider_roe.hooks.roe_sql" in loaded
    ours_at_once = {"airflow_provider_roe.sql", "airflow_provider_roe.openlineage"}
    assert [n for n in sorted(loaded) if is_within(n, *{*NOT_FOR_PARSING} - ours_at_once)] == []


def test_starting_airflow_loads_no_more_than_the_provider_s_metadata():
    code = (
        "import airflow, sys\n"
        "print('loaded', *(name for name in sys.modules if name.startswith('airflow_provider_roe')))\n"
    )
    assert loaded_by(code) <= {
        "airflow_provider_roe",
        "airflow_provider_roe.defaults",
        "airflow_provider_roe.get_provider_info",
    }


def test_the_provider_s_metadata_needs_the_standard_library_alone():
    code = (
        "import sys\n"
        "before = set(sys.modules)\n"
        "import airflow_provider_roe.get_provider_info\n"
        "print('loaded', *set(sys.modules) - before)\n"
    )
    others = {name.partition(".")[0] for name in loaded_by(code)} - sys.stdlib_module_names
    assert others == {"airflow_provider_roe"}


AT_ONCE = """
import sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from importlib.abc import MetaPathFinder
from airflow_provider_roe.client import transport
from airflow_provider_roe.client.connection import RoeConnection

half_way = threading.Event()

class Pause(MetaPathFinder):
    def find_spec(self, name, *_):
        if name == "requests.exceptions":
            half_way.set()
            time.sleep(0.5)

def ask():
    half_way.wait()
    return transport.ca_bundle(RoeConnection("roe_default", "https://api.roe-ai.com", "key"))

assert not any(name.partition(".")[0] == "requests" for name in sys.modules)
sys.meta_path.insert(0, Pause())
with ThreadPoolExecutor() as pool:
    asked = pool.submit(ask)
    import requests
print("loaded", asked.result())
"""


def test_a_thread_gets_all_of_requests_while_another_imports_it():
    # As in a triggerer, where others' code runs in threads, too.
    assert loaded_by(AT_ONCE)
