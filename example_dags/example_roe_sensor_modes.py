"""
One query, awaited in each of the sensor's three modes.

All three end alike; they differ in what they occupy meanwhile.

| mode | while it waits | good for |
|---|---|---|
| poke | holds a worker slot | queries of some seconds |
| reschedule | frees the slot, is scheduled anew for each poll | long queries where there is no triggerer |
| deferrable | frees the slot, waits in the triggerer | everything else |
"""

from __future__ import annotations

from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_roe.hooks.roe import RoeHook
from airflow_provider_roe.sensors.roe import RoeQueryStatusSensor

SQL = '/* simulate {"statuses": [["PENDING", 1], ["STARTED", 5]]} */ SELECT 1 AS n'


@dag(schedule=None, catchup=False, tags=["roe", "example"], doc_md=__doc__)
def example_roe_sensor_modes():
    @task
    def submit() -> str:
        return RoeHook().submit_query(SQL).query_id

    query_id = submit()
    RoeQueryStatusSensor(task_id="poke", query_id=query_id, mode="poke", poke_interval=5, deferrable=False)
    # Not less than 10 s: Airflow 3 needs 5 s or more to notice that a worker has left the task.
    RoeQueryStatusSensor(
        task_id="reschedule", query_id=query_id, mode="reschedule", poke_interval=10, deferrable=False
    )
    # A template does as well as the task's return value; then the order has to be given too.
    deferrable = RoeQueryStatusSensor(
        task_id="deferrable",
        query_id="{{ ti.xcom_pull(task_ids='submit') }}",
        deferrable=True,
        defer_after=0,  # at once, even if a query of 6 s would be done before it is worth it
    )
    query_id >> deferrable


example_roe_sensor_modes()
