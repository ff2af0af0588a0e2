"""What Airflow learns about this provider. It asks in every process: nothing heavy is imported here."""

from __future__ import annotations

from typing import Any

from airflow_provider_roe import defaults

INTEGRATION = "Roe AI"

#: The form's own fields, saved in the connection's extra: JSON Schema type, label, help.
CONN_FIELDS = {
    "request_timeout": (
        "number",
        "Request time-out",
        f"Seconds for one HTTP request. Default: {defaults.REQUEST_TIMEOUT:g}.",
    ),
    "retry_window": (
        "number",
        "Retry window",
        "Seconds for which one call keeps retrying while Roe is unavailable."
        f" Default: {defaults.RETRY_WINDOW:g}.",
    ),
    "verify": (
        "string",
        "Verify certificate",
        "true, false, or the path of the CA bundle to verify the server's certificate with."
        f" Default: {str(defaults.VERIFY).lower()}.",
    ),
    "allow_http": (
        "boolean",
        "Allow plain http",
        "Permit a Base URL with http:// to another host than this one. The API key then travels in clear.",
    ),
    "success_statuses": (
        "array",
        "Further success statuses",
        "Status values that mean success in your deployment, besides SUCCESS and Roe's others.",
    ),
    "failure_statuses": (
        "array",
        "Further failure statuses",
        "Status values that mean failure in your deployment, besides FAILURE and Roe's others.",
    ),
    "web_url": (
        "string",
        "Web URL",
        "Where a task's link leads; {worksheet_id} and {query_id}, or {agent_id} and {job_id}, are filled in."
        f" Default: {defaults.WEB_URL}.",
    ),
}
HIDDEN_FIELDS = ["schema"]
RELABELING = {"login": "Organization ID", "password": "API Key", "host": "Base URL"}
PLACEHOLDERS = {
    "login": "UUID of your organization",
    "password": "An API key of that organization",
    "host": defaults.BASE_URL,
    # Airflow 3.3.2 refuses to test a stored connection that has none: its Test button then sends port 0,
    # which 3.4 takes for none.
    "port": "443 (before Airflow 3.4, the Test button needs one)",
}


def get_provider_info() -> dict[str, Any]:
    """Return the provider's metadata, as ``airflow/provider_info.schema.json`` wants it."""
    return {
        "package-name": "airflow-provider-roe",
        "name": INTEGRATION,
        "description": "`Roe AI <https://www.roe-ai.com>`__: run queries and agents, and wait for them.",
        "integrations": [
            {
                "integration-name": INTEGRATION,
                "external-doc-url": "https://docs.roe-ai.com",
                "tags": ["service"],
            }
        ],
        "hooks": [_modules("hooks.roe", "hooks.roe_sql")],
        "operators": [_modules("operators.roe", "operators.roe_agent", "operators.roe_sql")],
        "sensors": [_modules("sensors.roe", "sensors.roe_agent")],
        "triggers": [_modules("triggers.roe", "triggers.roe_agent")],
        "extra-links": ["airflow_provider_roe.links.roe.RoeLink"],
        "connection-types": [
            {
                "connection-type": "roe",
                "hook-class-name": "airflow_provider_roe.hooks.roe_sql.RoeSqlHook",
                "hook-name": INTEGRATION,
                "ui-field-behaviour": {
                    "hidden-fields": HIDDEN_FIELDS,
                    "relabeling": RELABELING,
                    "placeholders": PLACEHOLDERS,
                },
                "conn-fields": {
                    name: {"label": label, "description": description, "schema": _schema(kind)}
                    for name, (kind, label, description) in CONN_FIELDS.items()
                },
            }
        ],
    }


def _modules(*names: str) -> dict[str, Any]:
    return {
        "integration-name": INTEGRATION,
        "python-modules": [f"airflow_provider_roe.{name}" for name in names],
    }


def _schema(kind: str) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": [kind, "null"]}
    if kind == "array":
        schema["items"] = {"type": "string"}
    return schema


def ui_field_behaviour() -> dict[str, Any]:
    """Return labels and placeholders as Airflow 2.11 asks the hook for them."""
    return {"hidden_fields": HIDDEN_FIELDS, "relabeling": RELABELING, "placeholders": PLACEHOLDERS}


def form_widgets() -> dict[str, Any]:
    """Return the form's own fields as Airflow 2.11 asks the hook for them. Lists are separated by commas."""
    from flask_appbuilder.fieldwidgets import BS3TextFieldWidget
    from wtforms import BooleanField, StringField

    return {
        name: BooleanField(label, description=description)
        if kind == "boolean"
        else StringField(label, widget=BS3TextFieldWidget(), description=description)
        for name, (kind, label, description) in CONN_FIELDS.items()
    }
