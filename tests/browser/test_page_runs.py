"""The buttons of the page: start, stop, save, resume, fine-tune, download."""

import re

import pytest
from helpers_browser import Served, Watch, alter, copied, toasted
from playwright.sync_api import Locator, Page, expect


def fact(page: Page, name: str) -> Locator:
    """A value of the status strip."""
    return (
        page.locator("#facts div").filter(has=page.locator(f"dt:text-is('{name}')")).locator("dd")
    )


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def row(page: Page, name: str) -> Locator:
    """A checkpoint's row in the list."""
    page.get_by_role("tab", name="Checkpoints").click()
    return page.locator(f"#checkpoints tr[data-name='{name}']")


@pytest.fixture(scope="module")
def stored(served: Served) -> str:
    """The name of a checkpoint of a run with another learning rate."""
    served.restart("training.learning_rate=0.0123")
    served.save("stored")
    return "stored"


def number(text: str) -> int:
    return int(text.replace(",", ""))


def test_a_run_started_from_the_page_and_its_charts_advance(idle: Page) -> None:
    press(idle, "Start training")
    expect(idle.locator("#state")).to_have_text("● training")
    expect(fact(idle, "Step")).to_have_text(re.compile(r"^\d"))
    before = number(fact(idle, "Step").inner_text())
    idle.wait_for_function(
        "before => [...document.querySelectorAll('#facts div')].some(each =>"
        " each.firstChild.textContent === 'Step' && Number(each.lastChild.textContent) > before)",
        arg=before,
    )
    charts = idle.locator("#charts")
    expect(charts).to_have_attribute("data-points", re.compile(r"^[1-9]"))
    before = int(charts.get_attribute("data-points") or 0)
    path = idle.locator(".plot path.train").first.get_attribute("d")
    idle.wait_for_function(
        "before => Number(document.getElementById('charts').dataset.points) > before", arg=before
    )
    expect(idle.locator(".plot path.train").first).not_to_have_attribute("d", path or "")


def test_start_is_disabled_during_a_run_with_a_reason(running: Page) -> None:
    start = running.get_by_role("button", name="Start training")
    expect(start).to_be_disabled()
    expect(start).to_have_attribute("title", "A run is training: stop it first")
    reason = running.locator("#control-reason")
    expect(reason).to_have_text("A new run can start after this one ends.")
    alter(running, "**/status", lambda answer: answer.update(ends_with_run=True))
    expect(reason).to_have_text("This process ends with its run.")


def test_stop_and_save_are_disabled_without_a_run_and_a_refused_start_says_why(
    idle: Page, watches: list[Watch]
) -> None:
    watches[0].expect("400")
    for name in ("Stop", "Save"):
        expect(idle.get_by_role("button", name=name, exact=True)).to_be_disabled()
    expect(idle.locator("#control-reason")).to_have_text("Stop and Save need a run.")
    for typed in ("training.epoch=3", "task=selektion"):
        idle.get_by_label("Overrides for the next run").fill(typed)
        press(idle, "Start training")
        expect(idle.locator(".toast.bad").last).to_contain_text(typed.split("=")[0])
    expect(idle.get_by_role("button", name="Start training")).to_be_enabled()


def test_a_save_by_name_is_a_file_and_a_row_of_the_list_or_shows_the_error(
    running: Page, served: Served, watches: list[Watch]
) -> None:
    watches[0].expect("400")
    path = served.checkpoints / "by_name.pth"
    path.unlink(missing_ok=True)
    running.get_by_label("Name of the checkpoint to save").fill("by_name")
    press(running, "Save")
    toasted(running, "by_name")
    expect(row(running, "by_name")).to_contain_text("selection")
    assert path.is_file()
    running.get_by_label("Name of the checkpoint to save").fill("../outside")
    press(running, "Save")
    expect(running.locator(".toast.bad")).to_contain_text("../outside")


def test_overwriting_needs_confirmation(
    running: Page, served: Served, watches: list[Watch]
) -> None:
    watches[0].expect("409")
    path = served.save("taken")
    before = path.stat().st_ino
    running.get_by_label("Name of the checkpoint to save").fill("taken")
    press(running, "Save")
    expect(running.get_by_role("dialog")).to_contain_text("Overwrite taken?")
    press(running, "Cancel")
    assert path.stat().st_ino == before
    press(running, "Save")
    toasted(running, "Saved taken")  # the first time
    running.evaluate("window.toasts.length = 0")
    press(running, "Overwrite")
    served.until(lambda _: path.stat().st_ino != before)
    toasted(running, "Saved taken")


def test_stop_needs_confirmation(running: Page, served: Served) -> None:
    press(running, "Stop")
    expect(running.get_by_role("dialog")).to_contain_text("Stop the run?")
    press(running, "Cancel")
    assert served.get("/status")["state"] == "training"
    press(running, "Stop")
    press(running, "Stop the run")
    expect(running.locator("#state")).to_have_text("■ stopped")
    expect(running.get_by_role("button", name="Start training")).to_be_enabled()


def test_a_run_is_resumed_from_the_list(served: Served, stored: str, idle: Page) -> None:
    step = served.get(f"/checkpoint?name={stored}")["metadata"]["step"]
    row(idle, stored).get_by_role("button", name="Resume").click()
    idle.get_by_role("dialog").get_by_role("button", name="Resume").click()
    expect(idle.locator("#state")).to_have_text("● training")
    served.until(lambda status: status["step"])
    assert served.get("/metrics_history")["history"][0]["batch_num"] == step + 1
    hint = idle.locator("#settings .foot .hint")
    expect(hint).to_contain_text("This run has: Learning rate 0.0123")


def test_fine_tuning_takes_an_override(served: Served, stored: str, idle: Page) -> None:
    row(idle, stored).get_by_role("button", name="Fine-tune").click()
    dialog = idle.get_by_role("dialog")
    dialog.get_by_label("Overrides").fill("training.learning_rate=1e-4\ntraining.batch_size=8")
    dialog.get_by_role("button", name="Fine-tune").click()
    expect(idle.locator("#state")).to_have_text("● training")
    config = served.get("/config")
    assert config["config"]["training"]["learning_rate"] == 1e-4
    assert "training.batch_size=8" in config["overrides"]
    served.until(lambda status: status["step"])
    assert served.get("/metrics_history")["history"][0]["batch_num"] == 1


def test_a_finished_run_shows_its_test_results(served: Served, idle: Page) -> None:
    idle.get_by_label("Overrides for the next run").fill("training.max_steps=3")
    press(idle, "Start training")
    expect(idle.locator("#state")).to_have_text("✓ finished")
    expect(fact(idle, "Step")).to_have_text("3")
    table, rows = (served.get("/results")[key] for key in ("table", "rows"))
    idle.get_by_role("tab", name="Results").click()
    expect(idle.locator("#results p")).to_have_text(table.split("\n\n")[1:])
    expect(idle.locator("#results tbody tr")).to_have_count(len(rows))
    first = idle.locator("#results tbody tr").first.locator("td").nth(2)
    low, high = rows[0]["interval"]
    expect(first).to_have_text(f"{rows[0]['accuracy']:.1f}{low:.1f}–{high:.1f}")
    idle.context.grant_permissions(["clipboard-read", "clipboard-write"])
    for line, row in zip(copied(idle, "Test results"), rows, strict=True):
        expected = {"set": row["set"], "metric": row["metric"], "targets": str(row["targets"])}
        assert {key: line[key] for key in expected} == expected
        assert float(line["accuracy"]) == row["accuracy"]
        assert [float(line["low"]), float(line["high"])] == (row["interval"] or [])
        assert {key: float(line[key]) for key in row["baselines"]} == row["baselines"]
    overrides = idle.get_by_label("Overrides for the next run")
    overrides.fill("")  # a run that lasts until it is stopped
    press(idle, "Start training")
    expect(idle.locator("#results")).to_have_text(re.compile("appear here"))
    served.idle()
    overrides.fill("training.max_steps=3")
    press(idle, "Start training")
    expect(idle.locator("#state")).to_have_text("✓ finished")
    expect(idle.locator("#results table")).to_be_visible()


def test_a_list_that_is_read_again_keeps_the_focus(served: Served, running: Page) -> None:
    served.save("in_focus")
    button = row(running, "in_focus").get_by_role("button", name="Inspect")
    button.focus()
    served.save("added")
    expect(running.locator("#checkpoints tr[data-name='added']")).to_be_visible()
    expect(button).to_be_focused()


def test_a_file_is_filtered_by_its_name_downloaded_and_inspected(
    served: Served, running: Page
) -> None:
    served.save("hidden")
    path = served.save("of_interest")
    expect(row(running, "hidden")).to_be_visible()
    running.get_by_label("Filter checkpoints by name").fill("of_int")
    expect(row(running, "hidden")).to_have_count(0)
    with running.expect_download() as caught:
        row(running, "of_interest").get_by_role("button", name="Download").click()
    assert caught.value.suggested_filename == "of_interest.pth"
    assert caught.value.path().read_bytes() == path.read_bytes()
    row(running, "of_interest").get_by_role("button", name="Inspect").click()
    expect(running.get_by_role("dialog")).to_contain_text("num_distractors: 3")
