from __future__ import annotations

import pytest

from airflow_provider_roe.waiting.hand_over import executor_of, hand_over

LOCAL = "airflow.executors.local_executor.LocalExecutor"
CELERY = "airflow.providers.celery.executors.celery_executor.CeleryExecutor"


@pytest.mark.parametrize(
    ("executor", "airflow_version", "seconds"),
    [
        ("LocalExecutor", "2.11.2", 15),
        ("LocalExecutor", "3.0.0", 15),
        ("LocalExecutor", "3.3.2", 15),
        ("LocalExecutor", "3.4.0b2", 0),
        ("LocalExecutor", "3.4.0", 0),
        ("LocalExecutor", "3.10.1", 0),
        ("LocalExecutor", "4.0.0.dev0", 0),
        ("CeleryExecutor", "2.11.2", 15),
        ("CeleryExecutor", "3.0.0", 15),
        ("CeleryExecutor", "3.3.2", 0),
        ("CeleryExecutor", "3.4.0b2", 0),
        ("KubernetesExecutor", "3.3.2", 15),
        ("KubernetesExecutor", "3.4.0b2", 15),
        ("EdgeExecutor", "3.4.0", 15),
        ("", "3.4.0", 15),
    ],
)
def test_the_seconds_for_which_a_task_stays_away(executor, airflow_version, seconds):
    assert hand_over(executor, airflow_version) == seconds


@pytest.mark.parametrize(
    ("configured", "task_executor", "executor"),
    [
        ("LocalExecutor", None, "LocalExecutor"),
        ("CeleryExecutor", None, "CeleryExecutor"),
        (CELERY, None, "CeleryExecutor"),
        ("LocalExecutor,CeleryExecutor", None, "LocalExecutor"),
        ("LocalExecutor, CeleryExecutor", "CeleryExecutor", "CeleryExecutor"),
        (f"{LOCAL},{CELERY}", CELERY, "CeleryExecutor"),
        (f"LocalExecutor,far:{CELERY}", "far", "CeleryExecutor"),
        (f"far:{CELERY},LocalExecutor", None, "CeleryExecutor"),
        ("far:CeleryExecutor", "far", "CeleryExecutor"),
        ("acme.executors.FastExecutor", None, "FastExecutor"),
        ("LocalExecutor;data=CeleryExecutor", None, ""),
        ("", None, ""),
    ],
)
def test_the_executor_is_the_task_s_own_else_the_first(monkeypatch, configured, task_executor, executor):
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", configured)
    assert executor_of(task_executor) == executor


def test_a_pod_of_kubernetes_is_one_whatever_its_configuration_says(monkeypatch):
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "LocalExecutor")
    monkeypatch.setenv("AIRFLOW_IS_K8S_EXECUTOR_POD", "True")
    assert executor_of(None) == "KubernetesExecutor"
