"""Tables are copied as CSV; charts are downloaded as PNG, SVG and CSV."""

import csv
import struct
from pathlib import Path
from xml.etree import ElementTree

import pytest
from helpers_browser import Served, copied
from playwright.sync_api import Download, Page, expect

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def language(halted: Page) -> Page:
    """The Language tab of a run that was stopped."""
    halted.context.grant_permissions(["clipboard-read", "clipboard-write"])
    halted.get_by_role("tab", name="Language").click()
    expect(halted.locator("#language .turned").first).to_be_visible()
    return halted


def downloaded(page: Page, kind: str, title: str = "Loss") -> Download:
    page.get_by_role("button", name=f"Download {title}", exact=True).click()
    with page.expect_download() as caught:
        page.get_by_role("button", name=f"Download {title} as {kind}").click()
    return caught.value


def names(examples: list[dict[str, str]]) -> str:
    return "; ".join(each["example"] for each in examples)


def test_the_tables_of_the_language_are_copied_as_shown(language: Page, served: Served) -> None:
    answer = served.get("/language")
    rows = copied(language, "Messages")
    assert len(rows) == language.locator("#language [aria-label=Messages] tbody tr").count()
    for row, each in zip(rows, answer["messages"], strict=False):
        assert row["Message"] == " ".join(map(str, each["message"]))
        assert int(row["Count"]) == each["count"]
        assert float(row["Share (%)"]) == pytest.approx(100 * each["count"] / answer["total"])
        assert row["Grids"] == names(each["examples"])
    counts = copied(language, "Symbol use by position")
    assert [[int(row[str(i)]) for i in range(25)] for row in counts] == answer["positions"]

    answer = served.get("/concepts")
    rows = copied(language, "Dictionary")
    assert 0 < len(rows) <= len(answer["dictionary"])
    for row, each in zip(rows, answer["dictionary"], strict=False):
        whole = (each["symbol"], each["position"], each["value"], each["count"])
        titles = ("Symbol", "Position", "Value", "Matches")
        assert tuple(int(row[title]) for title in titles) == whole
        assert (row["Concept"], row["Grids"]) == (each["concept"], names(each["examples"]))
        for key in ("precision", "chance", "recall"):
            assert float(row[f"{key.title()} (%)"]) == pytest.approx(100 * each[key])
    table, found = copied(language, "Positions and concepts"), answer["information"]
    for row, bits, chance in zip(table, found["bits"], found["shuffled"], strict=True):
        corrected = [max(0, a - b) for a, b in zip(bits, chance, strict=True)]
        assert list(map(float, list(row.values())[1:])) == pytest.approx(corrected)


def test_the_list_of_checkpoints_is_copied_without_its_buttons(halted: Page) -> None:
    halted.context.grant_permissions(["clipboard-read", "clipboard-write"])
    halted.get_by_role("tab", name="Checkpoints").click()
    rows = copied(halted, "Checkpoints")
    assert list(rows[0])[::7] == ["File", "Saved"]
    shown = halted.get_by_role("region", name="Checkpoints", exact=True).locator("td.filename")
    assert [row["File"] for row in rows] == shown.all_inner_texts()


def test_a_chart_is_downloaded_as_an_image(halted: Page, tmp_path: Path) -> None:
    picture = ElementTree.fromstring(downloaded(halted, "SVG").path().read_bytes())
    assert picture.tag == f"{SVG}svg"
    texts = [each.text or "" for each in picture.iter(f"{SVG}text")]
    assert texts[0] == "Loss"
    assert any(text.startswith("validation ") for text in texts)
    curves = [each for each in picture.iter(f"{SVG}path") if len(each.get("d", "")) > 20]
    assert curves
    assert all(each.get("stroke", "").startswith("rgb(") for each in curves)
    image = downloaded(halted, "PNG").path().read_bytes()
    assert image.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", image[16:24])
    assert abs(width - 2 * float(picture.get("width", 0))) <= 2
    assert abs(height - 2 * float(picture.get("height", 0))) <= 2


def test_the_points_of_a_chart_are_downloaded(halted: Page, served: Served) -> None:
    file = downloaded(halted, "CSV")
    assert file.suggested_filename == f"{served.get('/status')['run_name']}_loss.csv"
    with file.path().open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    answer = served.get("/metrics_history")
    steps = {int(row["step"]): row for row in rows}
    for step in answer["history"]:
        assert float(steps[step["batch_num"]]["training"]) == step["loss"]
    assert {step for step, row in steps.items() if row["validation"]} == {
        each["batch_num"] for each in answer["validations"]
    }
    halted.get_by_role("tab", name="Language").click()
    text = downloaded(halted, "CSV", "Concept information").path().read_text().splitlines()
    assert text[0] == "step,value,shuffled,random"
    assert len(text) == 1 + len(answer["validations"])


def test_the_menu_of_a_chart_takes_the_keyboard(halted: Page) -> None:
    toggle = halted.get_by_role("button", name="Download Accuracy", exact=True)
    item = halted.get_by_role("button", name="Download Accuracy as PNG")
    expect(item).to_be_hidden()
    toggle.press("Enter")
    expect(toggle).to_have_attribute("aria-expanded", "true")
    toggle.press("Tab")
    expect(item).to_be_focused()
    item.press("Escape")
    expect(item).to_be_hidden()
    expect(toggle).to_be_focused()
    toggle.press("Enter")
    halted.get_by_label("Horizontal axis").focus()
    expect(item).to_be_hidden()
