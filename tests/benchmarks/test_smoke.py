"""That the benchmark runs, counts right and can be reported. How long anything takes is no matter here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks import imports, poke, report
from benchmarks.machine import server
from benchmarks.run import keep, waits
from benchmarks.scenarios import OURS, Scenario
from benchmarks.work import Work

if TYPE_CHECKING:
    from pathlib import Path

WAITING = [*OURS, "roe_agent"]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of a few small runs."""
    folder = tmp_path_factory.mktemp("results")
    works = [Work("roe", number, interval=0.2, polls=4) for number in (5, 20)]
    with server() as to:
        keep("scale", waits(Scenario(WAITING, works), to), folder)
        lives = Scenario(WAITING, works[1:], client="benchmarks.triggerer")
        keep("whole lives", waits(lives, to), folder)
        keep("poke", poke.runs(OURS, to, rounds=1, pokes=5), folder)
    keep("imports", imports.runs(["roe"], rounds=1), folder)
    return folder


def test_each_wait_polls_as_often_as_it_should_and_ends_once(results):
    runs = report.read(results)["scale"]
    assert [(run["kind"], run["work"]["waits"]) for run in runs] == [(k, n) for n in (5, 20) for k in WAITING]
    for run in runs:
        cost = run["cost"]
        assert cost["polls"] == cost["polls_expected"] == 4 * run["work"]["waits"]
        assert (cost["requests_unknown"], cost["wrong_ends"], cost["crashes"]) == (0, 0, 0)
        assert 1 <= cost["connections"] <= cost["handshakes"] <= run["work"]["waits"]
        if run["kind"] == "roe_agent":
            assert cost["requests"] < cost["polls"], "one request polls many jobs"
        else:
            assert cost["requests"] == cost["polls"]


def test_whole_lives_are_led_in_airflows_own_triggerer(results):
    for run in report.read(results)["whole-lives"]:
        cost = run["cost"]
        assert (cost["polls"], cost["requests_unknown"], cost["wrong_ends"]) == (80, 0, 0)
        assert cost["connection_lookups"] == 2, "one for the wait that comes first, one for all others"
        assert cost["log_lines_a_wait"] >= 3, "Airflow's own"
    text = report.report(results)
    assert "connections looked up" in text.partition("## whole-lives")[2]
    assert "connections looked up" not in text.partition("## whole-lives")[0]


def test_a_task_in_poke_mode_keeps_one_connection(results):
    for run in report.read(results)["poke"]:
        assert (run["cost"]["polls"], run["cost"]["handshakes"]) == (5, 1)


def test_results_are_reported(results):
    text = report.report(results)
    assert all(f"\n## {name}\n" in text for name in ("scale", "poke", "imports"))
    assert "CPU a poll, roe to floor" in text
    assert "CPU a poll, roe_agent to floor" in text
