"""The page as a whole: keys, themes, narrow screens, speech, and a server that goes away."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers_browser import Served
from playwright.sync_api import Page, expect

TABS = ["examples", "language", "checkpoints", "config", "log"]
CONTRASTS = """() => {
  const probe = document.body.appendChild(document.createElement('i'));
  const light = name => {
    probe.style.color = `var(--${name})`;
    const parts = getComputedStyle(probe).color.match(/[\\d.]+/g).slice(0, 3).map(Number);
    const [r, g, b] = parts.map(part => {
      const c = part / 255;
      return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  const inks = ['ink', 'soft', 'accent', 'held', 'good', 'bad'];
  const grounds = ['paper', 'panel', 'sunken'];
  const pairs = inks.flatMap(ink => grounds.map(ground => [ink, ground]));
  return Object.fromEntries(pairs.map(pair => [pair.join(' on '), ratio(...pair.map(light))]));
}"""


@pytest.fixture
def mortal(tmp_path: Path, arc_folder: Path) -> Iterator[Callable[..., Served]]:
    """Start processes of the test's own."""
    started: list[Served] = []

    def begin(port: int = 0) -> Served:
        started.append(Served(tmp_path, arc_folder, port=port))
        return started[-1]

    yield begin
    for each in started:
        each.close()


def test_key_s_saves(running: Page) -> None:
    running.keyboard.press("s")
    expect(running.locator(".toast").first).to_contain_text("manual_checkpoint_epoch_")


def test_key_l_shows_the_log_and_goes_back(running: Page) -> None:
    running.keyboard.press("l")
    expect(running.locator("#log")).to_be_visible()
    expect(running.locator("#log li").first).to_contain_text("page and control")
    running.keyboard.press("l")
    expect(running.locator("#examples")).to_be_visible()


def test_key_slash_filters_the_list_in_view(running: Page) -> None:
    running.keyboard.press("/")
    expect(running.get_by_label("Filter held-out grids by puzzle id")).to_be_focused()


def test_a_question_mark_lists_the_keys(running: Page) -> None:
    running.keyboard.press("?")
    expect(running.get_by_role("dialog")).to_contain_text("save a checkpoint")
    running.keyboard.press("Escape")
    expect(running.get_by_role("dialog")).to_have_count(0)


def test_a_letter_that_is_typed_is_no_key(running: Page) -> None:
    field = running.get_by_label("Name of the checkpoint to save")
    field.press_sequentially("sl?")
    expect(field).to_have_value("sl?")
    expect(running.locator("#log")).to_be_hidden()
    expect(running.get_by_role("dialog")).to_have_count(0)


@pytest.mark.parametrize(("scheme", "ground"), [("light", "250, 249, 246"), ("dark", "20, 23, 26")])
def test_the_theme_is_the_systems(scheme: str, ground: str, open_page: Callable[..., Page]) -> None:
    body = open_page(color_scheme=scheme).locator("body")
    expect(body).to_have_css("background-color", f"rgb({ground})")


def test_a_theme_that_was_chosen_stays(open_page: Callable[..., Page]) -> None:
    page = open_page(color_scheme="light")
    button = page.get_by_role("button", name="Theme")
    button.click()
    button.click()
    expect(button).to_have_text("☾ dark")
    page.reload()
    expect(page.locator("body")).to_have_css("background-color", "rgb(20, 23, 26)")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_their_ground(scheme: str, open_page: Callable[..., Page]) -> None:
    contrasts = open_page(color_scheme=scheme).evaluate(CONTRASTS)
    assert {name: ratio for name, ratio in contrasts.items() if ratio < 4.5} == {}


@pytest.mark.parametrize("width", [390, 768, 1440])
def test_nothing_is_wider_than_the_screen(
    width: int, served: Served, open_page: Callable[..., Page]
) -> None:
    served.running()
    served.saved("a" * 100)
    page = open_page(viewport={"width": width, "height": 844})
    for tab in TABS:
        page.locator(f"#tab-{tab}").click()
        page.locator(f"#{tab} :is(li, tr, canvas):visible").first.wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= width, tab


def test_what_can_be_done_with_a_checkpoint_is_in_view(
    served: Served, open_page: Callable[..., Page]
) -> None:
    served.running()
    served.saved("a" * 100)
    page = open_page()
    page.locator("#tab-checkpoints").click()
    button = page.locator("#checkpoints tr", has_text="a" * 100).get_by_role("button").last
    expect(button).to_have_text("download")
    box = button.bounding_box()
    assert box is not None
    assert box["x"] + box["width"] <= 1440


@pytest.mark.parametrize(("motion", "wanted"), [("reduce", "0s"), ("no-preference", "0.15s")])
def test_nothing_moves_for_those_who_asked_for_that(
    motion: str, wanted: str, served: Served, open_page: Callable[..., Page]
) -> None:
    served.running()
    fill = open_page(reduced_motion=motion).locator("article.probe .fill").first
    expect(fill).to_have_css("transition-duration", wanted)


def test_a_change_of_state_is_spoken(idle: Page, served: Served) -> None:
    live = idle.locator("#live")
    expect(live).to_have_attribute("aria-live", "polite")
    served.ask("/start_train", post=True)
    expect(live).to_have_text("Now training")
    served.ask("/stop", post=True)
    expect(live).to_have_text("Run stopped")


def test_a_server_that_is_gone_is_missed_and_found_again(
    mortal: Callable[..., Served], open_page: Callable[..., Page], watches: list
) -> None:
    first = mortal()
    page = open_page(url=first.url)
    watches[0].expect("net::ERR")
    watches[0].expect("503 (SERVICE UNAVAILABLE)")  # the process that trains goes first
    watches[0].hosts.clear()
    expect(page.locator("#state")).to_have_text("○ idle")
    first.close()
    expect(page.locator("#lost")).to_contain_text("Connection lost since")
    expect(page.locator("#live")).to_have_text("Connection to the run lost")
    start = page.get_by_role("button", name="Start training")
    expect(start).to_have_attribute("title", "No connection to the run")
    mortal(first.port)
    page.get_by_role("button", name="Try now").click()
    expect(page.locator("#lost")).to_be_hidden()
    expect(page.locator("#state")).to_have_text("○ idle")
    expect(start).to_be_enabled()
    watches[0].hosts.clear()


def test_the_overrides_of_a_run_are_copied(served: Served, open_page: Callable[..., Page]) -> None:
    served.restart("training.batch_size=8")
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    page.get_by_role("tab", name="Config").click()
    expect(page.locator("#config pre")).to_contain_text("python -m arc.train ")
    page.get_by_role("button", name="Copy overrides").click()
    expect(page.locator(".toast")).to_contain_text("Copied")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert "training.batch_size=8" in copied.split()
    assert "task.num_distractors=3" in copied.split()
    assert "server." not in copied


def test_the_configuration_is_an_outline(running: Page) -> None:
    running.get_by_role("tab", name="Config").click()
    expect(running.locator("#config .tree").first).to_contain_text("num_distractors: 3")


def test_tabs_take_arrow_keys(running: Page) -> None:
    running.locator("#tab-examples").press("ArrowRight")
    expect(running.locator("#tab-language")).to_be_focused()
    expect(running.locator("#language")).to_be_visible()


def test_a_run_that_failed_says_why(idle: Page) -> None:
    idle.get_by_label("overrides for the next start").fill("training.batch_size=8 data.max_grids=1")
    idle.get_by_role("button", name="Start training").click()
    expect(idle.locator("#state")).to_have_text("✗ failed")
    expect(idle.locator("#failure")).to_have_text(re.compile(r"The run failed: \S+"))
