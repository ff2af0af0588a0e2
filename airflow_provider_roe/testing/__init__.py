"""
A simulator of Roe's query API, to test DAGs with.

It needs neither Airflow nor pytest. Fixtures for pytest are in :mod:`airflow_provider_roe.testing.fixtures`.
"""

from airflow_provider_roe.testing.faults import Fault
from airflow_provider_roe.testing.plan import QueryPlan
from airflow_provider_roe.testing.recording import RecordedRequest
from airflow_provider_roe.testing.simulator import RoeSimulator

__all__ = ["Fault", "QueryPlan", "RecordedRequest", "RoeSimulator"]
