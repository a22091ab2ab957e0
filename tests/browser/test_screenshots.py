"""Screenshots of every tab at three widths, the widest also dark; none is wider than the screen."""

from collections.abc import Callable, Iterator

import pytest
from helpers_browser import SCREENSHOTS, OpenPage, Served
from playwright.sync_api import Page, expect


@pytest.mark.parametrize(("width", "height"), [(1440, 1000), (768, 844), (390, 844)])
def test_each_tab_fits_the_screen(
    width: int,
    height: int,
    served: Served,
    open_page: OpenPage,
    each_tab: Callable[[Page], Iterator[str]],
) -> None:
    served.running()
    served.save("a" * 100)
    page = open_page(viewport={"width": width, "height": height})
    expect(page.locator("#settings .field").first).to_be_attached()
    for tab in each_tab(page):
        assert page.evaluate("document.documentElement.scrollWidth") <= width, tab
        for scheme in ("light", "dark") if width == 1440 else ("light",):
            page.emulate_media(color_scheme=scheme)
            path = SCREENSHOTS / f"{width}-{scheme}-{tab}.png"
            page.screenshot(path=path, full_page=True)
            assert path.read_bytes().startswith(b"\x89PNG")
