"""Puts what the tests of the last `make test` measured into docs/reliability.md: `make figures`."""

import os
import sys
from importlib.metadata import version
from pathlib import Path
from xml.etree import ElementTree

REPORTS = [Path(".cache/tests-e2e.xml"), Path(".cache/tests-other.xml")]
PAGE = Path("docs/reliability.md")
BEGIN, END = "<!-- figures: made by `make figures` -->\n", "<!-- end of figures -->\n"


def read(report: Path) -> tuple[str, list[str]]:
    """Return the day of a run in which all tests passed, and its figures."""
    if not report.exists():
        sys.exit(f"{report} is missing: run `make test` first")
    [suite] = ElementTree.parse(report).getroot()
    if int(suite.attrib["failures"]) + int(suite.attrib["errors"]):
        sys.exit(f"In the run of {report} tests failed: figures are taken of a run in which all passed")
    figures = [each.attrib["value"] for each in suite.iterfind(".//property[@name='figure']")]
    return suite.attrib["timestamp"][:10], list(dict.fromkeys(figures))


def table(reports: list[Path]) -> str:
    """Return the table of all figures, each of which says what was done before its colon."""
    runs = [read(report) for report in reports]
    rows = [f"| {' | '.join(figure.split(': ', 1))} |\n" for _, figures in runs for figure in figures]
    on = f"{runs[0][0]}, Airflow {version('apache-airflow')}, {os.cpu_count()} cores"
    return f"\nA run of all tests, {on}:\n\n| what | measured |\n|---|---|\n{''.join(rows)}\n"


if __name__ == "__main__":
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(before + BEGIN + table(REPORTS) + END + after)
