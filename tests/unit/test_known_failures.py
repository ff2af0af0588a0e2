from __future__ import annotations

from importlib.metadata import version

import airflow
import pytest

from tests.known_failures import KnownFailure, mark


@pytest.mark.parametrize(
    ("other_test", "on", "is_marked"),
    [("", "3.4.0b2", True), ("", "3.4.0b3", False), ("elsewhere", "3.4.0b2", False)],
    ids=["this test", "the next version", "another test"],
)
def test_one_is_expected_to_fail(request, monkeypatch, other_test, on, is_marked):
    marked = []
    monkeypatch.setattr(request.node, "add_marker", marked.append)
    entry = KnownFailure(request.node.nodeid + other_test, "3.4.0b2", "2026-12-01", "It forgets the trigger.")
    mark([request.node], [entry], on)
    reason = "Airflow 3.4.0b2, since 2026-12-01: It forgets the trigger."
    expected = [pytest.mark.xfail(reason=reason, strict=True)] if is_marked else []
    assert marked == expected


def test_the_version_is_that_of_airflow():
    assert version("apache-airflow") == airflow.__version__
