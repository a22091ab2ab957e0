"""Pictures of every tab, wide and narrow, light and dark, to be looked at."""

from collections.abc import Callable

import pytest
from helpers_browser import SCREENSHOTS, Served
from playwright.sync_api import Page, expect

TABS = ["examples", "language", "checkpoints", "config", "log"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1440, 1000), (390, 844)])
def test_each_tab_is_pictured(
    width: int, height: int, scheme: str, served: Served, open_page: Callable[..., Page]
) -> None:
    served.running()
    page = open_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    expect(page.locator("#settings .field").first).to_be_attached()
    expect(page.locator("article.probe figure").first).to_be_attached()
    for tab in TABS:
        page.locator(f"#tab-{tab}").click()
        page.locator(f"#{tab} :is(li, tr, canvas):visible").first.wait_for()
        page.evaluate("scrollTo(0, 0)")
        path = SCREENSHOTS / f"{width}-{scheme}-{tab}.png"
        page.screenshot(path=path, full_page=True)
        expect(page.locator("#settings-box[open]")).to_have_count(int(width > 900))
        assert path.read_bytes().startswith(b"\x89PNG")
