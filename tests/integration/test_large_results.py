"""A result of any size goes to a file in bounded memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]


def peak_rss_mb(rows: int, extension: str) -> int:
    """Return the peak memory of a process whose task writes so many rows."""
    command = [sys.executable, "-m", "benchmarks.result_to_file", str(rows), extension]
    done = subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, text=True, timeout=300)
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["rows"] == rows
    return int(figures["peak_rss_mb"])


@pytest.mark.parametrize("extension", ["csv", "parquet"])
def test_memory_does_not_grow_with_the_rows(extension):
    # To hold the 150,000 further rows would take more than 100 MB.
    assert peak_rss_mb(200_000, extension) - peak_rss_mb(50_000, extension) < 20
