"""Chromium before a process whose runs go on until they are stopped."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers_browser import FLAGS, SCREENSHOTS, Served, Watch
from playwright.sync_api import Browser, Page, expect, sync_playwright

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
def served(tmp_path_factory: pytest.TempPathFactory, arc_folder: Path) -> Iterator[Served]:
    """One process for all tests, which waits to be asked for runs."""
    process = Served(tmp_path_factory.mktemp("served"), arc_folder)
    yield process
    process.close()


@pytest.fixture
def watches() -> list[Watch]:
    """What was seen of the pages that a test opened."""
    return []


@pytest.fixture
def open_page(
    browser: Browser, served: Served, watches: list[Watch]
) -> Iterator[Callable[..., Page]]:
    """Open the page of ``served`` (or at ``url``) as a new visitor; the words are Playwright's."""
    contexts = []

    def open_one(
        *, url: str | None = None, route: Callable[[Page], None] | None = None, **words: Any
    ) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1440, "height": 1000}, **words})
        context.set_default_timeout(20_000)
        contexts.append(context)
        page = context.new_page()
        watches.append(Watch(page))
        if route is not None:
            route(page)
        page.goto(url or served.url)
        return page

    yield open_one
    for context in contexts:
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
    return page


@pytest.fixture
def running(served: Served, open_page: Callable[..., Page]) -> Page:
    """The page while a run is under way."""
    served.running()
    page = open_page()
    expect(page.locator("#state")).to_have_text("● training")
    return page
