"""Data as they are downloaded: which files are read, and which notes name the others."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from helpers_data import MakeCorpus

from arc.data import DataError
from arc.data.grids import check_grid
from arc.data.sources import read_puzzles


def pair(color: int) -> dict[str, Any]:
    return {"input": [[color]], "output": [[color, color]]}


def puzzle(color: int, width: int = 1) -> dict[str, Any]:
    grid = [[color] * width]
    return {"train": [{"input": grid, "output": grid * 2}], "test": []}


def write(folder: Path, files: Mapping[str, Any]) -> Path:
    """Write each file's content: bytes, text, or an object as JSON."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = content if isinstance(content, str | bytes) else json.dumps(content)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def challenge(color: int) -> dict[str, Any]:
    return {"train": [pair(color)], "test": [{"input": [[color] * 3]}]}


MAC = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X"
# Each: the files of a folder, and the ids that are read from it.
LAYOUTS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "AppleDouble": ({"a.json": puzzle(1), "._a.json": MAC, ".DS_Store": MAC}, ["a"]),
    "archive": ({"a.json": puzzle(1), "__MACOSX/._a.json": MAC}, ["a"]),
    "hidden folder": ({"x/a.json": puzzle(1), ".git/b.json": puzzle(2)}, ["x/a"]),
    "byte order mark": ({"a.json": b"\xef\xbb\xbf" + json.dumps(puzzle(1)).encode()}, ["a"]),
    "upper case": ({"A.JSON": puzzle(1)}, ["A"]),
    "concepts": (
        {"Above/Above1.json": puzzle(1), "Below/Below1.json": puzzle(2)},
        ["Above/Above1", "Below/Below1"],
    ),
    "the same name twice": ({"a/0.json": puzzle(1), "b/0.json": puzzle(2)}, ["a/0", "b/0"]),
    "lists of pairs": ({"a.json": [pair(1), pair(2)], "b.json": [pair(3)]}, ["a", "b"]),
    "results below": ({"a.json": puzzle(1), "checkpoints/x_results.json": {"test": 1}}, ["a"]),
    "files of many": (
        {"x.json": {"p": puzzle(1), "q": puzzle(2)}, "y.json": {"p": puzzle(3)}},
        ["x/p", "x/q", "y/p"],
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_folder_is_read_whatever_else_is_in_it(tmp_path: Path, name: str) -> None:
    files, ids = LAYOUTS[name]
    assert [puzzle.id for puzzle in read_puzzles(write(tmp_path, files))] == ids


def test_a_list_holds_the_demonstration_pairs_of_a_puzzle(tmp_path: Path) -> None:
    path = write(tmp_path, {"a.json": [pair(1), pair(2)]})
    (read,) = read_puzzles(path)
    assert [grid.tolist() for grid, _ in read.train] == [[[1]], [[2]]]
    assert read.test == ()


def test_a_link_to_a_folder_is_followed_and_a_loop_is_not(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere", {"b.json": puzzle(2)})
    folder = write(tmp_path / "mine", {"x/a.json": puzzle(1)})
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "x" / "loop").symlink_to(folder)
    assert [puzzle.id for puzzle in read_puzzles(folder)] == ["linked/b", "x/a"]


def test_bytes_of_a_name_that_are_not_utf_8_are_escaped(
    tmp_path: Path, make_corpus: MakeCorpus
) -> None:
    write(tmp_path, {f"{n}.json": puzzle(n, width=n) for n in range(1, 5)})
    os.rename(tmp_path / "1.json", os.fsencode(tmp_path) + b"/caf\xe9.json")
    corpus = make_corpus(f"data.path={tmp_path}")
    assert "caf\\udce9" in corpus.training.puzzle_ids + corpus.validation.puzzle_ids


KAGGLE = {
    "arc-agi_training_challenges.json": {"t": challenge(1)},
    "arc-agi_training_solutions.json": {"t": [[[5]]]},
    "arc-agi_evaluation_challenges.json": {"e": challenge(2)},
    "arc-agi_evaluation_solutions.json": {"e": [[[6]]]},
    "arc-agi_test_challenges.json": {"u": challenge(3)},
    "sample_submission.json": {"u": [{"attempt_1": [[0]]}]},
}
REPOSITORY = {
    "data/training/t.json": {"train": [pair(1)], "test": [{"input": [[1] * 3], "output": [[5]]}]},
    "data/evaluation/e.json": {"train": [pair(2)], "test": [{"input": [[2] * 3], "output": [[6]]}]},
    "apps/settings.json": {"theme": "dark"},
}


@pytest.mark.parametrize("files", [KAGGLE, REPOSITORY], ids=["Kaggle", "repository"])
def test_a_download_has_its_training_and_evaluation_puzzles(
    tmp_path: Path, make_corpus: MakeCorpus, files: dict[str, Any]
) -> None:
    folder = write(tmp_path / "all", files)
    mine = write(tmp_path / "mine", {"a.json": puzzle(4, 4), "b.json": puzzle(7, 7)})
    corpus = make_corpus(f"data.path={folder}", "data.validation_fraction=0")
    other = make_corpus(f"data.path={mine}", f"data.test={folder}")
    assert corpus.training.example_ids == tuple(
        f"t {part} 0 {side}" for part in ("train", "test") for side in ("input", "output")
    )
    assert corpus.training.grids.arrays()[3].tolist() == [[5]]
    assert corpus.test.puzzle_ids == other.test.puzzle_ids == ("e",)
    assert corpus.notes == []


TWICE = '{"p": {}, "p": {}, "q": {}}'
FAULTS: dict[str, tuple[dict[str, Any], str, str]] = {
    "two ids": ({"x.json": TWICE}, "x.json", r"x\.json: 1 ids or keys occur more than once: p$"),
    "two keys": ({"x.json": '{"train": [], "train": []}'}, "", r"x\.json: 1 .* once: train"),
    "deep": ({"x.json": "[" * 100_000}, "", r"x\.json: nested too deeply"),
    "no puzzle": ({"x.json": {"theme": "dark"}}, "", r"x\.json, puzzle theme: a puzzle is"),
    "solutions": (KAGGLE, "arc-agi_training_solutions.json", "to arc-agi_training_challenges"),
    "too many solutions": (
        {"challenges.json": {"p": challenge(1)}, "solutions.json": {"p": [[[1]], [[2]]]}},
        "challenges.json",
        r"solutions\.json, puzzle p: expected 1 outputs",
    ),
    "no solutions": (
        {"challenges.json": {"p": challenge(1)}, "solutions.json": [1]},
        "",
        r"solutions\.json: expected an object",
    ),
    "only hidden files": ({"._a.json": MAC}, "", r"no \.json files"),
    "boolean": ({"x.json": '{"train": [{"input": [[1, true]], "output": [[1]]}]}'}, "", "got bool"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    files, path, fault = FAULTS[name]
    with pytest.raises(DataError, match=fault):
        read_puzzles(write(tmp_path, files) / path)


@pytest.mark.parametrize("rows", [[[1, True]], [[1], [False]], [[True]]])
def test_a_boolean_is_no_colour(rows: Any) -> None:
    with pytest.raises(DataError, match="got bool"):
        check_grid(rows, "here")


def test_what_is_left_out_is_noted(tmp_path: Path, make_corpus: MakeCorpus) -> None:
    learned = {f"{n}": {**challenge(n), "train": [pair(n)]} for n in range(1, 6)}
    learned["none"] = {"train": [{"input": [[9]]}], "test": []}
    path = write(tmp_path, {"all.json": learned, "test.json": {"1": puzzle(8), "x": learned["2"]}})
    corpus = make_corpus(f"data.path={path}/all.json", f"data.test={path}/test.json")
    assert corpus.notes == [
        "training: 6 pairs without an output left out",
        "training: 1 puzzle without a pair left out (none)",
        "test: 1 pair without an output left out",
        "training: 1 puzzle removed because of pairs that are in the test set (2)",
    ]
    assert "1" in corpus.training.puzzle_ids + corpus.validation.puzzle_ids
    assert corpus.test.puzzle_ids == ("1", "x")
