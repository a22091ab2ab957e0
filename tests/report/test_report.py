"""``report=true``: a page on evaluated runs, with its tables and figures in a folder."""

import csv
import json
import os
import re
import shutil
import signal
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from helpers_cli import Make, Outcome, call
from helpers_data import random_grids

import arc.api
import arc.evaluate
from arc.report import write_report
from arc.report.accuracy import interventions, results
from arc.runs.messages import message_rows
from arc.runs.results import EvaluationOptions, Observed
from arc.runs.saved import evaluate_checkpoint
from arc.runs.tables import over_seeds, result_rows

VOID = {"meta", "br", "path"}
ALWAYS = [
    *("results", "accuracy", "neighbours", "examples", "training", "configuration", "all-keys"),
]

CHANGES = {"permuted": 30.0, "replaced_1": 70.0, "replaced_2": 60.0, "replaced_3": 50.0}
CHANGES |= {"dropped_1": 40.0, "dropped_2": 20.0, "dropped_3": 10.0}


class Page(HTMLParser):
    """The elements of a report: their tags and attributes, and the texts of its table cells."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text = path.read_text(encoding="utf-8")
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[str] = []
        self.open: list[str] = []
        self.feed(self.text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in ("td", "th"):
            self.cells.append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.cells[-1] += data

    @property
    def sections(self) -> list[str]:
        return [str(each["id"]) for tag, each in self.elements if tag == "section"]

    def check(self) -> None:
        """Each identifier is used once and each reference leads to one; nothing is loaded."""
        ids = [each["id"] for _, each in self.elements if "id" in each]
        assert len(ids) == len(set(ids))
        links = [each.get(key) for _, each in self.elements for key in ("href", "xlink:href")]
        places = [link for link in links if link] + re.findall(r"url\((#[^)]*)\)", self.text)
        assert {place[:1] for place in places} == {"#"}
        assert {place[1:] for place in places} <= {*ids}
        assert {tag for tag, _ in self.elements}.isdisjoint({"script", "link", "img", "iframe"})
        assert not any("src" in each for _, each in self.elements)
        assert "@import" not in self.text


def evaluate(*overrides: str) -> Outcome:
    return call(arc.evaluate.main, *overrides)


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The rows of a table, the same in its two files."""
    rows = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    with path.with_suffix(".csv").open(encoding="utf-8", newline="") as file:
        texts = list(csv.DictReader(file))
    for row, text in zip(rows, texts, strict=True):
        shown = {key: "" if value is None else str(value) for key, value in row.items()}
        assert shown == {key: value for key, value in text.items() if key in row}
    return list(rows)


@pytest.fixture(scope="module")
def selection(tmp_path_factory: pytest.TempPathFactory, train_small: Make) -> Path:
    """The best checkpoint of a run of the selection task."""
    overrides = ("task=selection", "task.num_distractors=3", "bottleneck.max_message_length=3")
    run = train_small(tmp_path_factory.mktemp("selection"), *overrides)
    return Path(run.checkpoints.best)


@pytest.fixture(scope="module")
def seen(selection: Path) -> tuple[dict[str, Any], list[Observed]]:
    """The results of that run, and what its report shows besides."""
    observed: list[Observed] = []
    device = torch.device("cpu")
    found = evaluate_checkpoint(
        selection, device, EvaluationOptions(measures="fast", observe=observed.append)
    )
    return {str(selection): found | {"interventions": CHANGES}}, observed


@pytest.fixture(scope="module")
def report(seen: tuple[dict[str, Any], list[Observed]], selection: Path) -> Path:
    """The report on it."""
    path = selection.with_name("x.html")
    write_report(path, *seen)
    return path


def test_a_report_on_symbols(report: Path, seen: tuple[dict[str, Any], list[Observed]]) -> None:
    page, folder = Page(report), report.with_suffix("")
    page.check()
    assert page.sections == [
        *("results", "accuracy", "measures", "interventions", "symbols", "concepts"),
        *("dictionary", "neighbours", "examples", "training", "configuration", "all-keys"),
    ]
    names = set(json.loads((folder / "files.json").read_text(encoding="utf-8")))
    assert {each.name for each in folder.iterdir()} == names
    (found,) = seen[0].values()
    rows = rows_of(folder / "results")
    assert len(rows) == len(result_rows(found))
    for row in rows:
        assert row["low"] is None or row["low"] <= row["accuracy"] <= row["high"]
        assert f"{row['accuracy']:.2f}" in page.cells
    measures = {row.pop("measure"): row for row in rows_of(folder / "measures")}
    assert measures == found["measures"]
    changes = {
        (row["change"], row["position"]): row["accuracy"]
        for row in rows_of(folder / "interventions")
    }
    assert changes["permuted", None] == CHANGES["permuted"]
    assert changes["dropped", 2] == CHANGES["dropped_2"]
    frequencies = rows_of(folder / "symbols")
    for position in "123":
        assert sum(row[position] for row in frequencies) == pytest.approx(100)
    assert [row["concept"] for row in rows_of(folder / "concepts")][-1] == "puzzle"
    assert all(0 < row["precision"] <= 1 for row in rows_of(folder / "dictionary"))
    assert [row["step"] for row in rows_of(folder / "learning_curves")][-1] == 6
    changed = {row["key"]: row["value"] for row in rows_of(folder / "configuration")}
    assert (changed["model.name"], changed["task.num_distractors"]) == ("tiny", 3)
    drawings = [folder / name for name in names if name.endswith(".svg")]
    assert {"accuracy_random.svg", "symbols.svg", "concepts.svg"} <= {d.name for d in drawings}
    for drawing in drawings:
        assert ET.parse(drawing).getroot().tag.endswith("svg")


def test_neighbours_differ_in_one_symbol_and_are_different_grids(
    report: Path, seen: tuple[dict[str, Any], list[Observed]]
) -> None:
    split = seen[1][0].split
    grid = dict(zip(split.example_ids, split.sender.tolist(), strict=True))
    rows = rows_of(report.with_suffix("") / "neighbours")
    assert rows
    for row in rows:
        assert grid[row["first"]] != grid[row["second"]]
        pairs = zip(row["first_message"].split(), row["second_message"].split(), strict=True)
        different = [place for place, (one, other) in enumerate(pairs, 1) if one != other]
        assert different == ([] if row["position"] is None else [row["position"]])


OTHERS = {
    "vector": ["task=reconstruction", "bottleneck=autoencoder"],
    "transformation": ["task=transformation", "task.size=predicted"],
    "classes": ["task=puzzle_classification", "bottleneck.stop_token=true"],
}


@pytest.mark.parametrize(
    "case", ["vector", "classes", pytest.param("transformation", marks=pytest.mark.slow)]
)
def test_a_report_on_another_task(
    case: str, tmp_path: Path, arc_folder: Path, train_small: Make
) -> None:
    for path in arc_folder.rglob("*.json"):
        target = tmp_path / "data" / path.parent.name / f"<i>$_{path.name}"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    data = [f"data.path='{tmp_path / 'data'}'", "training.max_steps=1"]
    run = train_small(tmp_path, *OTHERS[case], *data)
    arc.api.evaluate(run, device="cpu", measures="none", report=tmp_path / "x.html")
    page, folder = Page(tmp_path / "x.html"), tmp_path / "x"
    page.check()
    assert "&lt;i&gt;$_" in page.text  # the name of a puzzle
    assert "<i>" not in page.text
    about = ["vectors"] if case == "vector" else ["symbols", "concepts", "dictionary"]
    assert {*page.sections} == {*ALWAYS, *about}
    kinds = [row["kind"] for row in rows_of(folder / "examples")]
    count = 6 if case == "classes" else 3  # there are three test puzzles
    assert kinds == ["worst"] * count + ["best"] * count
    if case == "vector":
        distances = [row["distance"] for row in rows_of(folder / "neighbours")]
        assert distances == sorted(distances)
        shares = [row["variance"] for row in rows_of(folder / "vectors")]
        assert sum(shares) == pytest.approx(100)


def test_a_report_without_held_out_data(
    tmp_path: Path, save_puzzles: Make, train_small: Make
) -> None:
    none = ["data.test=null", "data.validation_fraction=0", "training.max_steps=1"]
    grids = random_grids(4, seed=3)
    puzzles = save_puzzles({"a": ([grids[:2], grids[2:]], [])})
    run = train_small(tmp_path, "task=reconstruction", f"data.path={puzzles}", *none)
    arc.api.evaluate(run.checkpoints.last, device="cpu", report=tmp_path / "x.html")
    page = Page(tmp_path / "x.html")
    page.check()
    assert "configuration" in page.sections
    assert "examples" not in page.sections


def test_several_runs_are_side_by_side_with_the_mean_over_seeds(
    selection: Path, tmp_path: Path
) -> None:
    paths = []
    for seed in (0, 1):
        path = tmp_path / f"<b>{seed}" / "x.pth"
        path.parent.mkdir()
        content = torch.load(selection)
        content["config"]["seed"] = seed
        torch.save(content, path)
        paths.append(path)
    typed = [f"path='{path}'" for path in paths]
    output = tmp_path / "out.json"
    outcome = evaluate(*typed, "device=cpu", "report=true", f"output={output}", "measures=none")
    assert outcome.status == 0, outcome.err
    page = Page(paths[0].with_name("mine_report.html"))
    page.check()
    assert "<b>" not in page.text  # the runs have the same name, so their paths are shown
    assert f"{tmp_path}/&lt;b&gt;1/x.pth" in page.text
    runs = json.loads(output.read_text(encoding="utf-8"))["runs"]
    means = {(row["set"], row["metric"]): row for row in over_seeds(list(runs.values()))}
    rows = rows_of(paths[0].with_name("mine_report") / "seeds")
    assert len(rows) == len(means)
    for row in rows:
        expected = means[row["set"], row["metric"]]
        assert row["seeds"] == 2
        assert (row["mean"], row["low"], row["high"]) == (expected["mean"], *expected["interval"])
    labels = {row["run"] for row in rows_of(paths[0].with_name("mine_report") / "results")}
    assert labels == {*map(str, paths)}


def test_a_later_report_replaces_an_earlier_one_and_is_equal_for_equal_input(
    seen: tuple[dict[str, Any], list[Observed]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, folder = tmp_path / "x.html", tmp_path / "x"
    contents = []
    for _ in range(2):
        monkeypatch.setattr("arc.report.page.SECTIONS", (results, interventions))
        write_report(target, *seen)
        contents.append([path.read_bytes() for path in (target, *sorted(folder.iterdir()))])
    assert contents[0] == contents[1]
    (folder / "notes.csv").write_text("my own", encoding="utf-8")
    monkeypatch.setattr("arc.report.page.SECTIONS", (results,))
    write_report(target, *seen)
    assert {path.name for path in folder.iterdir()} == {
        *("files.json", "notes.csv", "results.csv", "results.json"),
    }


def test_a_missing_matplotlib_is_named_before_the_evaluation(selection: Path) -> None:
    with patch("importlib.util.find_spec", return_value=None):
        complaint = evaluate(f"path={selection}", "device=cpu", "report=true").complaint
    assert complaint == "report: needs Matplotlib: pip install -e '.[report]'"


def test_a_report_that_cannot_be_written_is_an_error_before_the_evaluation(
    selection: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "data.csv").touch()
    (tmp_path / "file").touch()
    cases = {
        tmp_path / "gone" / "x.html": "cannot be written: No such file",
        tmp_path / "mine.html": "not the folder of a report",
        tmp_path / "file.html": "not the folder of a report",
        tmp_path / "x.pdf": "must be true, false or a path that ends in .html",
    }
    for target, part in cases.items():
        complaint = evaluate(f"path={selection}", "device=cpu", f"report={target}").complaint
        assert part in complaint
    assert part in evaluate(f"path={selection}", "report=3").complaint
    with pytest.raises(ValueError, match=re.escape(part)):
        arc.api.evaluate(selection, device="cpu", report=tmp_path / "x.pdf")


def test_a_stopped_evaluation_writes_no_report(
    selection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: Any, **options: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return message_rows(*arguments, **options)

    monkeypatch.setattr("arc.runs.results.message_rows", interrupted)
    outcome = evaluate(f"path={selection}", "device=cpu", f"report={tmp_path / 'x.html'}")
    assert outcome.status == 143
    assert list(tmp_path.iterdir()) == []
