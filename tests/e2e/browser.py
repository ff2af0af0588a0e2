"""A real browser."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from dev.patience import patient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_a_browser = pytest.mark.skipif(
    not CHROMIUM, reason="needs a browser: install Chromium (Debian: chromium)"
)

# No sandbox, for CI runs as root; and nothing that calls home.
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]


@contextmanager
def open_page() -> Iterator[Page]:
    """Return a page of a browser that has seen none before."""
    from playwright.sync_api import expect, sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1200, "height": 1500})
        page.set_default_timeout(patient(60_000))
        expect.set_options(timeout=patient(30_000))
        yield page
        browser.close()
