"""Naming puzzles: labels, and pairs held out of each puzzle."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from helpers_data import MakeCorpus, SavePuzzles, grid

from arc.data import Corpus


@pytest.fixture
def corpus(make_corpus: MakeCorpus) -> Corpus:
    return make_corpus(held_out="pairs")


def every_example(corpus: Corpus) -> Iterator[tuple[str, int]]:
    for split in (corpus.training, corpus.validation, corpus.test):
        yield from zip(split.example_ids, split.label.tolist(), strict=True)


def test_the_label_is_twice_the_puzzle_plus_the_side(corpus: Corpus) -> None:
    ids = sorted({place.split()[0] for place, _ in every_example(corpus)})
    for place, label in every_example(corpus):
        puzzle, _, _, side = place.split()
        assert label == 2 * ids.index(puzzle) + (side == "output")
    assert corpus.num_puzzles == len(ids) == 12


def test_one_demonstration_of_each_puzzle_is_held_out_and_all_its_tests(corpus: Corpus) -> None:
    held = {(place.split()[0], place.split()[2]) for place in corpus.validation.example_ids}
    assert len(held) == len({puzzle for puzzle, _ in held}) == 12
    assert {place.split()[1] for place in corpus.validation.example_ids} == {"train"}
    assert {place.split()[1] for place in corpus.test.example_ids} == {"test"}
    for place in corpus.training.example_ids:
        puzzle, part, index, _ = place.split()
        assert part == "train"
        assert (puzzle, index) not in held


def test_both_sides_of_a_held_out_pair_are_held_out(
    save_puzzles: SavePuzzles, make_corpus: MakeCorpus
) -> None:
    pairs: dict[str, Any] = {
        f"p{n}": ([(grid(n, 2, w), grid(n, 3, w)) for w in (1, 2)], []) for n in range(5)
    }
    corpus = make_corpus(f"data.path={save_puzzles(pairs)}", held_out="pairs")
    assert len(corpus.validation) == len(corpus.training) == 10
    assert all(count == 2 for count in np.bincount(corpus.validation.label // 2))


def test_a_puzzle_of_one_demonstration_keeps_it_for_training(
    save_puzzles: SavePuzzles, make_corpus: MakeCorpus
) -> None:
    path = save_puzzles({"p": ([(grid(1), grid(2))], [(grid(3), grid(4))])})
    corpus = make_corpus(f"data.path={path}", held_out="pairs")
    assert [len(corpus.training), len(corpus.validation), len(corpus.test)] == [2, 0, 2]


def test_the_evaluation_puzzles_are_not_named(corpus: Corpus) -> None:
    assert all(place.startswith("t") for place, _ in every_example(corpus))


def test_labels_stay_below_the_number_of_classes_whatever_is_filtered(
    save_puzzles: SavePuzzles, make_corpus: MakeCorpus
) -> None:
    """The first puzzle has the wanted size in its test alone, so nothing of it is learned."""
    puzzles: dict[str, Any] = {
        "a": ([(grid(1), grid(2))], [(grid(1, 2, 2), grid(2, 2, 2))]),
        "b": ([(grid(3, 2, 2), grid(4, 2, 2))], [(grid(5, 2, 2), grid(6, 2, 2))]),
    }
    settings = (f"data.path={save_puzzles(puzzles)}", "data.filter_grid_size=[2,2]")
    corpus = make_corpus(*settings, held_out="pairs")
    assert all(label < 2 * corpus.num_puzzles for _, label in every_example(corpus))


def test_labels_stay_below_the_number_of_classes_whatever_is_copied(
    save_puzzles: SavePuzzles, make_corpus: MakeCorpus
) -> None:
    """All that the first puzzle would teach stands in the second one's test."""
    puzzles: dict[str, Any] = {
        "a": ([(grid(1), grid(2))], [(grid(1, 2, 2), grid(2, 2, 2))]),
        "b": ([(grid(3), grid(4))], [(grid(1), grid(2))]),
    }
    corpus = make_corpus(f"data.path={save_puzzles(puzzles)}", held_out="pairs")
    assert corpus.training.puzzle_ids == ("b",)
    assert all(label < 2 * corpus.num_puzzles for _, label in every_example(corpus))
