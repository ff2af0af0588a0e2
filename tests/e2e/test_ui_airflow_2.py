"""The connection in the form of Airflow 2.11, by way of a real browser."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.e2e.browser import needs_a_browser

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from airflow_provider_roe.testing import RoeSimulator
    from dev.local_airflow import LocalAirflow
    from tests.e2e.conftest import HostNames

pytestmark = needs_a_browser

LABELS = {"host": "Base URL", "login": "Organization ID", "password": "API Key", "port": "Port"}


@pytest.fixture
def form(page: Page, airflow: LocalAirflow) -> Page:
    """The form for a new connection of our type."""
    page.goto(f"{airflow.url}/connection/add")
    page.evaluate("jQuery('#conn_type').val('roe').trigger('change')")
    return page


def fill(form: Page, roe: RoeSimulator, conn_id: str, key: str, host: str = "http://127.0.0.1") -> None:
    fields = {"conn_id": conn_id, "host": host, "port": str(urlsplit(roe.url).port)}
    for name, value in (fields | {"login": roe.organization_id, "password": key}).items():
        form.locator(f"#{name}").fill(value)


def press_test(form: Page) -> str:
    """Return what the Test button comes to."""
    with form.expect_response("**/connections/test"):
        form.locator("#test-connection").click()
    return form.locator(".alert-success").inner_text()  # also of a failure


def test_the_form_has_our_labels_and_masks_the_key(form: Page) -> None:
    for name, label in LABELS.items():
        assert form.locator(f"label[for={name}]").inner_text() == label
    assert not form.locator("#schema").is_visible()
    assert form.locator("#password").get_attribute("type") == "password"
    assert form.locator("#host").get_attribute("placeholder") == "https://api.roe-ai.com"
    assert form.get_by_text("Seconds for one HTTP request. Default: 60.").is_visible()


def test_a_connection_from_the_form_is_tested_saved_and_shown_again(
    form: Page, airflow: LocalAirflow, roe: RoeSimulator, names: HostNames
) -> None:
    names.add("roe-of-form.test")
    fill(form, roe, "roe_ui", roe.api_key, host="http://roe-of-form.test")
    assert "allow_http" in press_test(form)
    form.locator("#extra__roe__retry_window").fill("30")
    form.locator("#extra__roe__success_statuses").fill("DONE, READY")
    form.locator("#extra__roe__allow_http").check()
    assert f"accepts the API key for organization {roe.organization_id}" in press_test(form)

    form.get_by_role("button", name="Save").click()
    form.get_by_text("Added Row").wait_for()
    extra = {"retry_window": "30", "success_statuses": "DONE, READY", "allow_http": True}
    assert json.loads(airflow.api("GET", "connections/roe_ui")["extra"]).items() >= extra.items()

    form.goto(f"{airflow.url}/connection/list/?_flt_3_conn_id=roe_ui")
    form.locator("a[href*='/connection/edit/']").click()
    form.locator("label[for=password]", has_text="API Key").wait_for()
    assert form.locator("#login").input_value() == roe.organization_id
    assert form.locator("#extra__roe__retry_window").input_value() == "30"
    assert form.locator("#extra__roe__allow_http").is_checked()
    assert form.locator("#password").get_attribute("type") == "password"
    assert roe.api_key not in form.content()


def test_the_test_button_says_what_to_change_about_a_wrong_key(form: Page, roe: RoeSimulator) -> None:
    fill(form, roe, "roe_ui_wrong", "not-the-key")
    assert "check the connection's API Key (password)" in press_test(form)
