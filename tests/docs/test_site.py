"""The documentation site builds without a warning and refers to nothing on the network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from helpers_cli import CHECKOUT, environment
from helpers_docs import PAGES

LINK = re.compile(r"\]\(([^)\s#]+)(?:#[\w-]+)?\)")


class Resources(HTMLParser):
    """Collects what a page loads: scripts, styles, fonts, images and frames."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "link" and values.get("rel") not in ("search", "next", "prev", "index"):
            self.found.append(values.get("href") or "")
        elif tag != "a":
            self.found += [value for value in (values.get("src"), values.get("srcset")) if value]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; warnings are errors and proxies lead nowhere."""
    for package in ("sphinx", "myst_parser", "pydata_sphinx_theme"):
        pytest.importorskip(package, reason="needs the docs extra (Python 3.11 or newer)")
    out = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
    offline = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")
    done = subprocess.run(
        [*build, "-d", str(out / "doctrees"), str(CHECKOUT / "docs"), str(out / "html")],
        cwd=CHECKOUT,
        env={**environment(), **offline},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return out / "html"


@pytest.mark.slow
def test_every_page_is_built(site: Path) -> None:
    pages = {path.relative_to(CHECKOUT / "docs").with_suffix(".html") for path in PAGES[2:]}
    assert len(pages) > 20
    assert [str(page) for page in pages if not (site / page).is_file()] == []


@pytest.mark.slow
def test_a_page_loads_nothing_from_the_network(site: Path) -> None:
    foreign = []
    for path in site.rglob("*.html"):
        parser = Resources()
        parser.feed(path.read_text(encoding="utf-8"))
        assert parser.found, path
        foreign += [(path.name, url) for url in parser.found if re.match(r"(https?:)?//", url)]
    for path in site.rglob("*.css"):
        text = path.read_text(encoding="utf-8")
        foreign += [
            (path.name, u) for u in re.findall(r"(?:url\(|@import )\W*(https?:[^)\s]+)", text)
        ]
    assert foreign == []


@pytest.mark.slow
def test_the_configuration_and_the_api_are_generated(site: Path) -> None:
    configuration = (site / "reference" / "configuration.html").read_text(encoding="utf-8")
    assert "task.num_distractors" in configuration
    api = (site / "reference" / "python-api.html").read_text(encoding="utf-8")
    assert {"arc.api.compose", "arc.api.train", "arc.api.load"} <= set(
        re.findall(r'id="([\w.]+)"', api)
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_every_link_to_a_file_resolves(page: Path) -> None:
    targets = LINK.findall(page.read_text(encoding="utf-8"))
    local = [target for target in targets if "://" not in target and not target.startswith("#")]
    assert [t for t in local if not os.path.exists(page.parent / t)] == []


def test_the_readme_has_at_most_100_lines() -> None:
    lines = (CHECKOUT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 100
    assert max(map(len, lines)) <= 110
