"""Apache Airflow provider for Roe AI."""

__version__ = "0.1.0"
