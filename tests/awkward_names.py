"""Names of files that any storage has to bear."""

from __future__ import annotations

#: Names that mean something to URLs, shells or patterns.
AWKWARD = [
    "day=2026-01-01/ä b.csv",
    "100%/a%20b%2Fc.csv",
    "a#b.csv",
    "a#.csv",
    "report[1]*.csv",
    "a&b=c;d+e@f:g.csv",
    "a//b.csv",
    "~/x.csv",
    "報告.csv",
    f"{'n' * 240}.csv",
]
