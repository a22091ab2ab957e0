"""The page of runs: table, groups, curves, differences; in light and dark, narrow, by keyboard."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from helpers_browser import SCREENSHOTS, Watch, alter, copied
from helpers_runs import write_run
from playwright.sync_api import Page, ViewportSize, expect

from arc.server.runs_page import runs_page

NARROW: ViewportSize = {"width": 390, "height": 844}
Open = Callable[..., Page]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Two settings with two seeds each; one job runs and one has failed."""
    folder = tmp_path_factory.mktemp("runs") / "sweep"
    hard: dict[str, Any] = {"task__num_distractors": 99}
    for seed, accuracy in enumerate((40.0, 50.0)):
        curve = (accuracy / 2, accuracy)
        write_run(folder / str(seed), accuracy, seed=seed, curve=curve, steps=20)
    write_run(folder / "2", state="running", status={"step": 1234}, curve=(5.0,), steps=10, **hard)
    write_run(folder / "3", state="failed", status={"error": "<b>why</b>"}, seed=1, **hard)
    with runs_page([folder], 0, None) as address:
        yield address


@pytest.fixture
def open_runs(window: Page, address: str) -> Iterator[Open]:
    watch = Watch(window)
    window.context.grant_permissions(["clipboard-read", "clipboard-write"])

    def open_one(viewport: ViewportSize | None = None, **media: Any) -> Page:
        window.set_viewport_size(viewport or {"width": 1440, "height": 1000})
        window.emulate_media(**media)
        window.goto(address)
        expect(window.locator("#runs tbody tr").first).to_be_visible()
        return window

    yield open_one
    watch.close()
    window.evaluate("localStorage.clear()")
    window.emulate_media(color_scheme="light")
    window.goto("about:blank")
    assert watch.errors == []
    assert watch.hosts == {address.removeprefix("http://")}


def test_seeds_are_a_row_with_a_mean(open_runs: Open) -> None:
    page = open_runs()
    rows = copied(page, "Runs")
    assert [row["task.num_distractors"] for row in rows] == ["99", "9"]  # the running one first
    assert rows[0]["State"] == "● 1 running (step 1,234), ✗ 1 failed"
    assert (rows[1]["State"], rows[1]["Runs"]) == ("✓ 2 finished", "2 runs")
    assert (rows[1]["n"], rows[1]["mean of test.random_9"]) == ("2", "45")
    assert rows[1]["Best checkpoint"].endswith("/sweep/1/checkpoints/x_best.pth")
    expect(page.locator(".faults .bad")).to_contain_text("/sweep/3 (x): <b>why</b>")
    expect(page.get_by_role("status").filter(has_text="4 runs, 2 settings, in ")).to_be_visible()


def test_a_row_of_one_run_has_its_name(open_runs: Open, window: Page) -> None:
    def part(answer: dict[str, Any]) -> None:
        for number, run in enumerate(answer["runs"]):
            run["name"] = f"run_{number}"
        for group in answer["groups"]:
            del group["runs"][1:]

    alter(window, "**/runs", part)
    page = open_runs()
    assert [row["Runs"] for row in copied(page, "Runs")] == ["run_2", "run_0"]
    page.unroute_all(behavior="ignoreErrors")


def test_the_running_and_the_newest_runs_that_have_steps_are_chosen_first(
    open_runs: Open, window: Page
) -> None:
    def add(answer: dict[str, Any]) -> None:
        *_, failed = answer["runs"]
        failed["step"] = None
        answer["runs"][:0] = [
            failed | {"id": f"old{n}", "label": f"old {n}", "step": 5, "updated": n}
            for n in range(1, 9)
        ]

    alter(window, "**/runs", add)
    page = open_runs()
    page.get_by_role("button", name="group seeds").click()
    boxes = page.locator("#runs tbody").first.locator("input")
    expect(boxes).to_have_count(12)
    names = [each.get_attribute("aria-label") for each in boxes.all() if each.is_checked()]
    finished = [f"Show num_distractors=9, seed={seed}" for seed in (0, 1)]
    assert names == [
        "Show num_distractors=99, seed=0",
        *(f"Show old {n}" for n in range(4, 9)),
        *finished,
    ]
    page.unroute_all(behavior="ignoreErrors")


def test_curves_of_seeds_are_a_mean_and_a_band(open_runs: Open) -> None:
    page = open_runs()
    chart = page.locator("figure.chart").filter(
        has=page.locator("h3:text-is('Validation accuracy')")
    )
    expect(chart.locator("path.run1.band")).to_have_count(1)
    expect(chart.locator(".plot path.run0")).to_have_count(1)  # of a single run: no band
    expect(chart.locator(".summary")).to_contain_text("num_distractors=9 (mean of 2) 45")
    expect(page.locator("figure.chart")).to_have_count(2)
    page.get_by_label("Curve").select_option("val_loss")
    expect(page.locator("figure.chart h3").first).to_have_text("Validation loss")


def test_runs_are_chosen_by_keyboard_and_compared(open_runs: Open) -> None:
    page = open_runs()
    page.get_by_role("button", name="group seeds").press("Enter")
    expect(page.locator("#runs tbody").first.locator("tr")).to_have_count(4)
    page.get_by_role("button", name="None", exact=True).press("Enter")
    expect(page.locator(".plot").first).to_have_attribute("data-empty", "No run is chosen")
    for name in ("num_distractors=9, seed=1", "num_distractors=99, seed=0"):
        page.get_by_role("checkbox", name=f"Show {name}").press("Space")
        expect(page.get_by_role("checkbox", name=f"Show {name}")).to_be_focused()
    expect(page.locator(".plot").first.locator("path.run1")).to_have_count(1)
    rows = copied(page, "Differences of configuration")
    assert [row["key"] for row in rows] == ["seed", "task.num_distractors"]
    assert [list(row.values())[1:] for row in rows] == [["0", "1"], ["99", "9"]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [None, NARROW], ids=["wide", "narrow"])
def test_the_runs_fit_the_window(open_runs: Open, scheme: Any, viewport: Any) -> None:
    page = open_runs(viewport, color_scheme=scheme)
    expect(page.locator(".plot path.run1").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    if SCREENSHOTS.is_dir():
        kind = "narrow" if viewport else "wide"
        page.screenshot(path=SCREENSHOTS / f"runs_{kind}_{scheme}.png", full_page=True)


COUNT = """() => {
  const [send, limit] = [window.fetch, AbortSignal.timeout];
  let current = 0;
  Object.assign(window, {most: 0, limits: []});
  window.fetch = async (...given) => {
    window.most = Math.max(window.most, ++current);
    try { return await send(...given); } finally { current -= 1; }
  };
  AbortSignal.timeout = (each) => {
    window.limits.push(each);
    return limit.call(AbortSignal, each);
  };
}"""


def test_curves_are_requested_one_after_the_other_with_patience(open_runs: Open) -> None:
    page = open_runs()
    expect(page.locator("figure.chart")).to_have_count(2)
    page.evaluate(COUNT)
    page.get_by_label("Curve").select_option("val_loss")
    expect(page.locator("figure.chart h3").first).to_have_text("Validation loss")
    assert page.evaluate("most") == 1
    assert min(page.evaluate("limits")) > 30_000, "the server answers or refuses within 30 s"


def test_an_error_is_shown_until_the_next_answer(open_runs: Open, window: Page) -> None:
    page = open_runs()
    state = page.get_by_role("status").filter(has_text="run")
    expect(state).to_contain_text("4 runs, ")
    window.route("**/runs", lambda route: route.fulfill(body="<no JSON>"))
    page.get_by_label("Curve").select_option("val_loss")  # asks for the runs too
    expect(state).to_have_text("/runs: the answer is not JSON")
    window.unroute_all(behavior="ignoreErrors")
    page.get_by_label("Curve").select_option("loss")
    expect(state).to_contain_text("4 runs, ")


def test_what_cannot_be_read_is_listed(open_runs: Open, window: Page) -> None:
    alter(window, "**/runs", lambda answer: answer["warnings"].append("x: skipped"))
    page = open_runs()
    expect(page.locator(".faults li").last).to_have_text("⚠ x: skipped")
    page.unroute_all(behavior="ignoreErrors")
