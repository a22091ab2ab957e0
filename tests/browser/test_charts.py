"""The charts: summaries, smoothing, logarithmic scale, time axis, and gaps."""

import re
from itertools import pairwise
from typing import Any

from helpers_browser import OpenPage, Served, alter
from playwright.sync_api import Locator, Page, expect

TITLES = ["Loss", "Accuracy", "Message entropy", "Symbol use", "Gradient norm", "Learning rate"]
LOSS_LINE = ".plot path.train:not(.raw)"


def chart(page: Page, title: str) -> Locator:
    return page.locator("figure.chart").filter(has=page.locator(f"h3:has-text('{title}')"))


def drawn(page: Page) -> str:
    return chart(page, "Loss").locator(LOSS_LINE).get_attribute("d") or ""


def test_each_chart_has_a_summary(running: Page) -> None:
    for title in TITLES:
        summary = chart(running, title).locator(".summary")
        expect(summary).to_have_text(re.compile(r"\d.*\.$"))
        plot = chart(running, title).locator(".plot")
        expect(plot).to_have_attribute("aria-describedby", summary.get_attribute("id") or "none")


def test_charts_of_the_same_title_have_summaries_of_their_own(halted: Page) -> None:
    halted.get_by_role("tab", name="Runs").click()
    halted.get_by_label("Curve").select_option("learning_rate")
    same = chart(halted, "Learning rate").locator(".summary")
    expect(same).to_have_count(2)
    first, second = (each.get_attribute("id") for each in same.all())
    assert first != second


def test_smoothing_adds_a_line_to_the_raw_one(halted: Page) -> None:
    before, raw = drawn(halted), chart(halted, "Loss").locator(".plot path.train.raw")
    halted.get_by_label("smoothing").fill("0.95")
    expect(halted.locator("output")).to_have_text("0.95")
    expect(chart(halted, "Loss").locator(LOSS_LINE)).not_to_have_attribute("d", before)
    expect(raw).to_have_count(1)
    halted.get_by_label("smoothing").fill("0")
    expect(raw).to_have_count(0)
    expect(chart(halted, "Loss").locator(".plot path.train")).to_have_count(1)


def test_the_logarithmic_scale_is_a_stored_toggle(halted: Page) -> None:
    before = drawn(halted)
    toggle = halted.get_by_role("button", name="log", exact=True)
    toggle.click()
    expect(toggle).to_have_attribute("aria-pressed", "true")
    expect(chart(halted, "Loss").locator(LOSS_LINE)).not_to_have_attribute("d", before)
    halted.reload()
    expect(toggle).to_have_attribute("aria-pressed", "true")


def test_the_axis_is_steps_or_time_and_baselines_can_be_hidden(halted: Page) -> None:
    halted.get_by_label("Horizontal axis").select_option("by time")
    label = chart(halted, "Loss").locator(".axes text.start, .axes text.middle, .axes text.end")
    expect(label.last).to_have_text(re.compile(r" s$|:"))
    names = chart(halted, "Accuracy").locator(".marks text")
    expect(names.filter(has_text="chance")).to_have_count(1)
    halted.get_by_role("button", name="baselines").click()
    expect(names).to_have_count(0)


def test_the_keyboard_moves_a_crosshair_and_zooms(halted: Page) -> None:
    plot = chart(halted, "Loss").locator(".plot")
    plot.press("ArrowLeft")
    expect(chart(halted, "Loss").locator("[aria-live]")).to_have_text(
        re.compile(r"training .*step")
    )
    expect(chart(halted, "Accuracy").locator(".cross line")).to_have_count(1)
    before = drawn(halted)
    plot.press("+")
    follow = halted.get_by_role("button", name="Show all and follow")
    expect(follow).to_be_visible()
    expect(chart(halted, "Loss").locator(LOSS_LINE)).not_to_have_attribute("d", before)
    follow.click()
    expect(chart(halted, "Loss").locator(LOSS_LINE)).to_have_attribute("d", before)


def test_a_loss_that_is_not_finite_is_a_gap(served: Served, open_page: OpenPage) -> None:
    def poison(answer: dict[str, Any]) -> None:
        for row in answer["history"][5:8]:
            row.update(loss=None, loss_min=None, loss_max=None)

    served.halted()
    page = open_page(route=lambda page: alter(page, "**/metrics_history*", poison))
    expect(chart(page, "Loss").locator(".summary")).to_contain_text("3 values were not finite")
    assert len(re.findall("M", drawn(page))) == 2


def test_a_last_loss_that_is_not_finite_is_marked(served: Served, open_page: OpenPage) -> None:
    def poison(answer: dict[str, Any]) -> None:
        answer["metrics"]["loss"] = None

    served.halted()
    page = open_page(route=lambda page: alter(page, "**/status", poison))
    expect(page.locator("#facts")).to_contain_text("not finite ⚠")


def test_a_chart_without_data_says_so(served: Served, open_page: OpenPage) -> None:
    def forget(answer: dict[str, Any]) -> None:
        answer.update(history=[], validations=[])

    served.idle()
    page = open_page(route=lambda page: alter(page, "**/metrics_history*", forget))
    expect(chart(page, "Loss").locator(".plot")).to_have_attribute("data-empty", "No steps yet")
    menu = page.get_by_role("button", name="Download Loss")
    expect(menu).to_be_disabled()
    expect(menu).to_have_attribute("title", "No data yet")


def test_the_names_of_close_baselines_do_not_overlap(served: Served, open_page: OpenPage) -> None:
    close = {"histogram": 100.0, "random_codes": 100.0, "colors": 92.8}

    def replace(answer: dict[str, Any]) -> None:
        for row in answer["validations"]:
            row["baselines"] = close

    served.halted()
    page = open_page(route=lambda page: alter(page, "**/metrics_history*", replace))
    names = chart(page, "Accuracy").locator(".marks text")
    expect(names).to_have_count(len(close))
    boxes = names.evaluate_all(
        "all => all.map(each => each.getBBox()).map(box => [box.y, box.y + box.height])"
    )
    for (_, end), (start, _) in pairwise(sorted(boxes)):
        assert start >= end
