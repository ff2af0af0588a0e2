"""What a person sees in Airflow's UI, by way of a real browser. `make screenshots` keeps pictures of it."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from dev.patience import patient
from dev.processes import free_ports
from tests.e2e.browser import needs_a_browser

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Locator, Page

    from airflow_provider_roe.testing import RoeSimulator
    from dev.local_airflow import LocalAirflow

pytestmark = needs_a_browser

OTHER_ORGANIZATION = "8d3e5b60-2f1a-4c7e-9b84-6a0d1c2e3f45"
REASON = "Code: 47. DB::Exception: Unknown identifier 'vendr'."
#: Milliseconds that a task may take to get into another state
SOON = patient(120_000)


@pytest.fixture(scope="module")
def screenshot(page: Page, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., None]:
    """Return a function that makes a picture of what the browser shows."""
    folder = Path(os.environ.get("ROE_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))

    def screenshot(name: str, height: float = 700) -> None:
        page.set_viewport_size({"width": 1200, "height": round(height)})
        page.mouse.move(600, 5)  # away from what shows a tooltip
        page.wait_for_timeout(500)
        page.screenshot(path=folder / f"{name}.png", animations="disabled")

    return screenshot


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


def button(page: Page, airflow: LocalAirflow, conn_id: str, name: str) -> Locator:
    """Return a button of a connection in the list of all."""
    page.goto(f"{airflow.url}/connections")  # anew, for the tooltip of a button covers others
    row = page.get_by_role("row").filter(has=page.get_by_role("cell", name=conn_id, exact=True))
    return row.get_by_role("button", name=name)


class TestConnectionForm:
    def test_it_has_our_labels_placeholders_and_help_and_masks_the_key(
        self, form: Locator, screenshot: Callable[..., None]
    ) -> None:
        labels = form.inner_text().splitlines()
        for label in ("Base URL", "Organization ID", "API Key", "Port"):
            assert label in labels
        assert "Schema" not in labels
        for name, placeholder in (
            ("host", "https://api.roe-ai.com"),
            ("login", "UUID of your organization"),
            ("password", "An API key of that organization"),
            ("port", "443 (before Airflow 3.4, the Test button needs one)"),
        ):
            expect(form.locator(f"input[name={name}]")).to_have_attribute("placeholder", placeholder)
        expect(form.locator("input[name=password]")).to_have_attribute("type", "password")
        form.get_by_text("Extra Fields", exact=True).click()
        for label in ("Request time-out", "Retry window", "Verify certificate", "Web URL"):
            expect(form.get_by_text(label, exact=True)).to_be_visible()
        expect(form.get_by_text("Seconds for one HTTP request. Default: 60.")).to_be_visible()
        screenshot("connection-form-extra", 1500)
        form.get_by_text("Standard Fields", exact=True).click()
        expect(form.locator("input[name=host]")).to_be_visible()
        screenshot("connection-form", 920)

    def test_what_is_saved_is_there_when_it_is_opened_again_and_survives_an_edit(
        self, form: Locator, page: Page, airflow: LocalAirflow, roe: RoeSimulator
    ) -> None:
        url = urlsplit(roe.url)
        fields = {"host": f"http://{url.hostname}", "port": str(url.port), "login": roe.organization_id}
        for name, value in {"connection_id": "roe_ui", **fields, "password": roe.api_key}.items():
            form.locator(f"input[name={name}]").fill(value)
        form.get_by_text("Extra Fields", exact=True).click()
        form.locator("input[name=element_retry_window]").fill("30")
        form.locator("textarea[name=element_success_statuses]").fill("DONE\nREADY")
        form.get_by_role("button", name="Save").click()
        form.wait_for(state="detached")
        assert extra(airflow, "roe_ui") == {"retry_window": 30, "success_statuses": ["DONE", "READY"]}

        button(page, airflow, "roe_ui", "Edit Connection").click()
        for name, value in fields.items():
            expect(form.locator(f"input[name={name}]")).to_have_value(value)
        expect(form.locator("input[name=password]")).to_have_value("***")
        form.get_by_text("Extra Fields", exact=True).click()
        expect(form.locator("textarea[name=element_success_statuses]")).to_have_value("DONE\nREADY")
        form.locator("input[name=element_retry_window]").fill("45")
        form.get_by_role("button", name="Save").click()
        form.wait_for(state="detached")
        assert extra(airflow, "roe_ui") == {"retry_window": 45, "success_statuses": ["DONE", "READY"]}

        button(page, airflow, "roe_ui", "Test Connection").click()
        expect(page.get_by_text("accepts the API key")).to_be_visible()


def extra(airflow: LocalAirflow, conn_id: str) -> dict[str, Any]:
    """Return what a connection's extra says. The form leaves null for what was not filled in."""
    found = json.loads(airflow.api("GET", f"connections/{conn_id}")["extra"])
    return {name: value for name, value in found.items() if value is not None}


class TestTestButton:
    @pytest.mark.parametrize(
        ("conn_id", "fields", "sentence"),
        [
            ("ui_right", {}, "accepts the API key for organization {roe.organization_id}."),
            (
                "ui_wrong_key",
                {"password": "not-the-key"},
                "Roe did not accept the API key: check the connection's API Key (password). ",
            ),
            (
                "ui_wrong_organization",
                {"login": OTHER_ORGANIZATION},
                "The API key has no access to this organization: check the connection's Organization ID",
            ),
            (
                "ui_no_uuid",
                {"login": "acme"},
                "The connection: login (Organization ID) must be a UUID such as",
            ),
            (
                "ui_unreachable",
                {"port": free_ports(1)[0]},
                "nothing listens at http://127.0.0.1:{port}: check the connection's Base URL (host)",
            ),
        ],
        ids=lambda value: value if str(value).startswith("ui_") else "",
    )
    def test_it_says_what_to_change(
        self,
        conn_id: str,
        fields: dict[str, Any],
        sentence: str,
        page: Page,
        airflow: LocalAirflow,
        roe: RoeSimulator,
        connect: Callable[..., None],
        screenshot: Callable[..., None],
    ) -> None:
        connect(conn_id, roe, **fields)
        button(page, airflow, conn_id, "Test Connection").click()
        expect(page.get_by_text(sentence.format(roe=roe, port=fields.get("port")))).to_be_visible()
        if conn_id == "ui_wrong_key":
            screenshot("connection-test", 800)

    def test_without_a_port_airflow_itself_refuses_to_test(
        self, page: Page, airflow: LocalAirflow, roe: RoeSimulator, connect: Callable[..., None]
    ) -> None:
        """When this fails, Airflow has mended it: the placeholder of the port and the docs can go."""
        connect("ui_no_port", roe, host=roe.url, port=None)
        button(page, airflow, "ui_no_port", "Test Connection").click()
        expect(page.get_by_text("Bad Request")).to_be_visible()


@pytest.fixture(scope="module")
def finished_run(page: Page, airflow: LocalAirflow, screenshot: Callable[..., None]) -> str:
    """The page of a run that was started, and watched to its end, in the UI."""
    airflow.wait_for_dag("example_roe_submit_and_wait")
    page.goto(f"{airflow.url}/dags/example_roe_submit_and_wait")
    page.get_by_role("button", name="Trigger Dag").click()
    page.get_by_role("dialog").get_by_role("button", name="Trigger").click()
    state = page.get_by_role("row").filter(has=page.get_by_role("link", name="wait", exact=True))
    expect(state).to_contain_text("Deferred", timeout=SOON)
    screenshot("sensor-deferred")
    expect(state).to_contain_text("Success", timeout=SOON)
    return page.url


@pytest.fixture
def wait(page: Page, finished_run: str) -> Page:
    """The page of that run's sensor."""
    page.goto(f"{finished_run}/tasks/wait")
    return page


def log_lines(page: Page) -> list[str]:
    """Return the lines of the log that is shown, without their numbers and times."""
    log = page.get_by_test_id("virtualized-list")
    expect(log).to_contain_text("Waiting for query")
    return re.findall(r"^\[[^]]+\] (\w+ - .*)$", log.inner_text(), re.MULTILINE)


class TestRun:
    def test_the_log_of_a_wait_reads_as_a_story(self, wait: Page, screenshot: Callable[..., None]) -> None:
        told = [line for line in log_lines(wait) if "rigger" not in line]  # which is Airflow's own
        chapters = [
            r"INFO - Waiting for query \S+ on connection roe_default, for at most 10 minutes",
            r"INFO - Query \S+ is (PENDING|STARTED) after \d\.\d s",
            r"(INFO - Query \S+: PENDING -> STARTED after \d+\.\d s)?",
            r"(INFO - Query \S+ is STARTED after \d+\.\d s)?",
            r"INFO - Query \S+ (is|STARTED ->) SUCCESS after \d+\.\d s",
            r"INFO - Query \S+ ended as SUCCESS",
        ]
        assert re.fullmatch("\n?".join(chapters), "\n".join(told))
        screenshot("sensor-log")

    def test_the_rendered_template_shows_which_query(
        self, wait: Page, screenshot: Callable[..., None]
    ) -> None:
        wait.get_by_role("link", name="Rendered Templates").click()
        query_id = wait.get_by_role("row").filter(has_text="query_id")
        expect(query_id).to_contain_text(re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"))
        screenshot("sensor-templates")

    def test_the_status_is_in_xcom(self, wait: Page, screenshot: Callable[..., None]) -> None:
        wait.get_by_role("link", name="Storage").click()
        wait.get_by_role("link", name="XCom").click()
        wait.get_by_role("button", name="Expand all").click()
        value = wait.get_by_role("row").filter(has_text="return_value")
        for name in ("query_id", "status", "error", "created_at", "finished_at", "duration"):
            expect(value).to_contain_text(f'"{name}"')
        expect(value).to_contain_text('"SUCCESS"')
        screenshot("sensor-xcom")

    def test_a_link_leads_to_roe(self, wait: Page, screenshot: Callable[..., None]) -> None:
        wait.get_by_role("link", name="Details").click()
        link = wait.get_by_role("link", name="Open Roe")
        expect(link).to_have_attribute("href", "https://app.roe-ai.com/")
        screenshot("sensor-link", 610)


@pytest.fixture(scope="module")
def failed_run(airflow: LocalAirflow) -> str:
    airflow.wait_for_dag("failed_query")
    run_id = airflow.trigger("failed_query")
    assert airflow.wait_for_run("failed_query", run_id)["state"] == "failed"
    return f"{airflow.url}/dags/failed_query/runs/{run_id}"


class TestFailedQuery:
    """What a person sees first is Roe's reason, whole, and not Airflow's traceback."""

    def test_on_the_page_of_the_dag(
        self, failed_run: str, page: Page, screenshot: Callable[..., None]
    ) -> None:
        page.set_viewport_size({"width": 1200, "height": 1250})
        page.goto(failed_run.partition("/runs")[0])
        page.get_by_text("Show Logs").click()
        screenshot("failed-query", self.height_in_which_it_is_seen(page))

    def test_in_the_log(self, failed_run: str, page: Page, screenshot: Callable[..., None]) -> None:
        page.set_viewport_size({"width": 1200, "height": 1250})
        page.goto(f"{failed_run}/tasks/wait")
        assert [line for line in log_lines(page) if line.startswith("ERROR")] == [
            f"ERROR - Roe says: {REASON}",
            "ERROR - Task failed with exception",
        ]
        screenshot("failed-query-log", self.height_in_which_it_is_seen(page))

    def height_in_which_it_is_seen(self, page: Page) -> float:
        """Check what is seen; return how high a window is that ends before the traceback."""
        reason = page.get_by_text(f"Roe says: {REASON}")
        expect(reason).to_be_visible()
        where = reason.bounding_box()
        log = page.get_by_test_id("virtualized-list").bounding_box()
        exception = page.get_by_text("Task failed with exception").bounding_box()
        assert where is not None
        assert log is not None
        assert exception is not None
        assert where["y"] < exception["y"]
        assert where["x"] + where["width"] <= log["x"] + log["width"]
        return exception["y"] + exception["height"] + 20
