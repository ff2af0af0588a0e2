"""Tests that may fail on a version of Airflow, each by an entry that says since when and why."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable


class KnownFailure(NamedTuple):
    """A test that fails for what is Airflow's to mend; when it passes, its entry has to go."""

    test: str  # its id, with the path from the checkout
    airflow: str  # the version, whole: the next one has to be looked at again
    since: str
    reason: str


KNOWN_FAILURES: list[KnownFailure] = []


def mark(tests: Iterable[pytest.Item], failures: Iterable[KnownFailure], airflow: str) -> None:
    """Expect the tests to fail that have an entry for this version of Airflow, and only these."""
    known = {failure.test: failure for failure in failures if failure.airflow == airflow}
    for test in tests:
        if failure := known.get(test.nodeid):
            reason = f"Airflow {airflow}, since {failure.since}: {failure.reason}"
            test.add_marker(pytest.mark.xfail(reason=reason, strict=True))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    mark(items, KNOWN_FAILURES, version("apache-airflow"))
