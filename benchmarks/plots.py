"""Plots of the results, as SVG."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib import pyplot as plt

from benchmarks.report import groups, value

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.report import Runs

mpl.use("Agg")
mpl.rcParams["svg.hashsalt"] = "benchmarks"  # the same file for the same figures


def plot_scale(runs: Runs, path: Path) -> None:
    """Plot how the cost of a poll and the memory grow with the number of waits."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    for axis, title, names in (
        (axes[0], "CPU ms a poll", ("cpu_ms_a_poll",)),
        (axes[1], "RSS KB a wait", ("rss_kb_a_wait",)),
    ):
        for kind, of_kind in groups(runs, lambda run: run["kind"]).items():
            by_waits = groups(of_kind, lambda run: run["work"]["waits"])
            figures = {
                waits: [known for run in same if (known := value(run, names)) is not None]
                for waits, same in by_waits.items()
            }
            x = [waits for waits, known in figures.items() if known]
            y = [median(figures[waits]) for waits in x]
            spans = [
                [at - min(figures[waits]) for waits, at in zip(x, y, strict=True)],
                [max(figures[waits]) - at for waits, at in zip(x, y, strict=True)],
            ]
            axis.errorbar(x, y, yerr=spans, marker="o", capsize=3, label=kind)
        axis.set(xscale="log", xlabel="waits", title=title)
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
    axes[0].legend()
    save(figure, path)


def plot_over_time(runs: Runs, path: Path) -> None:
    """Plot CPU share and memory over the length of a run."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    for run in runs:
        times, cpu, rss = zip(*run["cost"]["over_time"], strict=True)
        shares = [
            100 * (cpu[i + 1] - cpu[i]) / (times[i + 1] - times[i])
            for i in range(len(times) - 1)
            if times[i + 1] > times[i]
        ]
        axes[0].plot(times[1 : len(shares) + 1], shares)
        axes[1].plot(times, rss)
    axes[0].set(title="CPU, % of a core", xlabel="seconds")
    axes[1].set(title="RSS, MB", xlabel="seconds")
    for axis in axes:
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
    save(figure, path)


def save(figure: Any, path: Path) -> None:
    """Write a plot."""
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


PLOTS = {"scale": plot_scale, "soak": plot_over_time}
