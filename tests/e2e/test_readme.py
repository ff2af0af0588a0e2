"""The README's DAG and its tests do what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"


def test_the_dag_and_its_tests_run_as_written(tmp_path: Path) -> None:
    dag, conftest, tests = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    (tmp_path / "daily_report.py").write_text(dag)
    (tmp_path / "conftest.py").write_text(conftest)
    (tmp_path / "test_daily_report.py").write_text(tests)
    env = os.environ | {
        "AIRFLOW_HOME": str(tmp_path / "home"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(tmp_path),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
    }
    migration = [sys.executable, "-m", "airflow", "db", "migrate"]
    subprocess.run(migration, env=env, check=True, capture_output=True, timeout=120)
    pytest = subprocess.run(
        [sys.executable, "-m", "pytest", "--rootdir", str(tmp_path), str(tmp_path)],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert pytest.returncode == 0, pytest.stdout + pytest.stderr
    assert "2 passed" in pytest.stdout
