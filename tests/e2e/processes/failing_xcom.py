"""An XCom backend that is out when tasks ``xcom_fails…`` return for the first two times."""

from __future__ import annotations

from pathlib import Path
from tempfile import gettempdir

from airflow.sdk.bases.xcom import BaseXCom


class FailingXCom(BaseXCom):
    @staticmethod
    def serialize_value(value, *, key=None, task_id=None, **where):
        if key == BaseXCom.XCOM_RETURN_KEY and str(task_id).startswith("xcom_fails"):
            times = Path(gettempdir(), f"{task_id}.times")
            with times.open("a") as file:
                file.write("x")
            if len(times.read_text()) <= 2:
                raise OSError("The XCom backend is out.")
        return BaseXCom.serialize_value(value, key=key, task_id=task_id, **where)
