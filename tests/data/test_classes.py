"""Puzzle classification: labels, and pairs held out of each puzzle."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from helpers_data import MakeCorpus, SavePuzzles, contents, grid

from arc.data import Corpus
from arc.data.grids import content_key


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
        assert puzzle.startswith("t"), "evaluation puzzles have no class"
        assert label == 2 * ids.index(puzzle) + (side == "output")
    assert len(corpus.training.puzzle_ids) == len(ids) == 12


def test_one_demonstration_and_all_tests_of_each_puzzle_are_held_out(corpus: Corpus) -> None:
    held = {(place.split()[0], place.split()[2]) for place in corpus.validation.example_ids}
    assert len(held) == len({puzzle for puzzle, _ in held}) == 12
    assert {place.split()[1] for place in corpus.validation.example_ids} == {"train"}
    assert {place.split()[1] for place in corpus.test.example_ids} == {"test"}
    for place in corpus.training.example_ids:
        puzzle, part, index, _ = place.split()
        assert part == "train"
        assert (puzzle, index) not in held


def test_both_sides_of_a_held_out_pair_are_held_out(corpus_of: MakeCorpus) -> None:
    pairs: Any = {f"p{n}": ([(grid(n, 2, w), grid(n, 3, w)) for w in (1, 2)], []) for n in range(5)}
    corpus = corpus_of(pairs, validation=0.25, held_out="pairs")
    assert len(corpus.validation) == len(corpus.training) == 10
    assert all(count == 2 for count in np.bincount(corpus.validation.label // 2))


def test_a_puzzle_of_one_demonstration_keeps_it_for_training(corpus_of: MakeCorpus) -> None:
    puzzles = {"p": ([(grid(1), grid(2))], [(grid(3), grid(4))])}
    corpus = corpus_of(puzzles, validation=0.25, held_out="pairs")
    assert [len(corpus.training), len(corpus.validation), len(corpus.test)] == [2, 0, 2]


def test_labels_stay_below_the_number_of_classes(corpus_of: MakeCorpus) -> None:
    """Nothing of the first puzzle is in training: filtered by size, or a copy of a test grid."""
    first = ([(grid(1), grid(2))], [(grid(1, 2, 2), grid(2, 2, 2))])
    filtered = {"a": first, "b": ([(grid(3, 2, 2), grid(4, 2, 2))], [(grid(5, 2, 2), grid(6))])}
    copied = {"a": first, "b": ([(grid(3), grid(4))], [(grid(1), grid(2))])}
    for puzzles, settings in ((filtered, ["data.filter_grid_size=[2,2]"]), (copied, [])):
        corpus = corpus_of(puzzles, *settings, validation=0.25, held_out="pairs")
        assert corpus.training.puzzle_ids == ("b",)
        assert all(label < 2 for _, label in every_example(corpus))


def held_out(corpus: Corpus) -> list[tuple[str, ...]]:
    return [split.example_ids for split in (corpus.validation, corpus.test)]


def own_puzzles() -> dict[str, Any]:
    """Three puzzles of two demonstrations and a test pair."""
    return {
        f"p{n}": (
            [(grid(n, 1, w), grid(n, 2, w)) for w in (1, 2)],
            [(grid(n, 3), grid(n, 3, 2))],
        )
        for n in range(3)
    }


def test_all_pairs_of_additional_puzzles_are_trained_on(
    corpus_of: MakeCorpus, save_puzzles: SavePuzzles
) -> None:
    new = [(grid(9, 4, w), grid(9, 5, w)) for w in (1, 2, 3)]
    also = f"data.also=[{save_puzzles({'new': (new[:2], new[2:])}, 'more')}]"
    alone = corpus_of(own_puzzles(), validation=0.25, held_out="pairs")
    corpus = corpus_of(own_puzzles(), also, validation=0.25, held_out="pairs")
    assert held_out(corpus) == held_out(alone)
    assert len(corpus.validation) == len(corpus.test) == 6
    assert len(corpus.training) == len(alone.training) + 6
    assert len(corpus.training.puzzle_ids) == len(alone.training.puzzle_ids) + 1


def test_additional_pairs_of_a_known_puzzle_do_not_bring_its_held_out_pairs_into_training(
    corpus_of: MakeCorpus, save_puzzles: SavePuzzles
) -> None:
    own = own_puzzles()
    alone = corpus_of(own, validation=0.25, held_out="pairs")
    shown = next(int(id_.split()[2]) for id_ in alone.validation.example_ids if "p1" in id_)
    held, tested = own["p1"][0][shown], own["p2"][1][0]
    fresh = [(grid(8, 4, w), grid(8, 5, w)) for w in (1, 2, 3)]
    more: Any = {
        "p0": (fresh[:1], fresh[1:2]),  # other pairs of a known puzzle
        "p1": ([held, fresh[2]], []),  # shares the pair held out for validation
        "p2": ([(tested[1], grid(7, 5))], []),  # another pair with a grid of its test pair
    }
    also = f"data.also=[{save_puzzles(more, 'more')}]"
    corpus = corpus_of(own, also, validation=0.25, held_out="pairs")
    assert held_out(corpus) == held_out(alone)
    assert corpus.training.puzzle_ids == alone.training.puzzle_ids
    added = contents(corpus.training) - contents(alone.training)
    wanted = [*fresh[0], *fresh[1], grid(7, 5)]
    assert added == {content_key(each.astype(np.uint8)) for each in wanted}
    for split in (corpus.validation, corpus.test):
        assert contents(corpus.training).isdisjoint(contents(split))
    labels = {(name.split()[0], label // 2) for name, label in every_example(corpus)}
    assert len(labels) == 3


def test_additional_pairs_do_not_bring_back_a_puzzle_without_training_pairs(
    corpus_of: MakeCorpus, save_puzzles: SavePuzzles
) -> None:
    own = own_puzzles() | {"q": ([(grid(0, 3), grid(0, 3, 2))], [(grid(6), grid(6, 2))])}
    also = f"data.also=[{save_puzzles({'q': ([(grid(9, 4), grid(9, 5))], [])}, 'more')}]"
    alone = corpus_of(own, validation=0.25, held_out="pairs")
    corpus = corpus_of(own, also, validation=0.25, held_out="pairs")
    assert "q" not in alone.training.puzzle_ids
    assert held_out(corpus) == held_out(alone)
    assert corpus.training.puzzle_ids == (*alone.training.puzzle_ids, "q")
