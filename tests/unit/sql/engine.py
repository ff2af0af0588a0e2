"""SELECTs on ClickHouse itself, in a process of its own: a crash of the engine is a failed test."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

#: A line for each query: a list of names, types and rows. Texts hold bytes that are no UTF-8, too.
RUN = """
import json, sys
import chdb
for sql in json.load(sys.stdin):
    lines = chdb.query(sql, "JSONCompactEachRowWithNamesAndTypes").bytes().strip().split(b"\\n")
    sys.stdout.buffer.write(b"[" + b",".join(lines) + b"]\\n")
"""
AS_TEXT = (
    " SETTINGS output_format_json_quote_64bit_floats = 1, output_format_json_quote_denormals = 1,"
    " output_format_json_quote_decimals = 1, output_format_json_escape_forward_slashes = 0"
)
#: So many expressions in one query
BATCH = 100


class Cell(NamedTuple):
    """A value of the engine's, as JSON writes it, and its type."""

    type: str
    value: Any


def run(queries: Sequence[str]) -> list[list[list[Cell]]]:
    """Return the rows of each query."""
    ran = subprocess.run([sys.executable, "-c", RUN], input=json.dumps(queries).encode(), capture_output=True)
    assert ran.returncode == 0, ran.stderr.decode(errors="replace")[-2000:]
    answers = [json.loads(line) for line in ran.stdout.decode(errors="surrogateescape").split("\n")[:-1]]
    assert len(answers) == len(queries)
    return [[list(map(Cell, types, row)) for row in rows] for _, types, *rows in answers]


def evaluate(expressions: Sequence[str]) -> list[Cell]:
    """Return what expressions come to."""
    queries = []
    for start in range(0, len(expressions), BATCH):
        batch = expressions[start : start + BATCH]
        queries.append(f"SELECT {', '.join(f'{e} AS c{i}' for i, e in enumerate(batch))}{AS_TEXT}")
    cells = [cell for [row] in run(queries) for cell in row]
    assert len(cells) == len(expressions), "an expression left its place"
    return cells
