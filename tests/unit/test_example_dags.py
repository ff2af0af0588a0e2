from __future__ import annotations

import runpy
from pathlib import Path

import pytest

EXAMPLES = sorted(Path(__file__).parents[2].glob("example_dags/*.py"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_read_without_a_deprecation_warning(example):
    runpy.run_path(str(example), run_name=f"example_dags.{example.stem}")  # the name makes pytest see to it
