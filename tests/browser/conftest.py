"""Chromium and one server process, whose runs continue until they are stopped."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from helpers_browser import FLAGS, SCREENSHOTS, SLOWED, TOASTS, OpenPage, Served, Watch
from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright

WIDE: ViewportSize = {"width": 1440, "height": 1000}
MEDIA = {"color_scheme": "light", "reduced_motion": "no-preference"}
CONTENT = {  # tab -> what it shows during a run
    "charts": ".plot path",
    "results": ".note",
    "examples": "article.probe canvas",
    "language": "tbody tr",
    "checkpoints": "tbody tr",
    "runs": "tbody tr",
    "config": "li",
    "log": "li",
}
FIRST = ("running", "probe", "halted", "stored")  # in this order, so that few runs are started
DRAWN = """() => new Promise(done =>
  requestAnimationFrame(() => requestAnimationFrame(() => done())))"""
expect.set_options(timeout=60_000)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Within a file here, put the tests that share a run next to each other."""

    def rank(item: pytest.Item) -> int:
        names = getattr(item, "fixturenames", ())
        return next((i for i, name in enumerate(FIRST) if name in names), len(FIRST))

    start = 0
    for path, group in groupby(list(items), key=lambda item: item.path):
        tests = list(group)
        if path.parent == Path(__file__).parent:
            items[start : start + len(tests)] = sorted(tests, key=rank)
        start += len(tests)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if SCREENSHOTS.is_dir():
        terminalreporter.write_line(f"screenshots of the page: {SCREENSHOTS}")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium; required in continuous integration, otherwise optional."""
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
    """One server process for all tests; it starts no run by itself."""
    folder = tmp_path_factory.mktemp("served")
    overrides = ["task=selection", "model.latent_dim=16"]
    with Served.started(folder, arc_folder, *overrides, script=SLOWED) as process:
        yield process


@pytest.fixture(scope="session")
def window(browser: Browser) -> Iterator[Page]:
    """The window that the tests share: a new one takes longer than most tests."""
    with closing(browser.new_context(viewport=WIDE)) as context:
        context.set_default_timeout(60_000)
        context.add_init_script(TOASTS)
        yield context.new_page()


@pytest.fixture
def watches() -> list[Watch]:
    """Errors and requests of the pages that a test opened."""
    return []


@pytest.fixture
def open_page(window: Page, served: Served, watches: list[Watch]) -> Iterator[OpenPage]:
    """Open the page with empty storage, in a viewport and with emulated media features.

    ``route`` is called with the window before the page is loaded. Returns the page once it shows
    a state of the server.
    """

    def open_one(
        *, route: Callable[[Page], None] | None = None, viewport: ViewportSize = WIDE, **media: Any
    ) -> Page:
        watches.append(Watch(window))
        window.set_viewport_size(viewport)
        window.emulate_media(**{**MEDIA, **media})
        if route is not None:
            route(window)
        window.goto(served.url)
        expect(window.locator("#state")).not_to_have_attribute("data-state", "waiting")
        return window

    yield open_one
    for watch in watches:
        watch.close()
    window.context.set_offline(False)
    if window.url.startswith("http"):
        window.unroute_all(behavior="ignoreErrors")
        window.evaluate("localStorage.clear()")
        window.goto("about:blank")
    for watch in watches:
        assert watch.unexpected() == []
        assert watch.hosts <= {f"127.0.0.1:{served.port}"}


@pytest.fixture
def idle(served: Served, open_page: OpenPage) -> Page:
    """The page without a run."""
    served.idle()
    page = open_page()
    expect(page.get_by_role("button", name="Start training")).to_be_enabled()
    return page


@pytest.fixture
def running(served: Served, open_page: OpenPage) -> Page:
    """The page during a run."""
    served.running()
    page = open_page()
    expect(page.locator("#state")).to_have_text("● training")
    return page


@pytest.fixture
def halted(served: Served, open_page: OpenPage) -> Page:
    """The page after a run of many steps: its charts no longer change."""
    served.halted()
    page = open_page()
    expect(page.locator("#charts")).to_have_attribute("data-points", re.compile(r"^\d\d"))
    page.evaluate(DRAWN)
    return page


@pytest.fixture(scope="session")
def each_tab() -> Callable[[Page], Iterator[str]]:
    """Show the tabs of a page one after the other, each with its content."""

    def show(page: Page) -> Iterator[str]:
        for tab, content in CONTENT.items():
            page.locator(f"#tab-{tab}").click()
            page.locator(f"#{tab}").locator(content).first.wait_for(state="attached")
            yield tab

    return show
