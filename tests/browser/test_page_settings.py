"""The settings form: validation, applying changes, options, and the folding panel."""

import re
from typing import Any

import pytest
from helpers_browser import OpenPage, Served, Watch, alter, toasted
from playwright.sync_api import Page, expect


@pytest.fixture
def form(served: Served, open_page: OpenPage) -> Page:
    """The page without a run, with the initial settings."""
    served.initial_settings()
    page = open_page()
    expect(page.locator("#set-batch_size")).to_have_value("16")
    expect(page.locator("#set-batch_size")).to_be_enabled()
    return page


def apply(page: Page) -> None:
    page.get_by_role("button", name="Apply", exact=True).click()


def test_a_value_refused_by_the_server_shows_its_message(
    form: Page, served: Served, watches: list[Watch]
) -> None:
    for encoder in served.checkpoints.glob("pretrained_encoder_*"):
        encoder.unlink()
    watches[0].expect("400")
    form.locator("#set-use_pretrained").check()
    apply(form)
    expect(form.locator(".toast.bad")).to_contain_text("contains no encoder pretrained by")


def test_applied_settings_are_used_by_the_next_run_and_locked_during_it(
    form: Page, served: Served
) -> None:
    expect(form.locator("#settings-box")).to_be_visible()
    form.locator("#set-batch_size").fill("12")
    apply(form)
    expect(form.locator("#settings")).to_contain_text("The next run uses these settings.")
    form.get_by_role("button", name="Start training").click()
    expect(form.locator("#state")).to_have_text("● training")
    assert served.get("/config")["config"]["training"]["batch_size"] == 12
    expect(form.locator("#settings-box")).to_be_hidden()
    toggle = form.get_by_role("button", name="Settings")
    expect(toggle).to_have_attribute("aria-expanded", "false")
    toggle.click()
    expect(form.locator("#settings-box")).to_be_visible()
    expect(form.locator("#set-batch_size")).to_be_disabled()
    expect(form.locator("#settings")).to_contain_text("Settings are locked during a run.")


def test_only_changes_are_marked_and_sent(form: Page) -> None:
    form.locator("#set-batch_size").fill("9")
    form.get_by_role("button", name="Revert").click()
    expect(form.locator("#set-batch_size")).to_have_value("16")
    form.locator("#set-batch_size").fill("8")
    expect(form.locator(".field.changed label")).to_have_text(["Batch size"])
    with form.expect_request("**/task_config") as sent:
        apply(form)
    assert sent.value.post_data_json == {"batch_size": 8}


def test_an_option_enables_its_keys_before_it_is_applied(form: Page, served: Served) -> None:
    form.locator("#set-batch_size").fill("8")
    form.locator("#set-bottleneck_type").select_option("autoencoder")
    expect(form.locator("#set-vocab_size")).to_be_disabled()
    form.locator("#set-bottleneck_type").select_option("categorical")
    expect(form.locator("#set-vocab_size")).to_be_enabled()
    form.locator("#set-task_type").select_option("reconstruction")
    expect(form.locator("#set-num_distractors")).to_be_disabled()
    expect(form.locator("#set-batch_size")).to_have_value("8")
    settings = served.get("/task_config")
    assert (settings["bottleneck_type"], settings["task_type"]) == ("communication", "selection")


def test_an_option_and_one_of_its_keys_are_applied_together(form: Page, served: Served) -> None:
    served.post("/task_config", {"task_type": "reconstruction"})
    form.reload()
    expect(form.locator("#set-num_distractors")).to_be_disabled()
    form.locator("#set-task_type").select_option("selection")
    expect(form.locator("#set-num_distractors")).to_have_attribute("type", "number")
    form.locator("#set-num_distractors").fill("7")
    apply(form)
    toasted(form, "Settings applied")
    config = served.get("/task_config")
    assert (config["task_type"], config["num_distractors"]) == ("selection", 7)


def test_a_setting_shows_its_key_and_range_and_refuses_a_value_out_of_it(
    form: Page, served: Served
) -> None:
    form.locator("#set-num_distractors").focus()
    expect(form.locator(".help-line")).to_contain_text("1 to 999")
    expect(form.locator(".help-line")).to_contain_text("task.num_distractors")
    field = form.locator(".field", has_text="Number of distractors")
    expect(field).to_have_attribute("title", re.compile(r"^task\.num_distractors"))
    form.locator("#set-vocab_size").fill("1")
    apply(form)
    expect(form.locator(".toast.bad")).to_contain_text("Vocabulary size")
    expect(form.locator(".toast.bad")).to_contain_text("2")
    assert served.get("/task_config")["vocab_size"] == 25


def test_what_another_client_changes_is_shown_unless_a_value_was_typed(
    form: Page, served: Served
) -> None:
    size = form.locator("#set-batch_size")
    form.locator("#set-seed").focus()
    served.post("/task_config", {"batch_size": 32})
    expect(size).to_have_value("32")
    expect(form.locator("#set-seed")).to_be_focused()
    form.locator("#set-seed").fill("7")
    served.post("/task_config", {"batch_size": 8})
    version = served.get("/status")["settings_version"]
    with form.expect_response(
        lambda answer: (
            answer.url.endswith("/status") and answer.json()["settings_version"] == version
        )
    ):
        pass
    expect(size).to_have_value("32")
    with form.expect_request("**/task_schema"):
        form.locator("#set-seed").fill("0")
    expect(size).to_have_value("8")


def test_the_configuration_follows_the_settings_and_the_connection(
    form: Page, served: Served, watches: list[Watch]
) -> None:
    watches[0].expect("net::ERR")
    with form.expect_response("**/config"):
        form.get_by_role("tab", name="Config").click()
    with form.expect_response("**/config"):
        served.post("/task_config", {"batch_size": 8})
    form.context.set_offline(True)
    expect(form.locator("#lost")).to_be_visible()
    with form.expect_response("**/config"):
        form.context.set_offline(False)
        form.get_by_text("Try now").dispatch_event("click")  # also if it has just disappeared


def test_extra_settings_apply_to_the_next_run(form: Page, served: Served) -> None:
    form.get_by_label("Distractor kind").select_option("same size")
    form.get_by_label("Stop token").check()
    form.get_by_label("Data augmentation").check()
    form.get_by_label("Random seed").fill("7")
    form.get_by_label("Maximum steps").fill("400")
    form.get_by_label("Number of distractors").fill("1")
    form.get_by_role("button", name="Apply and start").click()
    expect(form.locator("#state")).to_have_text("● training")
    config = served.get("/config")["config"]
    assert config["task"]["distractors"] == "same_size"
    assert config["bottleneck"]["stop_token"] is True
    assert config["data"]["augment"] is True
    assert (config["seed"], config["training"]["max_steps"]) == (7, 400)


def test_settings_that_were_closed_stay_closed(form: Page) -> None:
    form.get_by_role("button", name="Settings").click()
    expect(form.locator("#settings-box")).to_be_hidden()
    form.reload()
    expect(form.get_by_role("button", name="Start training")).to_be_enabled()
    expect(form.locator("#settings-box")).to_be_hidden()


def test_opening_settings_scrolls_only_where_they_are_above_the_charts(running: Page) -> None:
    toggle = running.get_by_role("button", name="Settings")
    panel = running.locator("#settings-box")
    expect(running.locator("#set-batch_size")).to_be_attached()
    running.set_viewport_size({"width": 1440, "height": 900})
    toggle.click()
    expect(panel).to_be_visible()
    assert running.evaluate("scrollY") == 0
    toggle.click()
    running.set_viewport_size({"width": 800, "height": 600})
    toggle.click()
    expect(panel).to_be_visible()
    assert running.evaluate("scrollY") > 0
    top, header = running.evaluate(
        "[document.getElementById('settings-box').getBoundingClientRect().top,"
        " document.querySelector('.bar').getBoundingClientRect().bottom]"
    )
    assert header - 1 <= top < header + 60


def test_a_process_that_ends_with_its_run_says_how_to_change_settings(
    served: Served, open_page: OpenPage
) -> None:
    def end(answer: dict[str, Any]) -> None:
        answer["ends_with_run"] = True

    page = open_page(route=lambda page: alter(page, "**/status", end))
    expect(page.locator("#settings .foot .hint")).to_have_text(
        "This process ends with its run; start it with server.autostart=false to change settings."
    )
    expect(page.locator("#set-batch_size")).to_be_disabled()


def test_the_command_has_the_last_value_of_each_key(served: Served, open_page: OpenPage) -> None:
    typed = ["training.max_steps=100", "run_name=auto", "run_name=dash", "training.max_steps=600"]
    page = open_page(
        route=lambda page: alter(page, "**/config", lambda answer: answer.update(overrides=typed))
    )
    page.get_by_role("tab", name="Config").click()
    expect(page.get_by_label("Overrides that reproduce this run")).to_have_text(
        "python -m arc.train run_name=dash training.max_steps=600"
    )
