"""What runs in an environment of its own: make starts the tests, `.venv/bin/nox -s bench` a benchmark."""

import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from typing import Any

import nox
from nox.command import CommandFailed

nox.options.default_venv_backend = "uv"
nox.options.download_python = "never"
nox.options.envdir = ".cache/nox"
nox.options.reuse_venv = "yes"

# Where pyenv is, it hides all Pythons but one until it is asked for them.
if shutil.which("pyenv"):
    found = subprocess.run(["pyenv", "versions", "--bare"], capture_output=True, text=True, check=True)
    os.environ["PYENV_VERSION"] = ":".join(found.stdout.split())
# Ended by make, tests end what they have started, as after Ctrl-C.
signal.signal(signal.SIGTERM, signal.default_int_handler)

#: Airflow and Python; what `make test` runs on is not among them
LINES = ["2.11-3.11", "3.0-3.12", "3-3.13", "3.4-3.12"]

#: Takes minutes: `make test` runs it
ONCE = ["tests/integration/test_large_results.py"]
#: Slow, and the same with every Airflow, or in need of the newest: `make test` runs it, and 3-3.13
ON_THE_NEWEST = [
    "tests/integration/test_faults.py",
    "tests/integration/test_killed_submission.py",
    "tests/integration/test_many_waits.py",
    "tests/unit/client/test_client.py",
    "tests/unit/client/test_pace.py",
    "tests/unit/client/test_retry.py",
    "tests/unit/client/test_shared.py",
    "tests/unit/client/test_submission.py",
    "tests/unit/client/test_together.py",
    "tests/unit/client/test_transport.py",
    "tests/unit/client/test_trouble.py",
    "tests/unit/results/test_clickhouse.py",
    "tests/unit/results/test_clickhouse_cells.py",
    "tests/unit/results/test_spool.py",
    "tests/unit/sql",
    "tests/unit/testing/test_agents.py",
    "tests/unit/testing/test_clickhouse.py",
    "tests/unit/testing/test_faults.py",
    "tests/unit/testing/test_sql.py",
]


@nox.session
@nox.parametrize("line, python", [nox.param(*each.split("-"), id=each) for each in LINES])
def line(session: nox.Session, line: str) -> None:
    """Test a line of Airflow; the first also end to end, with the examples and its form in a browser."""
    install(session, line, "test")
    session.run("python", "-c", "import airflow; print('Airflow', airflow.__version__)")
    elsewhere = [f"--ignore={path}" for path in (ONCE if line == "3" else [*ONCE, *ON_THE_NEWEST])]
    beside = ["-n", "2", "--dist", "worksteal"]
    run_tests(session, "tests/unit", "tests/integration", *elsewhere, beside=beside)
    if session.name == "line(2.11-3.11)":
        run_tests(session, "tests/e2e")


@nox.session
def s3(session: nox.Session) -> None:
    """Test files on an S3 of moto's, through Airflow's Amazon provider."""
    install(session, "3-s3", "s3")
    run_tests(session, "tests/s3")


@nox.session
def celery(session: nox.Session) -> None:
    """Test waits end to end on CeleryExecutor, with Redis, PostgreSQL and two workers."""
    install(session, "3-celery", "celery")
    run_tests(session, "tests/celery", "tests/integration/test_hand_over.py")


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Measure what waits cost, against the floor; or the scenarios that are named after --."""
    install(session, "3", "bench")
    measure(
        session,
        session.posargs
        or [
            "1000 waits",
            "1000 agent jobs",
            "10000 agent jobs",
            "5000 waits",
            "whole lives",
            "keep-alive",
            "poke",
            "imports",
        ],
    )


@nox.session(default=False)
def peers(session: nox.Session) -> None:
    """Measure the same work done by the newest triggers of other providers: half an hour."""
    install(session, "3", "bench")
    names = ("airbyte", "databricks", "dbt-cloud", "http")
    session.install(*(f"apache-airflow-providers-{name}" for name in names))
    measure(session, ["peers", "poke of peers", "imports of peers", "short wait"])


def install(session: nox.Session, line: str, group: str) -> None:
    session.install("-c", f"constraints/airflow-{line}.txt", "-e", ".", "--group", group)


def run_tests(session: nox.Session, *arguments: str, beside: Sequence[str] = ()) -> None:
    """Run tests; those that fail run once more, without the arguments that run them beside each other."""
    # Whose tests failed is kept apart for each environment: others run at the same time.
    kept = f"cache_dir={session.virtualenv.location}/pytest"
    command = ["python", "-m", "pytest", "-q", "-o", kept, *arguments, *session.posargs]
    patience: dict[str, Any] = {"interrupt_timeout": 30, "terminate_timeout": 30}
    try:
        session.run(*command, *beside, **patience)
    except CommandFailed:
        session.run(*command, "--last-failed", "--last-failed-no-failures", "none", **patience)


def measure(session: nox.Session, scenarios: list[str]) -> None:
    """Put what is measured in the place of benchmarks/results and docs/performance."""
    session.run("python", "-m", "benchmarks.run", *scenarios)
    session.run("python", "-m", "benchmarks.report")
