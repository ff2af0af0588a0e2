from __future__ import annotations

import subprocess
import sys
from pathlib import Path

#: What is imported where it is first used, for the scheduler parses DAGs all day
NOT_FOR_PARSING = {
    "aiohttp",
    "openlineage",
    "pendulum",
    "pyarrow",
    "requests",
    "tenacity",
    "urllib3",
}


def loaded_by(code: str) -> set[str]:
    """Return the modules that code prints after "loaded", in an interpreter of its own."""
    command = [sys.executable, "-c", code]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    return set(ran.stdout.partition("loaded")[2].split())


def test_a_dag_file_costs_no_library_that_only_running_it_needs():
    code = (
        "import sys\n"
        "from airflow.providers.common.compat.sdk import BaseHook, BaseSensorOperator\n"
        "from airflow.providers.common.compat.sdk import ResumableJobMixin, conf\n"
        "from airflow.triggers.base import BaseTrigger\n"
        # Before 3.1, Airflow itself imports much for the first task of any kind.
        "BaseSensorOperator(task_id='any')\n"
        "before = set(sys.modules)\n"
        "from airflow_provider_roe.operators.roe import RoeQueryOperator\n"
        "from airflow_provider_roe.sensors.roe import RoeQueryStatusSensor\n"
        "RoeQueryOperator(task_id='run', sql='SELECT 1')\n"
        "RoeQueryStatusSensor(task_id='wait', query_id='x')\n"
        "print('loaded', *set(sys.modules) - before)\n"
    )
    loaded = loaded_by(code)
    assert "airflow_provider_roe.operators.roe" in loaded
    assert not {name.partition(".")[0] for name in loaded} & NOT_FOR_PARSING
    assert not [name for name in loaded if ".results" in name or name.endswith(".openlineage")]


def test_starting_airflow_loads_no_more_than_the_provider_s_metadata():
    code = (
        "import airflow, sys\n"
        "print('loaded', *(name for name in sys.modules if name.startswith('airflow_provider_roe')))\n"
    )
    assert loaded_by(code) <= {
        "airflow_provider_roe",
        "airflow_provider_roe.client",
        "airflow_provider_roe.client.defaults",
        "airflow_provider_roe.get_provider_info",
    }


def test_the_provider_s_metadata_needs_the_standard_library_alone():
    code = (
        "import sys\n"
        "before = set(sys.modules)\n"
        "import airflow_provider_roe.get_provider_info\n"
        "print('loaded', *set(sys.modules) - before)\n"
    )
    others = {name.partition(".")[0] for name in loaded_by(code)} - sys.stdlib_module_names
    assert others == {"airflow_provider_roe"}
