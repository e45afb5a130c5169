"""A browser for the tests of pages."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from tools.browser import find


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Playwright's browser or the system's, whichever is there. It ends with its module: while it runs, no test may have a
    loop of its own."""
    path = find()
    assert path, "no browser: run `make setup`, or see `python tools/browser.py`"
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-background-networking", "--disable-component-update"]
        )
        yield started
        started.close()
