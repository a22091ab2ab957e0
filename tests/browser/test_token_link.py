"""The link that server.token=auto prints."""

from collections.abc import Iterator

import pytest
from helpers_station import server_config
from hydra import initialize_config_dir
from playwright.sync_api import Page, expect

from arc.config.files import config_folder
from arc.runs.next_run import NextRun
from arc.server.endpoint import endpoint
from arc.server.session import Session

TOKEN = "a-token/of+a=link"
QUOTED = "a-token%2Fof%2Ba%3Dlink"


@pytest.fixture
def address() -> Iterator[str]:
    """An idle endpoint that requires TOKEN."""
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        session = Session(NextRun(["model=tiny"]), exit_after_run=False)
        with endpoint(server_config(token=TOKEN), session) as address:
            assert address is not None
            yield address


def test_the_token_is_kept_for_the_tab_and_removed_from_the_address(
    window: Page, address: str
) -> None:
    started = window.get_by_role("button", name="Start training")
    try:
        for mark in "?#":
            window.goto(f"{address}/{mark}token={QUOTED}")
            expect(started).to_be_enabled()
            assert window.url == f"{address}/"
            assert window.evaluate("sessionStorage.getItem('arc.token')") == TOKEN
            window.evaluate("sessionStorage.clear()")
            window.goto("about:blank")
        window.goto(f"{address}/#token={QUOTED}")
        expect(started).to_be_enabled()
        window.reload()
        expect(started).to_be_enabled()
        window.evaluate("sessionStorage.clear()")
        window.reload()
        expect(window.get_by_role("textbox", name="Token")).to_be_visible()
        window.goto(f"{address}/#token={QUOTED}")  # only the fragment changes
        expect(started).to_be_enabled()
        assert window.url == f"{address}/"
    finally:
        window.goto("about:blank")
