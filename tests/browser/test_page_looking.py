"""Examples and language: edited messages, compared grids, message statistics."""

import re
from collections.abc import Callable

import pytest
from helpers_browser import OpenPage, Served, Watch, alter
from playwright.sync_api import Locator, Page, expect

NO_SYMBOLS = [re.compile("Continuous bottleneck: no symbols to")] * 3


def first_card(page: Page) -> Locator:
    """The first validation grid in the explorer."""
    page.locator("#tab-examples").click()
    card = page.locator("article.probe").first
    expect(card.locator(".chip.edit")).to_have_count(5)
    card.get_by_role("button", name="Refresh").focus()  # a focused card is not reloaded
    expect(card).not_to_have_attribute("aria-busy", "true")
    return card


@pytest.fixture
def probe(halted: Page) -> Locator:
    """The first validation grid in the explorer, after a run."""
    return first_card(halted)


def symbols(card: Locator) -> list[int]:
    return [int(each.input_value()) for each in card.locator(".chip.edit input").all()]


def region(page: Page, name: str) -> Locator:
    return page.locator("#language").get_by_role("region", name=name)


def edited(probe: Locator, page: Page, wanted: list[int], edit: Callable[[], None]) -> None:
    """Edit the message to ``wanted``; the symbols that the sender did not send are marked."""
    with page.expect_response(
        lambda answer: "/probe" in answer.url and answer.json().get("message") == wanted
    ) as answered:
        edit()
    sent = answered.value.json()["sent"]
    for chip, symbol, original in zip(probe.locator(".chip.edit").all(), wanted, sent, strict=True):
        expect(chip).to_have_class("chip edit" if symbol == original else "chip edit differs")


def test_an_edited_symbol_is_sent_to_the_receiver_until_reset(probe: Locator, halted: Page) -> None:
    wanted = [(symbols(probe)[0] + 1) % 25, *symbols(probe)[1:]]
    next_symbol = probe.locator(".chip.edit").first.get_by_title("next symbol")
    edited(probe, halted, wanted, next_symbol.click)
    expect(probe).to_contain_text("Edited message")
    expect(probe).to_contain_text(re.compile("receiver output: . (correct|wrong)"))
    probe.get_by_role("button", name="Reset message").click()
    expect(probe).to_contain_text("Original message")
    expect(probe.locator(".chip.edit.differs")).to_have_count(0)


def test_another_message_has_another_output(probe: Locator, halted: Page) -> None:
    shown = probe.locator(".answer").inner_text()
    wanted = [(symbol + 12) % 25 for symbol in symbols(probe)]

    def fill() -> None:
        for chip, symbol in zip(probe.locator(".chip.edit input").all(), wanted, strict=True):
            chip.fill(str(symbol))

    edited(probe, halted, wanted, fill)
    expect(probe.locator(".answer")).not_to_have_text(shown)


def test_the_output_shows_its_step_and_follows_the_run(running: Page) -> None:
    probe = first_card(running)
    hint = probe.locator("> .hint")
    with running.expect_response("**/probe*") as answered:
        probe.get_by_role("button", name="Refresh").click()
    expect(hint).to_contain_text(f"step {answered.value.json()['step']:,}")
    seen = hint.inner_text()
    probe.get_by_role("button", name="Refresh").blur()
    expect(hint).not_to_have_text(seen)  # a card without focus is reloaded


def test_a_symbol_takes_arrow_keys(probe: Locator) -> None:
    first = probe.locator(".chip.edit input").first
    wanted = (int(first.input_value()) + 1) % 25
    first.press("ArrowUp")
    expect(first).to_have_value(str(wanted))
    first.press("ArrowRight")
    expect(probe.locator(".chip.edit input").nth(1)).to_be_focused()


def test_two_grids_are_compared_by_their_messages(running: Page) -> None:
    first_card(running)
    running.get_by_label("compare with a second grid").check()
    expect(running.locator("article.probe").nth(1).locator(".chip.edit")).to_have_count(5)
    expect(running.locator(".between")).to_have_text(
        re.compile(r"of 5 symbols differ|the same message")
    )
    steps = running.locator("article.probe > .hint").all_inner_texts()
    assert len(steps) == 2
    assert len(set(steps)) == 1, "the models differ"


def test_a_puzzle_is_picked_by_its_id_or_from_the_samples(
    probe: Locator, halted: Page, served: Served
) -> None:
    wanted = served.get("/examples")["examples"][-1]
    halted.get_by_label("Filter validation grids by puzzle ID").fill(wanted.split()[0])
    halted.get_by_label("Validation grids", exact=True).select_option(wanted)
    expect(probe.locator("header code")).to_have_text(wanted)
    expect(probe).to_contain_text("Original message")
    sample = served.get("/samples")["samples"][-2]
    assert sample["example"] != wanted
    halted.locator("button.card").nth(-2).click()
    expect(probe.locator("header code")).to_have_text(sample["example"])


def test_a_grid_is_described_and_has_digits_on_request(probe: Locator, halted: Page) -> None:
    picture = "canvas => canvas.toDataURL()"
    before = probe.locator("canvas").first.evaluate(picture)
    halted.get_by_label("show digits").check()
    assert probe.locator("canvas").first.evaluate(picture) != before
    label = probe.locator("canvas").first.get_attribute("aria-label")
    assert re.match(r"Sender input, \d by \d: \d \w+ ×\d", label or "")


def test_the_language_is_tables_of_messages_symbols_and_concepts(halted: Page) -> None:
    halted.get_by_role("tab", name="Language").click()
    expect(region(halted, "Messages").locator("tbody tr").first).to_be_visible()
    expect(region(halted, "Symbol use by position").locator("tbody tr")).to_have_count(5)
    expect(region(halted, "Symbol use by position").locator("thead th")).to_have_count(26)
    expect(halted.locator("#language > .summary")).to_have_text(
        re.compile(r"distinct messages for \d+")
    )
    expect(region(halted, "Positions and concepts").locator("tbody tr")).to_have_count(5)
    expect(region(halted, "Positions and concepts").locator("thead th")).to_have_count(19)
    entry = region(halted, "Dictionary").locator("tbody tr").first
    expect(entry.locator("canvas").first).to_be_visible()
    expect(halted.locator("#language")).to_contain_text(re.compile(r"Score 0\.\d+; shuffled"))


def test_the_measures_are_charts_beside_their_floors(halted: Page) -> None:
    halted.get_by_role("tab", name="Language").click()
    charts = halted.locator("#language figure.chart")
    expect(charts).to_have_count(6)
    expect(charts.first.locator("h3")).to_have_text("Topographic similarity")
    expect(charts.first.locator(".legend")).to_have_text(
        re.compile(r"value .*\dshuffled .*\drandom .*\d")
    )
    expect(charts.first.locator(".summary")).to_have_text(
        re.compile(r"Now .*\d, shuffled messages .*\d, random messages .*\d\.")
    )
    halted.get_by_role("button", name="all measures").click()
    expect(charts).to_have_count(20)
    expect(charts.last.locator(".legend li").first).to_contain_text("value")


def test_a_vector_has_no_symbols_to_measure(served: Served, open_page: OpenPage) -> None:
    served.restart("bottleneck=autoencoder")
    page = open_page()
    page.get_by_role("tab", name="Language").click()
    notes = page.locator("#language .note")
    expect(notes).to_have_text(NO_SYMBOLS)
    served.idle()
    page.reload()
    page.get_by_role("tab", name="Language").click()
    expect(notes).to_have_text(NO_SYMBOLS)


def test_a_pretraining_has_no_symbols_to_measure(served: Served, open_page: OpenPage) -> None:
    served.idle()
    served.post("/start_pretrain", {"overrides": ["pretrain.epochs=100000"]})
    served.until(lambda status: status["metrics"]["val_acc"] is not None)
    page = open_page()
    page.get_by_role("tab", name="Language").click()
    notes, task = page.locator("#language .note"), page.locator("#facts dd").first
    expect(notes).to_have_text(NO_SYMBOLS)
    expect(task).to_have_text("pretraining on selection")
    served.idle()
    page.reload()
    expect(page.locator("#state")).to_have_text("■ stopped")
    expect(task).to_have_text("pretraining on selection")
    expect(notes).to_have_text(NO_SYMBOLS)


def test_without_a_validation_set_training_grids_are_shown(
    served: Served, open_page: OpenPage, watches: list[Watch]
) -> None:
    served.idle()
    overrides = ["data.validation_fraction=0", "training.max_steps=2", "data.test=null"]
    served.post("/start_train", {"overrides": overrides})
    served.until(lambda status: status["outcome"] and status["state"] == "idle")
    page = open_page()
    watches[0].expect("400")  # of /concepts
    page.get_by_role("tab", name="Examples").click()
    expect(page.get_by_role("heading", name="Explore training grids")).to_be_visible()
    expect(page.get_by_label("Training grids", exact=True)).to_be_visible()
    expect(page.locator("button.card").first).to_be_visible()
    page.get_by_role("tab", name="Language").click()
    expect(page.locator("#language")).to_contain_text(
        "No validation set: set data.validation_fraction above 0."
    )


def test_the_explorer_shows_the_output_of_the_latest_run(
    probe: Locator, halted: Page, served: Served
) -> None:
    wanted = [(symbols(probe)[0] + 1) % 25, *symbols(probe)[1:]]
    edited(
        probe, halted, wanted, probe.locator(".chip.edit").first.get_by_title("next symbol").click
    )
    before = probe.locator("header code").inner_text()
    alter(halted, "**/examples", lambda answer: answer.update(examples=answer["examples"][1:]))
    assert served.get("/examples")["examples"][0] == before
    served.restart()
    expect(probe).to_contain_text("Original message")
    expect(probe.locator("header code")).to_have_text(served.get("/examples")["examples"][1])


def test_a_grid_of_the_language_tab_opens_in_examples(running: Page) -> None:
    running.get_by_role("tab", name="Language").click()
    thumb = running.locator("#language .thumb").first
    # Read and click at once: the tables load one after another and follow the training run.
    example = thumb.evaluate("thumb => { thumb.click(); return thumb.title.split(':')[0]; }")
    expect(running.get_by_role("tab", name="Examples")).to_have_attribute("aria-selected", "true")
    expect(running.locator("article.probe header code").first).to_have_text(example)
