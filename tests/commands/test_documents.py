"""What README and docs show works as it is written there, and their links lead somewhere."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from airflow.models.connection import Connection

from airflow_provider_roe.client.connection import RoeConnection
from dev.patience import patient

if TYPE_CHECKING:
    from airflow_provider_roe.testing import RoeSimulator

CHECKOUT = Path(__file__).parents[2]
DOCUMENTS = sorted([*CHECKOUT.glob("*.md"), *CHECKOUT.glob("docs/**/*.md")])
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
BLOCKS = [
    (document, language, code)
    for document in DOCUMENTS
    for language, code in FENCE.findall(document.read_text())
]
PLACEHOLDERS = {"<organization id>": "3f0c7a52-8d1e-4b6f-9a27-5c1b0e84d6f3", "<API key>": "a-key"}

CONFTEST = 'pytest_plugins = ["airflow_provider_roe.testing.fixtures"]\n'
RUN_THE_PAGE = "def test_the_page(roe_connection):\n    import the_page\n"


def blocks(language: str) -> list[pytest.param]:
    return [
        pytest.param(code, id=f"{document.name}-{number}")
        for number, (document, of, code) in enumerate(BLOCKS)
        if of == language
    ]


def files(document: Path) -> dict[str, str]:
    """Return the files that the Python blocks of a document make up. Those without a name are one file."""
    found = {"the_page.py": ""}
    for of, language, code in BLOCKS:
        if of == document and language == "python":
            name = re.match(r"# (\w+\.py)\n", code)
            if name:
                found[name[1]] = code
            else:
                found["the_page.py"] += code
    return found


def with_python() -> list[pytest.param]:
    documents = dict.fromkeys(document for document, language, _ in BLOCKS if language == "python")
    return [pytest.param(document, id=document.name) for document in documents]


@pytest.mark.parametrize("document", with_python())
def test_python(document: Path, tmp_path: Path, database_env: dict[str, str]) -> None:
    # Other pages use the README's DAG.
    project = {"conftest.py": CONFTEST} | files(CHECKOUT / "README.md") | files(document)
    for name, code in ({"test_the_page.py": RUN_THE_PAGE} | project).items():
        (tmp_path / name).write_text(code)
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "--rootdir", str(tmp_path), str(tmp_path)],
        cwd=tmp_path,
        env=database_env | {"AIRFLOW__CORE__DAGS_FOLDER": str(tmp_path), "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=patient(180),
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    tests = sum(code.count("def test_") for code in project.values())
    assert f"{tests + 1} passed" in ran.stdout


def test_the_dag_of_the_readme_runs(
    tmp_path: Path, database_env: dict[str, str], roe_connection: RoeSimulator
) -> None:
    (tmp_path / "daily_report.py").write_text(files(CHECKOUT / "README.md")["daily_report.py"])
    env = database_env | {
        "AIRFLOW__CORE__DAGS_FOLDER": str(tmp_path),
        "AIRFLOW_CONN_ROE_DEFAULT": roe_connection.connection_uri,
    }
    command = [sys.executable, "-m", "airflow", "dags", "test", "daily_report"]
    ran = subprocess.run(command, env=env, capture_output=True, text=True, timeout=patient(180), check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert len(roe_connection.requests_of("result")) == 1


@pytest.mark.parametrize("code", blocks("json"))
def test_json_is_a_connection(code: str) -> None:
    for placeholder, value in PLACEHOLDERS.items():
        code = code.replace(placeholder, value)
    fields = json.loads(code)
    connection = RoeConnection.read(Connection.from_json(code, conn_id="roe_default"))
    assert (connection.base_url, connection.retry_window) == (fields["host"], fields["extra"]["retry_window"])


@pytest.mark.parametrize("code", blocks("sql"))
def test_sql_runs_at_the_simulator(code: str, roe_connection: RoeSimulator) -> None:
    query = roe_connection.queries[roe_connection.submit(code)]
    assert query.status == "PENDING"
    assert query.plan.error == "out of memory"


def commands() -> list[str]:
    lines = (line for _, language, code in BLOCKS if language == "sh" for line in code.splitlines())
    return list(dict.fromkeys(line.partition("#")[0].strip() for line in lines))


@pytest.mark.parametrize("command", commands())
def test_a_command_of_the_documents_works(command: str) -> None:
    match command.split():
        case ["make", _]:
            subprocess.run([*command.split(), "--dry-run"], cwd=CHECKOUT, check=True, capture_output=True)
        case ["pip", "install", *packages]:  # `make check-wheel` installs it in earnest
            extras = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"][
                "optional-dependencies"
            ]
            for package in packages:
                name, _, extra = package.strip("']").partition("[")
                assert (name, extra in extras) == ("airflow-provider-roe", bool(extra))
        case ["export", *_]:
            for placeholder, value in PLACEHOLDERS.items():
                command = command.replace(placeholder, value)
            ask = f"{command}; {sys.executable} -c '{SHOW_CONNECTION}'"
            shown = subprocess.run(["bash", "-c", ask], check=True, capture_output=True, text=True).stdout
            assert shown.splitlines()[-1] == "https://api.roe-ai.com a-key"
        case ["python", "-m", "airflow_provider_roe.testing", *options]:
            shown = subprocess.run(
                [sys.executable, *command.split()[1:], "--help"], check=True, capture_output=True, text=True
            )
            assert {"--port", *options} <= set(re.findall(r"[\w-]+", shown.stdout))
        case _:
            pytest.fail(f"no test runs this: {command}")


SHOW_CONNECTION = (
    "from airflow_provider_roe.hooks.roe import RoeHook as Hook;"
    " c = Hook().connection; print(c.base_url, c.api_key)"
)


def test_every_block_is_tested() -> None:
    assert {language for _, language, _ in BLOCKS} == {"python", "json", "sql", "sh"}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", document.read_text()):
        path, _, anchor = target.partition("#")
        file = document.parent / path if path else document
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def test_every_picture_is_shown() -> None:
    text = "".join(document.read_text() for document in DOCUMENTS)
    pictures = [path.name for path in CHECKOUT.glob("docs/images/*")]
    assert pictures
    assert [name for name in pictures if f"images/{name})" not in text] == []


def anchors(document: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}
