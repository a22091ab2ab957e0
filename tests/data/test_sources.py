"""Reading ARC JSON from folders and files."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from helpers_data import MakeCorpus

from arc.data import DataError
from arc.data.sources import read_puzzles

ONE = {"train": [{"input": [[1]], "output": [[2, 2]]}], "test": [{"input": [[3]], "output": [[4]]}]}


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def listed(pairs: Sequence[Any]) -> list[Any]:
    return [(a.tolist(), b.tolist()) for a, b in pairs]


def test_a_folder_is_read_in_the_order_of_its_file_names(tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        write(tmp_path / f"{name}.json", ONE)
    write(tmp_path / "notes.txt", "no puzzle")
    puzzles = read_puzzles(tmp_path)
    assert [puzzle.id for puzzle in puzzles] == ["a", "b", "c"]
    assert listed(puzzles[0].train) == [([[1]], [[2, 2]])]
    assert listed(puzzles[0].test) == [([[3]], [[4]])]


@pytest.mark.parametrize(
    ("content", "ids"), [({"second": ONE, "first": ONE}, ["first", "second"]), (ONE, ["p"])]
)
def test_a_file_holds_one_puzzle_or_many(tmp_path: Path, content: Any, ids: list[str]) -> None:
    assert [puzzle.id for puzzle in read_puzzles(write(tmp_path / "p.json", content))] == ids


def test_pairs_without_an_output_are_skipped(tmp_path: Path) -> None:
    test = [{"input": [[1]]}, {"input": [[2]], "output": None}, {"input": [[3]], "output": [[4]]}]
    path = write(tmp_path / "p.json", {"train": ONE["train"], "test": test})
    assert listed(read_puzzles(path)[0].test) == [([[3]], [[4]])]


def test_a_puzzle_without_tests(tmp_path: Path) -> None:
    path = write(tmp_path / "p.json", {"train": ONE["train"]})
    assert read_puzzles(path)[0].test == ()


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("{oops", "not JSON"),
        ("", "not JSON"),
        ([1, 2], "object"),
        ({}, "no puzzles"),
        ({"p": {"test": []}}, 'puzzle p: .*"train"'),
        ({"p": [1]}, 'puzzle p: .*"train"'),
        ({"p": {"train": [], "test": 3}}, "puzzle p, test: expected a list"),
        ({"p": {"train": [{"output": [[1]]}]}}, r'puzzle p, train\[0\]: .*"input"'),
        ({"p": {"train": [ONE["train"][0], 7]}}, r"puzzle p, train\[1\]: "),
        ({"p": {"train": [{"input": [[1]], "output": [[10]]}]}}, r"train\[0\]\.output: colour 10"),
        ({"p": {"train": [{"input": "x", "output": [[1]]}]}}, r"train\[0\]\.input: "),
    ],
)
def test_invalid_content_is_refused_with_its_place(
    tmp_path: Path, content: Any, named: str
) -> None:
    path = write(tmp_path / "bad.json", content)
    with pytest.raises(DataError, match=rf"bad\.json.*{named}"):
        read_puzzles(path)


@pytest.mark.parametrize(
    ("name", "named"),
    [("bytes", r"bad\.json: not JSON"), ("empty", r"no \.json files"), ("nowhere", "no such file")],
)
def test_unreadable_paths_are_refused(tmp_path: Path, name: str, named: str) -> None:
    for folder in ("bytes", "empty"):
        (tmp_path / folder).mkdir()
    (tmp_path / "bytes" / "bad.json").write_bytes(b"\xff\xfe\x00{")
    with pytest.raises(DataError, match=named):
        read_puzzles(tmp_path / name)


def test_subfolders_are_the_training_and_the_test_set(
    tmp_path: Path, make_corpus: MakeCorpus
) -> None:
    for part, color in (("training", 1), ("evaluation", 2)):
        for number in range(2):
            pair = {"input": [[color, number]], "output": [[color], [number]]}
            write(tmp_path / part / f"{part}{number}.json", {"train": [pair]})
    corpus = make_corpus(f"data.path={tmp_path}", "data.validation_fraction=0.5")
    assert {grid[0, 0] for grid in corpus.test.grids.arrays()} == {2}
    assert len(corpus.test) == 4
    assert len(corpus.training) == len(corpus.validation) == 2


def test_the_test_set_has_its_own_path(tmp_path: Path, make_corpus: MakeCorpus) -> None:
    test = write(tmp_path / "mine.json", {"x": {"train": [{"input": [[9, 9]], "output": [[8]]}]}})
    corpus = make_corpus(f"data.test={test}")
    assert corpus.test.puzzle_ids == ("x",)


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("data.path=null", "data.path"),
        ("data.path=/nowhere", "/nowhere"),
        ("data.test=arc3", r"data\.test='arc3'.*arc1, arc2"),
        ("data.also=[arc1,arc3]", r"data\.also='arc3'.*arc1, arc2"),
    ],
)
def test_a_missing_source_is_named(make_corpus: MakeCorpus, override: str, named: str) -> None:
    with pytest.raises(DataError, match=named):
        make_corpus(override)
