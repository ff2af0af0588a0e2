"""
Runs scenarios and keeps what each run cost: ``python -m benchmarks.run SCENARIO …``.

Each scenario leaves a file in ``benchmarks/results``, one JSON object a run, in place of the former one.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import imports, poke, short_wait
from benchmarks.kinds import KINDS, PEERS
from benchmarks.machine import CLIENT_CORE, describe, server
from benchmarks.scenarios import SCENARIOS, Scenario

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from benchmarks.machine import Server

RESULTS = Path(__file__).parent / "results"


def waits(scenario: Scenario, to: Server) -> Iterator[dict[str, Any]]:
    """Do the runs of a scenario: the kinds by turns, and all works of a round before the next."""
    for number in range(scenario.rounds):
        for any_work in scenario.works:
            for name in scenario.kinds:
                kind = KINDS[name]
                work = replace(any_work, service=kind.service)
                order = json.dumps(asdict(work)), str(to.control), str(CLIENT_CORE)
                cost = to.python(kind, "-m", scenario.client, name, *order)
                yield {"kind": name, "round": number, "work": asdict(work), "cost": cost}


def measure(name: str, to: Server) -> Iterator[dict[str, Any]]:
    """Do the runs of a scenario."""
    match name:
        case "imports":
            return imports.runs(["roe"])
        case "imports of peers":
            return imports.runs(["roe", *PEERS])
        case "short wait":
            return short_wait.runs(to)
        case "poke":
            return poke.runs(["floor", "roe"], to)
        case "poke of peers":
            return poke.runs(["floor", "roe", *PEERS], to)
    return waits(SCENARIOS[name], to)


def keep(name: str, runs: Iterable[dict[str, Any]], folder: Path = RESULTS) -> None:
    """Write the runs of a scenario to its file, and say on the way what they cost."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name.replace(' ', '-')}.jsonl"
    part = path.with_suffix(".part")  # what is left where the scenario is broken off
    part.unlink(missing_ok=True)
    for run in runs:
        machine = describe({KINDS[run["kind"]].distribution})
        result = {"scenario": name, "date": datetime.now(UTC).isoformat(timespec="seconds"), **run, **machine}
        with part.open("a") as file:
            file.write(json.dumps(result) + "\n")
        cost = run["cost"]
        figures = ("cpu_ms_a_poll", "cpu_ms_a_poll_overall", "cpu_ms_a_poke", "cpu_ms", "seconds")
        figure = next(name for name in figures if cost.get(name) is not None)
        waits = run.get("work", {}).get("waits", "")
        print(f"{name:18} {run['kind']:12} {waits:>6} {cost[figure]:8.3f} {figure}", flush=True)
    part.rename(path)


def main(names: list[str]) -> None:
    """Run scenarios."""
    with server() as to:
        for name in names:
            keep(name, measure(name, to))


if __name__ == "__main__":
    main(sys.argv[1:])
