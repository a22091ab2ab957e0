"""Chromium before a process whose runs go on until they are stopped."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from helpers_browser import FLAGS, SCREENSHOTS, Served, Watch
from playwright.sync_api import Browser, Page, expect, sync_playwright

WIDE = {"width": 1440, "height": 1000}
expect.set_options(timeout=20_000)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if SCREENSHOTS.is_dir():
        terminalreporter.write_line(f"screenshots of the page: {SCREENSHOTS}")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium; continuous integration may not do without it."""
    path = shutil.which("chromium")
    if path is None:
        reason = "needs the system package chromium: apt-get install chromium"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def served(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory, arc_folder: Path
) -> Iterator[Served]:
    """One process for all tests, which waits to be asked for runs; none without a browser."""
    process = Served(tmp_path_factory.mktemp("served"), arc_folder)
    yield process
    process.close()


@pytest.fixture(scope="session")
def window(browser: Browser) -> Iterator[Page]:
    """The window of all tests that need no other: a new one costs more than most tests."""
    with closing(browser.new_context(viewport=WIDE)) as context:
        yield context.new_page()


@pytest.fixture
def watches() -> list[Watch]:
    """What was seen of the pages that a test opened."""
    return []


@pytest.fixture
def open_page(
    browser: Browser, window: Page, served: Served, watches: list[Watch]
) -> Iterator[Callable[..., Page]]:
    """Open the page as a new visitor, in a window of its own if it has ``words`` for Playwright.

    ``route`` is called with a window before it is shown.
    """
    own = []

    def place(words: dict[str, Any]) -> Page:
        if not words:
            return window
        own.append(browser.new_context(**{"viewport": WIDE, **words}))
        return own[-1].new_page()

    def open_one(
        *, url: str | None = None, route: Callable[[Page], None] | None = None, **words: Any
    ) -> Page:
        page = place(words)
        watches.append(Watch(page))
        if route is not None:
            route(page)
        page.goto(url or served.url)
        return page

    yield open_one
    for watch in watches:
        watch.close()
    if window.url.startswith("http"):
        window.unroute_all(behavior="ignoreErrors")
        window.evaluate("localStorage.clear()")
        window.goto("about:blank")
    for context in own:
        context.close()
    for watch in watches:
        assert watch.unexpected() == []
        assert watch.hosts <= {f"127.0.0.1:{served.port}"}


@pytest.fixture
def idle(served: Served, open_page: Callable[..., Page]) -> Page:
    """The page while nothing runs."""
    served.idle()
    page = open_page()
    expect(page.get_by_role("button", name="Start training")).to_be_enabled()
    expect(page.locator(".picker .hint")).not_to_be_empty()  # the last run's model may go now
    expect(page.locator("article.probe[aria-busy]")).to_have_count(0)
    return page


@pytest.fixture
def running(served: Served, open_page: Callable[..., Page]) -> Page:
    """The page while a run is under way."""
    served.running()
    page = open_page()
    expect(page.locator("#state")).to_have_text("● training")
    return page
