"""Every tab at three widths: none is wider than the screen. Screenshots, also in the dark."""

from collections.abc import Callable, Iterator

import pytest
from helpers_browser import SCREENSHOTS, OpenPage, Served
from playwright.sync_api import Page, ViewportSize, expect

SIZES: list[ViewportSize] = [
    {"width": 1440, "height": 1000},
    {"width": 768, "height": 844},
    {"width": 390, "height": 844},
]
WIDTH = """() => new Promise(done =>
  requestAnimationFrame(() => requestAnimationFrame(() =>
    done(document.documentElement.scrollWidth))))"""  # after what a new size has drawn
FITS = "width => innerWidth === width && document.documentElement.scrollWidth <= width"
Tabs = Callable[[Page], Iterator[str]]


@pytest.fixture
def busy(served: Served, open_page: OpenPage) -> Page:
    """The page during a run, with a checkpoint of a long name."""
    served.running()
    served.save("a" * 100)
    page = open_page()
    expect(page.locator("#settings .field").first).to_be_attached()
    return page


def test_each_tab_fits_the_screen(busy: Page, each_tab: Tabs) -> None:
    for _ in each_tab(busy):
        for size in SIZES:
            busy.set_viewport_size(size)
            busy.wait_for_function(FITS, arg=size["width"])


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES, ids=lambda size: str(size["width"]))
def test_each_tab_is_photographed(busy: Page, each_tab: Tabs, size: ViewportSize) -> None:
    busy.set_viewport_size(size)
    for tab in each_tab(busy):
        for scheme in ("light", "dark") if size == SIZES[0] else ("light",):
            busy.emulate_media(color_scheme=scheme)
            path = SCREENSHOTS / f"{size['width']}-{scheme}-{tab}.png"
            busy.screenshot(path=path, full_page=True)
            assert path.read_bytes().startswith(b"\x89PNG")
            assert busy.evaluate(WIDTH) <= size["width"], tab
