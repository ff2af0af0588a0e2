"""A result of any size goes to a file, or row by row to whoever fetches it, in bounded memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dev.patience import patient

PROJECT = Path(__file__).parents[2]


def peak_rss_mb(rows: int, form: str) -> int:
    """Return the peak memory of a process whose task takes over so many rows."""
    command = [sys.executable, "-m", "benchmarks.result_to_file", str(rows), form]
    done = subprocess.run(
        command, cwd=PROJECT, check=True, capture_output=True, text=True, timeout=patient(300)
    )
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["rows"] == rows
    return int(figures["peak_rss_mb"])


@pytest.mark.parametrize("form", ["csv", "parquet", "rows"])
def test_memory_does_not_grow_with_the_rows(form):
    # To hold the 150,000 further rows would take more than 100 MB.
    assert peak_rss_mb(200_000, form) - peak_rss_mb(50_000, form) < 20
