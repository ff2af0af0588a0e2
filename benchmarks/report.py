"""
Makes tables and plots of the results: ``python -m benchmarks.report`` puts them into ``docs/performance``.

Figures are medians over the rounds, with the least and the greatest in brackets.
"""

from __future__ import annotations

import json
from itertools import product
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.kinds import KINDS
from benchmarks.machine import CHECKOUT
from benchmarks.run import RESULTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    Runs = list[dict[str, Any]]

DOCS = CHECKOUT / "docs" / "performance"

#: Scenarios that are plotted, and what their plot shows.
PLOTTED = {
    "scale": "Cost of a poll and memory, by the number of waits",
    "soak": "CPU and memory over time",
}

#: What a column shows: its heading and where in a run's cost it is.
COLUMNS = {
    "CPU ms a poll": ("cpu_ms_a_poll",),
    "… with start and end": ("cpu_ms_a_poll_overall",),
    "TLS handshakes a poll": ("handshakes_a_poll",),
    "handshakes in steady state": ("steady_handshakes",),
    "requests a round": ("requests_a_round",),
    "connections": ("connections",),
    "RSS KB a wait": ("rss_kb_a_wait",),
    "loop lag p50 ms": ("lag_ms", "p50"),
    "p99": ("lag_ms", "p99"),
    "late p50 ms": ("late_ms", "p50"),
    "late p99 ms": ("late_ms", "p99"),
    "beyond the interval p50 ms": ("beyond_interval_ms", "p50"),
    "beyond the interval p99 ms": ("beyond_interval_ms", "p99"),
    "wrong ends": ("wrong_ends",),
    "connections looked up": ("connection_lookups",),
    "log lines a wait": ("log_lines_a_wait",),
    "client's core": ("cpu_share",),
    "server's core": ("server_cpu_share",),
}


def read(folder: Path) -> dict[str, Runs]:
    """Return the runs of each scenario that has results."""
    return {
        path.stem: [json.loads(line) for line in path.read_text().splitlines()]
        for path in sorted(folder.glob("*.jsonl"))
    }


def value(run: dict[str, Any], path: Sequence[str]) -> float | None:
    """Return a figure of a run; None if it has none, as where no time was steady."""
    cost: Any = run["cost"]
    if path == ("handshakes_a_poll",):
        return cost["handshakes"] / max(cost["polls"], 1)
    for name in path:
        cost = (cost or {}).get(name)
    return cost


def number(figure: float) -> str:
    """Return a figure with about three digits."""
    return f"{figure:.0f}" if abs(figure) >= 100 or figure == int(figure) else f"{figure:.3g}"


def cell(figures: Iterable[float | None]) -> str:
    """Return the median of figures, with the least and the greatest."""
    known = sorted(figure for figure in figures if figure is not None)
    if not known:
        return "-"
    if known[0] == known[-1]:
        return number(known[0])
    return f"{number(median(known))} ({number(known[0])} to {number(known[-1])})"


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def groups(runs: Runs, key: Callable[[dict[str, Any]], Any]) -> dict[Any, Runs]:
    """Return runs by what they have in common, in the order in which it comes first."""
    found: dict[Any, Runs] = {}
    for run in runs:
        found.setdefault(key(run), []).append(run)
    return found


def size(run: dict[str, Any]) -> tuple[int, float, int]:
    """Return how much a run had to do."""
    return run["work"]["waits"], run["work"]["interval"], run["work"]["polls"]


def waits_tables(runs: Runs) -> str:
    """Return a table for each size, a row for each kind, and how our cost compares in the same rounds."""
    text = ""
    for (waits, interval, polls), same in groups(runs, size).items():
        kinds = groups(same, lambda run: run["kind"])
        columns = {
            heading: path
            for heading, path in COLUMNS.items()
            if any(value(run, path) is not None for run in same)
        }
        rows = [
            [kind, *(cell(value(run, path) for run in of_kind) for path in columns.values())]
            for kind, of_kind in kinds.items()
        ]
        text += f"\n{waits} waits, a poll every {interval:g} s, {polls} polls each:\n\n"
        text += table(["", *columns], rows) + "\n"
        for ours, theirs in product(kinds, kinds):
            if KINDS[ours].is_ours and not KINDS[theirs].is_ours:
                text += "".join(f"- {line}\n" for line in ratios(kinds, ours, theirs))
    return text


def ratios(kinds: dict[str, Runs], ours: str, theirs: str) -> Iterator[str]:
    """Say how many times another kind's CPU a poll ours is, round by round."""
    for figure, part in (("cpu_ms_a_poll", ""), ("cpu_ms_a_poll_overall", ", with start and end")):
        pairs = [
            (value(a, (figure,)), value(b, (figure,)))
            for a, b in zip(kinds[ours], kinds[theirs], strict=False)
        ]
        # Who blocks the loop may have no time that is steady.
        if all(a and b for a, b in pairs):
            yield f"CPU a poll{part}, {ours} to {theirs}: {cell(a / b for a, b in pairs if a and b)}"


def plain_table(runs: Runs) -> str:
    """Return a table with a row for each kind and a column for each figure."""
    names = list(runs[0]["cost"])
    rows = [
        [kind, *(cell(value(run, (name,)) for run in of_kind) for name in names)]
        for kind, of_kind in groups(runs, lambda run: " ".join([run["kind"], run.get("mode", "")])).items()
    ]
    return "\n" + table(["", *(name.replace("_", " ") for name in names)], rows)


def where(runs: Runs) -> str:
    """Say on which machine and with what a scenario ran, and when."""
    first = runs[0]
    versions: dict[str, str] = {}
    for run in runs:
        versions.update(run["versions"])
    rounds = 1 + max(run["round"] for run in runs)
    return (
        f"{first['date'][:10]}; {first['cpu']}, {first['cores']} cores, {first['memory_gb']} GB,"
        f" {first['system']}; Python {first['python']}, "
        + ", ".join(f"{name} {version}" for name, version in versions.items())
        + f"; {rounds} {'rounds' if rounds > 1 else 'round'}.\n"
    )


def report(results: Path) -> str:
    """Return the tables of all results that there are."""
    text = "# Results\n\nMade by `python -m benchmarks.report` from `benchmarks/results`: not to be edited.\n"
    for name, runs in read(results).items():
        text += f"\n## {name}\n\n{where(runs)}"
        text += waits_tables(runs) if "work" in runs[0] else plain_table(runs)
        if name in PLOTTED:
            text += f"\n![{PLOTTED[name]}]({name}.svg)\n"
    return text


def main() -> None:
    """Write tables and plots."""
    from benchmarks import plots

    DOCS.mkdir(parents=True, exist_ok=True)
    (DOCS / "results.md").write_text(report(RESULTS))
    for name, runs in read(RESULTS).items():
        if name in PLOTTED:
            plots.PLOTS[name](runs, DOCS / f"{name}.svg")


if __name__ == "__main__":
    main()
