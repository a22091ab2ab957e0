"""Examples and language: edited messages, compared grids, message statistics."""

import re
from collections.abc import Callable

import pytest
from helpers_browser import OpenPage, Served
from playwright.sync_api import Locator, Page, Response, expect


@pytest.fixture
def probe(running: Page) -> Locator:
    """The first validation grid in the explorer."""
    running.locator("#tab-examples").click()
    card = running.locator("article.probe").first
    expect(card.locator(".chip.edit")).to_have_count(5)
    card.get_by_role("button", name="Refresh").focus()  # a focused card is not reloaded
    expect(card).not_to_have_attribute("aria-busy", "true")
    return card


def symbols(card: Locator) -> list[int]:
    return [int(each.input_value()) for each in card.locator(".chip.edit input").all()]


def region(page: Page, name: str) -> Locator:
    return page.locator("#language").get_by_role("region", name=name)


def edited(probe: Locator, page: Page, wanted: list[int], edit: Callable[[], None]) -> None:
    """Edit the message to ``wanted``; the symbols that the sender did not send are marked.

    The run continues, so that the sender may by now send another message for the same grid.
    """
    with page.expect_response(
        lambda answer: "/probe" in answer.url and answer.json().get("message") == wanted
    ) as answered:
        edit()
    sent = answered.value.json()["sent"]
    for chip, symbol, original in zip(probe.locator(".chip.edit").all(), wanted, sent, strict=True):
        expect(chip).to_have_class("chip edit" if symbol == original else "chip edit differs")


def test_an_edited_symbol_is_sent_to_the_receiver(probe: Locator, running: Page) -> None:
    wanted = [(symbols(probe)[0] + 1) % 25, *symbols(probe)[1:]]
    next_symbol = probe.locator(".chip.edit").first.get_by_title("next symbol")
    edited(probe, running, wanted, next_symbol.click)
    expect(probe).to_contain_text("Edited message")
    expect(probe).to_contain_text(re.compile("receiver output: . (correct|wrong)"))


def test_another_message_has_another_output(probe: Locator, running: Page) -> None:
    shown = probe.locator(".answer").inner_text()
    wanted = [(symbol + 12) % 25 for symbol in symbols(probe)]

    def fill() -> None:
        for chip, symbol in zip(probe.locator(".chip.edit input").all(), wanted, strict=True):
            chip.fill(str(symbol))

    edited(probe, running, wanted, fill)
    expect(probe.locator(".answer")).not_to_have_text(shown)


def test_reset_restores_the_original_message(probe: Locator) -> None:
    probe.locator(".chip.edit").first.get_by_title("next symbol").click()
    probe.get_by_role("button", name="Reset message").click()
    expect(probe).to_contain_text("Original message")
    expect(probe.locator(".chip.edit.differs")).to_have_count(0)


def test_the_output_shows_its_step(probe: Locator, running: Page) -> None:
    expect(probe).not_to_have_attribute("aria-busy", "true")
    steps: list[int] = []

    def record(answer: Response) -> None:
        if "/probe" in answer.url:
            steps.append(answer.json()["step"])

    running.on("response", record)
    with running.expect_response("**/probe*"):
        probe.get_by_role("button", name="Refresh").click()
    expect(probe).not_to_have_attribute("aria-busy", "true")
    assert f"step {steps[-1]:,}" in probe.inner_text()


def test_a_card_without_focus_follows_the_run(probe: Locator, running: Page) -> None:
    seen = probe.locator("> .hint").inner_text()
    probe.get_by_role("button", name="Refresh").blur()
    expect(probe.locator("> .hint")).not_to_have_text(seen)  # after the next validation


def test_a_symbol_takes_arrow_keys(probe: Locator) -> None:
    first = probe.locator(".chip.edit input").first
    wanted = (int(first.input_value()) + 1) % 25
    first.press("ArrowUp")
    expect(first).to_have_value(str(wanted))
    first.press("ArrowRight")
    expect(probe.locator(".chip.edit input").nth(1)).to_be_focused()


def test_two_grids_are_compared_by_their_messages(probe: Locator, running: Page) -> None:
    running.get_by_label("compare with a second grid").check()
    expect(running.locator("article.probe").nth(1).locator(".chip.edit")).to_have_count(5)
    expect(running.locator(".between")).to_have_text(
        re.compile(r"of 5 symbols differ|the same message")
    )
    steps = running.locator("article.probe > .hint").all_inner_texts()
    assert len(steps) == 2
    assert len(set(steps)) == 1, "the models differ"


def test_another_puzzle_is_picked_by_its_id(probe: Locator, running: Page, served: Served) -> None:
    wanted = served.get("/examples")["examples"][-1]
    running.get_by_label("Filter validation grids by puzzle ID").fill(wanted.split()[0])
    running.get_by_label("Validation grids", exact=True).select_option(wanted)
    expect(probe.locator("header code")).to_have_text(wanted)
    expect(probe).to_contain_text("Original message")


def test_a_sample_opens_in_the_explorer(probe: Locator, running: Page, served: Served) -> None:
    sample = served.get("/samples")["samples"][-1]
    running.locator("button.card").last.click()
    expect(probe.locator("header code")).to_have_text(sample["example"])


def test_digits_are_drawn_on_request(probe: Locator, running: Page) -> None:
    picture = "canvas => canvas.toDataURL()"
    before = probe.locator("canvas").first.evaluate(picture)
    running.get_by_label("show digits").check()
    assert probe.locator("canvas").first.evaluate(picture) != before


def test_a_grid_is_described_for_screen_readers(probe: Locator) -> None:
    label = probe.locator("canvas").first.get_attribute("aria-label")
    assert re.match(r"Sender input, \d by \d: \d \w+ ×\d", label or "")


def test_the_language_is_a_table_of_messages_and_symbols(running: Page) -> None:
    running.get_by_role("tab", name="Language").click()
    expect(region(running, "Messages").locator("tbody tr").first).to_be_visible()
    expect(region(running, "Symbol use by position").locator("tbody tr")).to_have_count(5)
    expect(region(running, "Symbol use by position").locator("thead th")).to_have_count(26)
    expect(running.locator("#language > .summary")).to_have_text(
        re.compile(r"distinct messages for \d+")
    )


def test_the_measures_are_charts_beside_their_floors(running: Page) -> None:
    running.get_by_role("tab", name="Language").click()
    charts = running.locator("#language figure.chart")
    expect(charts).to_have_count(6)
    expect(charts.first.locator("h3")).to_have_text("Topographic similarity")
    expect(charts.first.locator(".legend")).to_have_text(
        re.compile(r"value .*\dshuffled .*\drandom .*\d")
    )
    expect(charts.first.locator(".summary")).to_have_text(
        re.compile(r"Now .*\d, shuffled messages .*\d, random messages .*\d\.")
    )
    running.get_by_role("button", name="all measures").click()
    expect(charts).to_have_count(20)
    expect(charts.last.locator(".legend li").first).to_contain_text("value")


def test_positions_and_symbols_are_matched_with_concepts(running: Page) -> None:
    running.get_by_role("tab", name="Language").click()
    expect(region(running, "Positions and concepts").locator("tbody tr")).to_have_count(5)
    expect(region(running, "Positions and concepts").locator("thead th")).to_have_count(19)
    entry = region(running, "Dictionary").locator("tbody tr").first
    expect(entry.locator("canvas").first).to_be_visible()
    expect(running.locator("#language")).to_contain_text(re.compile(r"Score 0\.\d+; shuffled"))


def test_a_vector_has_no_symbols_to_measure(served: Served, open_page: OpenPage) -> None:
    served.restart("bottleneck=autoencoder")
    page = open_page()
    page.get_by_role("tab", name="Language").click()
    notes = page.locator("#language .note")
    expect(notes).to_have_text([re.compile("Continuous bottleneck: no symbols to")] * 3)
    served.idle()


def test_a_grid_of_the_language_tab_opens_in_examples(running: Page) -> None:
    running.get_by_role("tab", name="Language").click()
    thumb = running.locator("#language .thumb").first
    # Read and click at once: the tables load one after another and follow the training run.
    example = thumb.evaluate("thumb => { thumb.click(); return thumb.title.split(':')[0]; }")
    expect(running.get_by_role("tab", name="Examples")).to_have_attribute("aria-selected", "true")
    expect(running.locator("article.probe header code").first).to_have_text(example)
