"""What the agents say: messages edited, grids compared, the language's table."""

import re

import pytest
from helpers_browser import Served
from playwright.sync_api import Locator, Page, Response, expect


@pytest.fixture
def asked(running: Page) -> Locator:
    """The first held-out grid, asked about."""
    card = running.locator("article.probe").first
    expect(card.locator(".chip.edit")).to_have_count(5)
    card.get_by_role("button", name="Ask again").focus()  # who is at work on it is left alone
    expect(card).not_to_have_attribute("aria-busy", "true")
    return card


def symbols(card: Locator) -> list[int]:
    return [int(each.input_value()) for each in card.locator(".chip.edit input").all()]


def test_an_edited_symbol_is_what_the_receiver_hears(asked: Locator, running: Page) -> None:
    wanted = [(symbols(asked)[0] + 1) % 25, *symbols(asked)[1:]]
    with running.expect_response(re.compile("probe.*message=")) as answered:
        asked.locator(".chip.edit").first.get_by_title("next symbol").click()
    assert answered.value.json()["message"] == wanted
    expect(asked).to_contain_text("the receiver hears an edited message")
    expect(asked.locator(".chip.edit").first).to_have_class(re.compile("differs"))
    expect(asked).to_contain_text(re.compile("heard as sent: . (right|wrong)"))


def test_another_message_has_another_answer(asked: Locator, running: Page) -> None:
    shown = asked.locator(".answer").inner_text()
    for chip in asked.locator(".chip.edit input").all():
        chip.fill(str((int(chip.input_value()) + 12) % 25))
    expect(asked.locator(".answer")).not_to_have_text(shown)
    expect(asked.locator(".chip.edit.differs")).to_have_count(5)


def test_reset_brings_back_what_was_sent(asked: Locator) -> None:
    asked.locator(".chip.edit").first.get_by_title("next symbol").click()
    asked.get_by_role("button", name="Reset to what was sent").click()
    expect(asked).to_contain_text("as the sender said it")
    expect(asked.locator(".chip.edit.differs")).to_have_count(0)


def test_the_answer_is_of_the_step_that_the_server_says(asked: Locator, running: Page) -> None:
    expect(asked).not_to_have_attribute("aria-busy", "true")
    steps: list[int] = []

    def hear(answer: Response) -> None:
        if "/probe" in answer.url:
            steps.append(answer.json()["step"])

    running.on("response", hear)
    with running.expect_response("**/probe*"):
        asked.get_by_role("button", name="Ask again").click()
    expect(asked).not_to_have_attribute("aria-busy", "true")
    assert f"asked at step {steps[-1]:,}" in asked.inner_text()


def test_who_only_looks_sees_what_is_said_now(asked: Locator, running: Page) -> None:
    seen = asked.locator("> .hint").inner_text()
    asked.get_by_role("button", name="Ask again").blur()
    expect(asked.locator("> .hint")).not_to_have_text(seen)  # after the next validation


def test_a_symbol_takes_arrow_keys(asked: Locator) -> None:
    first = asked.locator(".chip.edit input").first
    wanted = (int(first.input_value()) + 1) % 25
    first.press("ArrowUp")
    expect(first).to_have_value(str(wanted))
    first.press("ArrowRight")
    expect(asked.locator(".chip.edit input").nth(1)).to_be_focused()


def test_two_grids_are_compared_by_their_messages(asked: Locator, running: Page) -> None:
    running.get_by_label("put the next beside this one").check()
    expect(running.locator("article.probe").nth(1).locator(".chip.edit")).to_have_count(5)
    expect(running.locator(".between")).to_have_text(
        re.compile(r"of 5 symbols differ|the same message")
    )
    steps = running.locator("article.probe > .hint").all_inner_texts()
    assert len(steps) == 2
    assert len(set(steps)) == 1, "two models were compared"


def test_another_puzzle_is_picked_by_its_id(asked: Locator, running: Page, served: Served) -> None:
    wanted = served.ask("/examples")["examples"][-1]
    running.get_by_label("Filter held-out grids by puzzle id").fill(wanted.split()[0])
    running.get_by_label("Held-out grids", exact=True).select_option(wanted)
    expect(asked.locator("header code")).to_have_text(wanted)
    expect(asked).to_contain_text("as the sender said it")


def test_a_card_opens_below(asked: Locator, running: Page, served: Served) -> None:
    sample = served.ask("/samples")["samples"][-1]
    running.locator("button.card").last.click()
    expect(asked.locator("header code")).to_have_text(sample["example"])


def test_digits_are_drawn_on_request(asked: Locator, running: Page) -> None:
    picture = "canvas => canvas.toDataURL()"
    before = asked.locator("canvas").first.evaluate(picture)
    running.get_by_label("digits").check()
    assert asked.locator("canvas").first.evaluate(picture) != before


def test_a_grid_is_told_to_those_who_cannot_see_it(asked: Locator) -> None:
    label = asked.locator("canvas").first.get_attribute("aria-label")
    assert re.match(r"Sent grid, \d by \d: \d \w+ ×\d", label or "")


def test_the_language_is_a_table_of_messages_and_symbols(running: Page, served: Served) -> None:
    running.get_by_role("tab", name="Language").click()
    panel = running.locator("#language")
    expect(panel.locator("table.rows tbody tr").first).to_be_visible()
    expect(panel.locator(".heat tbody tr")).to_have_count(5)
    expect(panel.locator(".heat thead th")).to_have_count(26)
    expect(panel.locator(".summary")).to_have_text(re.compile(r"different messages for \d+"))


def test_a_grid_of_the_language_is_asked_about(running: Page) -> None:
    running.get_by_role("tab", name="Language").click()
    thumb = running.locator("#language .thumb").first
    example = (thumb.get_attribute("title") or "").split(":")[0]
    thumb.click()
    expect(running.get_by_role("tab", name="Examples")).to_have_attribute("aria-selected", "true")
    expect(running.locator("article.probe header code").first).to_have_text(example)
