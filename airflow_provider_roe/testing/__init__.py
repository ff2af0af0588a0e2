"""
A simulator of Roe's API for queries and agents, to test DAGs with.

It needs neither Airflow nor pytest. Fixtures for pytest are in :mod:`airflow_provider_roe.testing.fixtures`.
"""

from airflow_provider_roe.testing.faults import Fault
from airflow_provider_roe.testing.forms import InputFile
from airflow_provider_roe.testing.job_plan import JobPlan
from airflow_provider_roe.testing.plan import QueryPlan
from airflow_provider_roe.testing.recording import RecordedRequest
from airflow_provider_roe.testing.simulator import RoeSimulator

__all__ = [
    "Fault",
    "InputFile",
    "JobPlan",
    "QueryPlan",
    "RecordedRequest",
    "RoeSimulator",
]
