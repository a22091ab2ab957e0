"""The page as a whole: keys, themes, layout, announcements, and a lost connection."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from helpers_browser import OpenPage, Served, Watch, alter, toasted
from playwright.sync_api import Page, Route, expect

PHONE = {"width": 390, "height": 844}
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
  const inks = ['ink', 'soft', 'accent', 'second', 'good', 'bad'];
  const grounds = ['paper', 'panel', 'sunken'];
  const pairs = inks.flatMap(ink => grounds.map(ground => [ink, ground]));
  return Object.fromEntries(pairs.map(pair => [pair.join(' on '), ratio(...pair.map(light))]));
}"""

GAP = """() => {
  const [facts, tabs] = ['facts', 'tabs'].map(id =>
    document.getElementById(id).getBoundingClientRect());
  return tabs.top - facts.bottom;
}"""
# In one look, since a row is replaced while the list is read again.
DOWNLOAD_IN_VIEW = """name => {
  const row = document.querySelector(`#checkpoints tr[data-name='${name}']`);
  const right = [...(row?.querySelectorAll('button') ?? [])].at(-1)?.getBoundingClientRect().right;
  return right > 0 && right <= innerWidth;
}"""


def test_key_s_saves(running: Page) -> None:
    running.keyboard.press("s")
    toasted(running, "manual_checkpoint_epoch_")


def test_keys_show_the_log_filter_the_list_in_view_and_list_the_keys(running: Page) -> None:
    running.keyboard.press("l")
    expect(running.locator("#log")).to_be_visible()
    expect(running.locator("#log li").first).to_contain_text("dashboard: ")
    running.keyboard.press("l")
    expect(running.locator("#charts")).to_be_visible()
    running.keyboard.press("?")
    expect(running.get_by_role("dialog")).to_contain_text("save a checkpoint")
    running.keyboard.press("Escape")
    expect(running.get_by_role("dialog")).to_have_count(0)
    running.keyboard.press("/")
    expect(running.get_by_label("Filter validation grids by puzzle ID")).to_be_focused()


def test_a_typed_letter_is_no_shortcut(running: Page) -> None:
    field = running.get_by_label("Name of the checkpoint to save")
    field.press_sequentially("sl?")
    expect(field).to_have_value("sl?")
    expect(running.locator("#log")).to_be_hidden()
    expect(running.get_by_role("dialog")).to_have_count(0)


def test_charts_are_the_first_of_the_tabs_which_take_arrow_keys(running: Page) -> None:
    expect(running.get_by_role("tab").first).to_have_text("Charts")
    expect(running.locator("#charts")).to_be_visible()
    assert abs(running.evaluate(GAP)) <= 1
    running.locator("#tab-charts").press("ArrowRight")
    expect(running.locator("#tab-results")).to_be_focused()
    expect(running.locator("#results")).to_be_visible()
    running.locator("#tab-results").press("End")
    expect(running.locator("#tab-log")).to_be_focused()


@pytest.mark.parametrize("state", ["idle", "running"])
def test_each_tab_begins_within_the_first_screen_of_a_phone(
    state: str, served: Served, open_page: OpenPage
) -> None:
    getattr(served, state)()
    page = open_page(viewport=PHONE)
    expect(page.locator("#state")).to_have_text(re.compile("training|idle|stopped|f[ai]"))
    for tab in page.get_by_role("tab").all():
        tab.click()
        box = page.get_by_role("tabpanel").locator("> *:visible").first.bounding_box()
        assert box is not None
        assert box["y"] < 0.6 * PHONE["height"], tab.inner_text()


def test_the_progress_of_the_test_is_shown(served: Served, open_page: OpenPage) -> None:
    served.idle()
    testing: dict[str, Any] = {"stage": "test", "progress": 0.37, "eta_seconds": 12.0}

    def test(answer: dict[str, Any]) -> None:
        answer.update(running=True, state="testing", mode="train", testing=testing)

    page = open_page(route=lambda page: alter(page, "**/status", test))
    page.route("**/stop", lambda route: route.fulfill(json={"status": "stopped"}))
    text = page.locator("#progress-text")
    expect(text).to_have_text("Testing … 37 %, 12 s left")
    expect(page.get_by_role("progressbar")).to_have_attribute("value", "0.37")
    testing.update(stage="controls", progress=0.5, eta_seconds=None)
    expect(text).to_have_text("Testing controls … 50 %")
    page.get_by_role("button", name="Stop evaluation").click()
    expect(page.get_by_role("dialog")).to_contain_text("Results computed so far are kept.")
    with page.expect_request("**/stop"):
        page.get_by_role("button", name="Stop the final evaluation").click()
    testing.clear()  # as before the first progress
    expect(text).to_have_text("Testing …")
    expect(page.locator("#progress:not([value])")).to_be_visible()
    expect(page.get_by_role("button", name="Stop evaluation")).to_be_enabled()


def test_the_theme_is_the_systems_and_has_enough_contrast(open_page: OpenPage) -> None:
    page = open_page()
    grounds: dict[Any, str] = {"light": "250, 249, 246", "dark": "20, 23, 26"}
    for scheme, ground in grounds.items():
        page.emulate_media(color_scheme=scheme)
        expect(page.locator("body")).to_have_css("background-color", f"rgb({ground})")
        contrasts = page.evaluate(CONTRASTS)
        assert {name: ratio for name, ratio in contrasts.items() if ratio < 4.5} == {}


def test_the_chosen_theme_is_stored(open_page: OpenPage) -> None:
    page = open_page(color_scheme="light")
    button = page.get_by_role("button", name="Theme")
    button.click()
    button.click()
    expect(button).to_have_text("☾ dark")
    page.reload()
    expect(page.locator("body")).to_have_css("background-color", "rgb(20, 23, 26)")


def test_the_buttons_of_a_checkpoint_are_in_view(served: Served, open_page: OpenPage) -> None:
    served.running()
    served.save("a" * 100)
    page = open_page()
    page.locator("#tab-checkpoints").click()
    button = page.locator("#checkpoints tr", has_text="a" * 100).get_by_role("button").last
    expect(button).to_have_text("Download")
    page.wait_for_function(DOWNLOAD_IN_VIEW, arg="a" * 100)


def test_wide_tables_are_scrolled_by_keyboard(
    running: Page, each_tab: Callable[[Page], Iterator[str]]
) -> None:
    names = []
    for tab in each_tab(running):
        for box in running.locator(f"#{tab} .scroll").all():
            box.focus()
            expect(box).to_be_focused()
            expect(box).to_have_role("region")
            names.append(box.get_attribute("aria-label"))
    assert {"Checkpoints", "Pretrained encoders", "Runs", "Messages"} <= set(names)


def test_results_are_requested_again_after_a_failure(
    served: Served, open_page: OpenPage, watches: list[Watch]
) -> None:
    row = {"set": "test", "metric": "m", "accuracy": 50.0, "targets": 9, "baselines": {}}
    failures = iter([True])

    def results(route: Route) -> None:
        if next(failures, False):
            route.fulfill(status=500, json={"error": "busy"})
        else:
            route.fulfill(json={"table": "figures", "rows": [row]})

    def prepare(page: Page) -> None:
        alter(page, "**/status", lambda answer: answer.update(outcome="finished"))
        page.route("**/results", results)

    served.idle()
    page = open_page(route=prepare)
    watches[0].expect("500")
    page.get_by_role("tab", name="Results").click()
    box = page.get_by_role("region", name="Test results")
    expect(box.locator("tbody tr")).to_have_count(1)
    box.focus()
    expect(box).to_be_focused()


def test_reduced_motion_is_respected(halted: Page) -> None:
    halted.locator("#tab-examples").click()
    fill = halted.locator("article.probe .fill").first
    expect(fill).to_have_css("transition-duration", "0.15s")
    halted.emulate_media(reduced_motion="reduce")
    expect(fill).to_have_css("transition-duration", "0s")


def test_a_change_of_state_is_announced(idle: Page, served: Served) -> None:
    live = idle.locator("#live")
    expect(live).to_have_attribute("aria-live", "polite")
    served.post("/start_train")
    expect(live).to_have_text("Now training")
    served.post("/stop")
    expect(live).to_have_text("Run stopped")


def test_a_lost_connection_is_reported_and_restored(running: Page, watches: list[Watch]) -> None:
    watches[0].expect("net::ERR")
    stop = running.get_by_role("button", name="Stop")
    running.context.set_offline(True)
    expect(running.locator("#lost")).to_contain_text("Connection lost at")
    expect(running.locator("#state")).to_have_text("⚡ no connection")
    expect(running.locator("#live")).to_have_text("Connection to the run lost")
    expect(stop).to_have_attribute("title", "No connection to the run")
    running.context.set_offline(False)
    running.get_by_text("Try now").dispatch_event("click")  # also if it has just disappeared
    expect(running.locator("#lost")).to_be_hidden()
    expect(running.locator("#live")).to_have_text("Connection restored")
    expect(stop).to_be_enabled()


def test_the_configuration_is_an_outline_and_its_overrides_are_copied(
    served: Served, idle: Page
) -> None:
    served.post("/start_train", {"overrides": ["training.batch_size=8"]})
    page = idle
    expect(page.locator("#state")).to_have_text("● training")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("tab", name="Config").click()
    expect(page.locator("#config .tree").first).to_contain_text("num_distractors: 3")
    expect(page.locator("#config pre")).to_contain_text("python -m arc.train ")
    page.get_by_role("button", name="Copy overrides").click()
    toasted(page, "Copied")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert "training.batch_size=8" in copied.split()
    assert "task.num_distractors=3" in copied.split()
    assert "server." not in copied


def test_each_save_is_announced_once_also_when_the_clock_goes_back(
    served: Served, open_page: OpenPage
) -> None:
    served.idle()
    times = ("02:59", "02:01", "02:00")
    saves = [
        {"number": n, "name": f"by_hand_{n}", "state": "saved", "error": None, "time": time}
        for n, time in enumerate(times, 1)
    ]
    shown = saves[:1]
    page = open_page(
        route=lambda page: alter(page, "**/status", lambda each: each.update(recent_saves=shown))
    )
    for save in saves[1:]:
        shown.append(save)
        toasted(page, f"Saved {save['name']}")
    for _ in range(2):  # so that the page has handled an answer with the same saves again
        with page.expect_response("**/status"):
            pass
    assert page.evaluate("window.toasts") == ["Saved by_hand_2", "Saved by_hand_3"]


def test_a_failed_run_shows_the_reason(idle: Page) -> None:
    idle.get_by_label("Overrides for the next run").fill("training.batch_size=8 data.max_grids=1")
    idle.get_by_role("button", name="Start training").click()
    expect(idle.locator("#state")).to_have_text("✗ failed")
    expect(idle.locator("#failure")).to_have_text(re.compile(r"The run failed: \S+"))
