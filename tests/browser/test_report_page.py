"""A report in Chromium: it fits every screen, and its texts are readable in light and dark."""

from pathlib import Path

import pytest
from helpers_browser import SCREENSHOTS, Watch
from helpers_cli import Make
from playwright.sync_api import Page

from arc.api import evaluate

# The lowest contrast of a text with what is behind it, and the text (WCAG 2.2). The color of an
# element that stands in a heat map is mixed with the fullest color of a cell.
CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data].map((each) => each / 255);
  };
  const light = (color) => color.slice(0, 3).map(
    (each) => (each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4),
  ).reduce((sum, each, i) => sum + each * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const color = rgba(getComputedStyle(each).backgroundColor);
      if (color[3] === 1) return color;
    }
  };
  const found = [];
  const measure = (color, ground, text) => {
    const [dark, bright] = [light(color), light(ground)].sort((a, b) => a - b);
    found.push([(bright + 0.05) / (dark + 0.05), text]);
  };
  for (const element of document.querySelectorAll("body, body *:not(.grid, .grid *)")) {
    const texts = [...element.childNodes].filter((node) => node.nodeType === 3);
    const text = texts.map((node) => node.data.trim()).join("");
    if (!text) continue;
    const style = getComputedStyle(element);
    const color = rgba(element.closest("svg") ? style.fill : style.color);
    measure(color, behind(element), text);
  }
  const [paper, cell, ink] = ["--paper", "--accent", "--ink"].map((name) => {
    document.body.style.outlineColor = `var(${name})`;
    return rgba(getComputedStyle(document.body).outlineColor);
  });
  const fills = [...document.querySelectorAll("[aria-label^='Symbols'] [style*='fill-opacity']")];
  const opacity = Math.max(...fills.map((each) => Number(getComputedStyle(each).fillOpacity)));
  measure(ink, paper.map((each, i) => each + opacity * (cell[i] - each)), `cell of ${opacity}`);
  return found.sort((a, b) => a[0] - b[0])[0];
}"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, train_small: Make) -> Path:
    folder = tmp_path_factory.mktemp("reported")
    run = train_small(folder, "task=selection", "task.num_distractors=3", "training.max_steps=2")
    evaluate(run, device="cpu", report=folder / "x.html")
    return folder / "x.html"


@pytest.mark.parametrize("width", [1440, 390])
def test_a_report_fits_the_screen_and_is_readable(window: Page, report: Path, width: int) -> None:
    watch = Watch(window)
    window.set_viewport_size({"width": width, "height": 900})
    window.goto(report.as_uri())
    for scheme in ("light", "dark"):
        window.emulate_media(color_scheme=scheme)
        assert window.evaluate("document.documentElement.scrollWidth") <= width
        contrast, text = window.evaluate(CONTRAST)
        assert contrast >= 4.5, (scheme, text)
        if SCREENSHOTS.is_dir():
            window.screenshot(path=SCREENSHOTS / f"{width}-{scheme}-report.png", full_page=True)
    watch.close()
    assert (watch.errors, watch.hosts) == ([], set())
    window.goto("about:blank")
