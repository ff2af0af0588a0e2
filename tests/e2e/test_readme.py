"""The README's DAG and its tests do what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"


def test_the_dag_and_its_tests_run_as_written(tmp_path: Path, database_env: dict[str, str]) -> None:
    dag, operator, conftest, tests = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    (tmp_path / "daily_report.py").write_text(dag)
    (tmp_path / "test_extract.py").write_text(
        f"{operator}\n\ndef test_it_is_an_operator():\n    assert extract"
    )
    (tmp_path / "conftest.py").write_text(conftest)
    (tmp_path / "test_daily_report.py").write_text(tests)
    pytest = subprocess.run(
        [sys.executable, "-m", "pytest", "--rootdir", str(tmp_path), str(tmp_path)],
        cwd=tmp_path,
        env=database_env | {"AIRFLOW__CORE__DAGS_FOLDER": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert pytest.returncode == 0, pytest.stdout + pytest.stderr
    assert "3 passed" in pytest.stdout
