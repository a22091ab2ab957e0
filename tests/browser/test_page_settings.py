"""The settings form: what it refuses, what it applies, what an option brings."""

from collections.abc import Callable

import pytest
from helpers_browser import Served
from playwright.sync_api import Page, expect


@pytest.fixture
def form(served: Served, open_page: Callable[..., Page]) -> Page:
    """The page while nothing runs, every setting as it was at first."""
    served.idle()
    plain = {"task_type": "selection", "bottleneck_type": "communication", "batch_size": 16}
    served.ask("/task_config", {**plain, "num_distractors": 3, "vocab_size": 25})
    page = open_page()
    expect(page.locator("#set-batch_size")).to_have_value("16")
    expect(page.locator("#set-batch_size")).to_be_enabled()
    return page


def apply(page: Page) -> None:
    page.get_by_role("button", name="Apply", exact=True).click()


def test_a_value_out_of_range_is_refused_with_the_reason(form: Page, served: Served) -> None:
    form.locator("#set-vocab_size").fill("1")
    apply(form)
    expect(form.locator(".toast.bad")).to_contain_text("vocab size")
    expect(form.locator(".toast.bad")).to_contain_text("2")
    assert served.ask("/task_config")["vocab_size"] == 25


def test_a_value_that_only_the_server_can_refuse_is_refused_in_its_words(
    form: Page, watches: list
) -> None:
    watches[0].expect("400")
    form.locator("#set-use_pretrained").check()
    apply(form)
    expect(form.locator(".toast.bad")).to_contain_text("holds no encoder pretrained by")


def test_what_is_applied_is_what_the_next_start_has(form: Page, served: Served) -> None:
    form.locator("#set-batch_size").fill("12")
    apply(form)
    expect(form.locator("#settings")).to_contain_text("As the next start will use them.")
    form.get_by_role("button", name="Start training").click()
    expect(form.locator("#state")).to_have_text("● training")
    assert served.ask("/config")["config"]["training"]["batch_size"] == 12


def test_a_start_applies_what_was_changed(form: Page, served: Served) -> None:
    form.locator("#set-num_distractors").fill("5")
    form.get_by_role("button", name="Apply and start").click()
    expect(form.locator("#state")).to_have_text("● training")
    assert served.ask("/config")["config"]["task"]["num_distractors"] == 5


def test_only_what_was_changed_is_marked_and_sent(form: Page) -> None:
    form.locator("#set-batch_size").fill("8")
    expect(form.locator(".field.changed label")).to_have_text(["batch size"])
    with form.expect_request("**/task_config") as sent:
        apply(form)
    assert sent.value.post_data_json == {"batch_size": 8}


def test_revert_brings_the_servers_values_back(form: Page) -> None:
    form.locator("#set-batch_size").fill("8")
    form.get_by_role("button", name="Revert").click()
    expect(form.locator("#set-batch_size")).to_have_value("16")


def test_an_option_shows_its_keys_before_it_is_applied(form: Page, served: Served) -> None:
    form.locator("#set-bottleneck_type").select_option("autoencoder")
    expect(form.locator("#set-vocab_size")).to_be_disabled()
    form.locator("#set-bottleneck_type").select_option("categorical")
    expect(form.locator("#set-vocab_size")).to_be_enabled()
    assert served.ask("/task_config")["bottleneck_type"] == "communication"


def test_an_option_and_a_key_that_it_brings_are_applied_together(
    form: Page, served: Served
) -> None:
    served.ask("/task_config", {"task_type": "reconstruction"})
    form.reload()
    expect(form.locator("#set-num_distractors")).to_be_disabled()
    form.locator("#set-task_type").select_option("selection")
    expect(form.locator("#set-num_distractors")).to_have_attribute("type", "number")
    form.locator("#set-num_distractors").fill("7")
    apply(form)
    expect(form.locator(".toast.good")).to_have_text("NextRun applied×")
    config = served.ask("/task_config")
    assert (config["task_type"], config["num_distractors"]) == ("selection", 7)


def test_what_was_typed_stays_when_an_option_is_chosen(form: Page) -> None:
    form.locator("#set-batch_size").fill("8")
    form.locator("#set-task_type").select_option("reconstruction")
    expect(form.locator("#set-num_distractors")).to_be_disabled()
    expect(form.locator("#set-batch_size")).to_have_value("8")


def test_a_setting_says_what_it_means_and_may_be(form: Page) -> None:
    form.locator("#set-num_distractors").focus()
    expect(form.locator(".help-line")).to_contain_text("1 to 999")


def test_the_settings_wait_while_a_run_is_under_way(running: Page) -> None:
    expect(running.locator("#set-batch_size")).to_be_disabled()
    expect(running.locator("#settings")).to_contain_text("The settings wait until this run ends.")
