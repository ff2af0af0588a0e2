"""The connection in Airflow's UI, by way of a real browser."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.e2e.browser import needs_a_browser

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

    from airflow_provider_roe.testing import RoeSimulator
    from dev.local_airflow import LocalAirflow

pytestmark = needs_a_browser


@pytest.fixture
def form(page: Page, airflow: LocalAirflow) -> Locator:
    """The form for a new connection of our type."""
    page.goto(f"{airflow.url}/connections")
    page.get_by_role("button", name="Add Connection").click()
    form = page.get_by_role("dialog")
    form.get_by_role("combobox").first.click()
    page.keyboard.type("Roe")
    page.get_by_role("option", name="Roe AI").click()
    return form


def fill(form: Locator, roe: RoeSimulator, conn_id: str, key: str) -> None:
    url = urlsplit(roe.url)
    form.locator("input[name=connection_id]").fill(conn_id)
    form.locator("input[name=host]").fill(f"http://{url.hostname}")
    form.locator("input[name=port]").fill(str(url.port))
    form.locator("input[name=login]").fill(roe.organization_id)
    form.locator("input[name=password]").fill(key)


def test_the_form_has_our_labels_and_masks_the_key(form: Locator) -> None:
    labels = form.inner_text().splitlines()
    for label in ("Base URL", "Organization ID", "API Key", "Port"):
        assert label in labels
    assert "Schema" not in labels
    assert form.locator("input[name=password]").get_attribute("type") == "password"
    assert form.locator("input[name=host]").get_attribute("placeholder") == "https://api.roe-ai.com"
    form.get_by_text("Extra Fields", exact=True).click()
    form.get_by_text("Seconds for one HTTP request. Default: 60.").wait_for()


def test_a_connection_from_the_form_is_saved_and_tested(
    form: Locator, page: Page, airflow: LocalAirflow, roe: RoeSimulator
) -> None:
    fill(form, roe, "roe_ui", roe.api_key)
    form.get_by_text("Extra Fields", exact=True).click()
    form.locator("input[name=element_retry_window]").fill("30")
    form.locator("textarea[name=element_success_statuses]").fill("DONE\nREADY")
    form.get_by_role("button", name="Save").click()
    form.wait_for(state="detached")
    saved = airflow.api("GET", "connections/roe_ui")
    extra = {name: value for name, value in json.loads(saved["extra"]).items() if value is not None}
    assert extra == {"retry_window": 30, "success_statuses": ["DONE", "READY"]}

    page.get_by_role("row", name="roe_ui").get_by_role("button", name="Test Connection").click()
    page.get_by_text(f"accepts the API key for organization {roe.organization_id}").wait_for()


def test_the_test_button_says_what_to_change_about_a_wrong_key(
    form: Locator, page: Page, roe: RoeSimulator
) -> None:
    fill(form, roe, "roe_ui_wrong", "not-the-key")
    form.get_by_role("button", name="Save").click()
    form.wait_for(state="detached")
    page.get_by_role("row", name="roe_ui_wrong").get_by_role("button", name="Test Connection").click()
    page.get_by_text("check the connection's API Key (password)").wait_for()
