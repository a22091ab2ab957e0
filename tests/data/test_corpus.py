"""The three sets: what each holds, and that no content stands in two of them."""

import itertools
from typing import Any

import pytest
from helpers_data import MakeCorpus, SavePuzzles, contents, grid, puzzles_of

from arc.data import Corpus, DataError, Split

WAYS = [
    pytest.param({"pairs": False, "held_out": "puzzles"}, id="grids"),
    pytest.param({"pairs": True, "held_out": "puzzles"}, id="pairs"),
    pytest.param({"pairs": False, "held_out": "pairs"}, id="classification"),
]


def splits(corpus: Corpus) -> tuple[Split, Split, Split]:
    return corpus.training, corpus.validation, corpus.test


@pytest.fixture(scope="module", params=["folder", "arc1", "arc2"])
def data(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module", params=WAYS)
def way(request: pytest.FixtureRequest) -> dict[str, Any]:
    return request.param


@pytest.fixture(scope="module")
def corpus(make_corpus: MakeCorpus, data: str, way: dict[str, Any]) -> Corpus:
    return make_corpus(f"data={data}", **way)


def test_no_content_stands_in_two_sets(corpus: Corpus) -> None:
    for one, other in itertools.combinations(splits(corpus), 2):
        assert contents(one)
        assert contents(one).isdisjoint(contents(other)), (one.name, other.name)


def test_puzzles_are_held_out_whole_or_for_naming_pairs(
    corpus: Corpus, way: dict[str, Any]
) -> None:
    words = 1 if way["held_out"] == "puzzles" else 3  # of "puzzle part number side"
    units = [
        {tuple(place.split()[:words]) for place in split.example_ids} for split in splits(corpus)
    ]
    for one, other in itertools.combinations(units, 2):
        assert one.isdisjoint(other)


def test_the_split_depends_on_its_seed_alone(make_corpus: MakeCorpus, way: dict[str, Any]) -> None:
    first, again, other = (
        make_corpus(f"data.split_seed={seed}", "data.validation_fraction=0.5", **way)
        for seed in (0, 0, 1)
    )
    assert [split.example_ids for split in splits(first)] == [
        split.example_ids for split in splits(again)
    ]
    assert first.fingerprint == again.fingerprint
    assert first.validation.example_ids != other.validation.example_ids
    assert first.fingerprint != other.fingerprint


def test_held_out_copies_leave_training_and_a_note_says_so(
    save_puzzles: SavePuzzles, make_corpus: MakeCorpus
) -> None:
    copied, n = grid(9, 3, 3), 8
    learning: dict[str, Any] = {
        f"p{i}": ([(grid(i), grid(i, 2)), (grid(i, 3), copied)], []) for i in range(n)
    }
    test = save_puzzles({"x": ([(copied, grid(7, 7, 7))], [])}, "test")
    corpus = make_corpus(f"data.path={save_puzzles(learning)}", f"data.test={test}")
    assert [len(split) for split in splits(corpus)] == [18, 6, 2]
    assert [note for note in corpus.notes if note.startswith("training: 6 examples removed")]
    assert [note for note in corpus.notes if note.startswith("validation: 2 examples removed")]


def test_in_pair_mode_a_copied_input_or_output_removes_the_pair(
    save_puzzles: SavePuzzles, make_corpus: MakeCorpus
) -> None:
    learning: dict[str, Any] = {
        "p0": ([(grid(1), grid(1, 2)), (grid(9), grid(1, 3))], []),
        "p1": ([(grid(2), grid(2, 2)), (grid(2, 3), grid(8))], []),
    }
    test = save_puzzles({"x": ([(grid(8), grid(9))], [])}, "test")
    path = f"data.path={save_puzzles(learning)}"
    corpus = make_corpus(path, f"data.test={test}", "data.validation_fraction=0", pairs=True)
    assert corpus.training.example_ids == ("p0 train 0", "p1 train 0")


def test_a_test_puzzle_is_not_learned_from_even_in_part(
    save_puzzles: SavePuzzles, make_corpus: MakeCorpus
) -> None:
    shared = (grid(1, 2), grid(2, 2))
    learning: dict[str, Any] = {
        "old": ([shared, (grid(3), grid(4))], []),
        "same": ([(grid(5), grid(6))], []),
        "free": ([(grid(7), grid(8))], []),
    }
    test: dict[str, Any] = {"new": ([shared], []), "same": ([(grid(5, 3), grid(6, 3))], [])}
    corpus = make_corpus(
        f"data.path={save_puzzles(learning)}",
        f"data.test={save_puzzles(test, 'test')}",
        "data.validation_fraction=0",
    )
    assert corpus.training.puzzle_ids == ("free",)
    assert "training: 2 puzzles removed because they are in the test set" in corpus.notes


def test_arc2_without_the_evaluation_puzzles_of_arc1(make_corpus: MakeCorpus) -> None:
    corpus = make_corpus("data=arc2", "data.test=arc1")
    learned = puzzles_of(corpus.training) | puzzles_of(corpus.validation)
    assert len(puzzles_of(corpus.test)) == 400
    assert learned.isdisjoint(puzzles_of(corpus.test))
    assert 600 < len(learned) < 650  # of 1000; most of ARC-1's evaluation puzzles stand in ARC-2
    assert contents(corpus.training).isdisjoint(contents(corpus.test))


@pytest.mark.parametrize(("pairs", "examples"), [(False, 6), (True, 3)])
def test_every_grid_is_an_example_in_the_order_of_the_data(
    save_puzzles: SavePuzzles, make_corpus: MakeCorpus, pairs: bool, examples: int
) -> None:
    puzzle = ([(grid(1), grid(2)), (grid(3), grid(4))], [(grid(5), grid(6))])
    path = save_puzzles({"p": puzzle})
    split = make_corpus(f"data.path={path}", "data.validation_fraction=0", pairs=pairs).training
    seen = [int(split.grids.arrays()[index][0, 0]) for index in split.sender]
    asked = [int(split.grids.arrays()[index][0, 0]) for index in split.target]
    assert len(split) == examples
    assert seen == ([1, 3, 5] if pairs else [1, 2, 3, 4, 5, 6])
    assert asked == ([2, 4, 6] if pairs else seen)


def test_equal_contents_are_held_once(save_puzzles: SavePuzzles, make_corpus: MakeCorpus) -> None:
    path = save_puzzles({"p": ([(grid(1), grid(2)), (grid(2), grid(1)), (grid(3), grid(1))], [])})
    split = make_corpus(f"data.path={path}", "data.validation_fraction=0").training
    assert len(split) == 6
    assert len(split.grids) == len(split.candidates) == 3
    assert split.target.tolist() == [0, 1, 1, 0, 2, 0]


@pytest.mark.parametrize("wanted", [9, 12, 20])
def test_max_grids_counts_what_is_learned_from(
    save_puzzles: SavePuzzles, make_corpus: MakeCorpus, way: dict[str, Any], wanted: int
) -> None:
    shapes = [(height, width) for height in range(1, 7) for width in range(1, 4)]
    pairs = [(grid(1, *shape), grid(2, *shape)) for shape in shapes]
    puzzles: dict[str, Any] = {
        f"p{n}": (pairs[3 * n : 3 * n + 2], pairs[3 * n + 2 : 3 * n + 3]) for n in range(6)
    }
    settings = (f"data.path={save_puzzles(puzzles)}", "data.validation_fraction=0.2")
    everything = make_corpus(*settings, **way)
    corpus = make_corpus(*settings, f"data.max_grids={wanted}", **way)
    available = sum(len(split) for split in splits(everything))
    assert sum(len(split) for split in splits(corpus)) == min(wanted, available)
    grids_in_each = 3 if way["pairs"] else 6
    learned = puzzles_of(corpus.training) | puzzles_of(corpus.validation)
    assert max(learned) == f"p{(min(wanted, available) - 1) // grids_in_each}"  # the first ones


@pytest.mark.parametrize("nothing", ["null", "0", "100000"])
def test_max_grids_may_ask_for_all(make_corpus: MakeCorpus, nothing: str) -> None:
    assert make_corpus(f"data.max_grids={nothing}").fingerprint == make_corpus().fingerprint


def test_filter_grid_size_keeps_that_size_everywhere(
    make_corpus: MakeCorpus, way: dict[str, Any]
) -> None:
    corpus = make_corpus("data.filter_grid_size=[3,3]", "data.max_grids=8", **way)
    everything = make_corpus(**way)
    assert 0 < len(corpus.training) < len(everything.training)
    for split in splits(corpus):
        assert all(array.shape == (3, 3) for array in split.grids.arrays())


def test_filter_grid_size_asks_both_grids_of_a_pair(
    save_puzzles: SavePuzzles, make_corpus: MakeCorpus
) -> None:
    pairs = [(grid(1, 2, 3), grid(2, 2, 3)), (grid(3, 2, 3), grid(4)), (grid(5), grid(6, 2, 3))]
    settings = (f"data.path={save_puzzles({'p': (pairs, [])})}", "data.filter_grid_size=[2,3]")
    corpus = make_corpus(*settings, "data.validation_fraction=0", pairs=True)
    assert corpus.training.example_ids == ("p train 0",)


def test_nothing_left_to_learn_from_is_an_error_that_says_why(make_corpus: MakeCorpus) -> None:
    with pytest.raises(
        DataError, match=r"training set is empty.*filter_grid_size: 0 of 96 examples are 30 x 30"
    ):
        make_corpus("data.filter_grid_size=[30,30]")


@pytest.mark.parametrize("fraction", [0.0, 0.25, 0.5])
def test_validation_takes_its_share_of_the_puzzles(
    make_corpus: MakeCorpus, fraction: float
) -> None:
    corpus = make_corpus(f"data.validation_fraction={fraction}")
    assert len(corpus.validation.puzzle_ids) == round(12 * fraction)


def test_short_representations(make_corpus: MakeCorpus) -> None:
    corpus = make_corpus("data.validation_fraction=0.25")
    split = corpus.validation
    assert repr(split) == f"Split(validation: {len(split)} examples, {len(split.grids)} grids)"
    assert repr(split.grids) == f"Grids({len(split.grids)} grids on cpu)"
    assert repr(corpus).count("Split(") == 3


def test_one_changed_cell_changes_the_fingerprint(
    save_puzzles: SavePuzzles, make_corpus: MakeCorpus
) -> None:
    paths = [save_puzzles({"p": ([(grid(1), grid(color))], [])}, f"c{color}") for color in (2, 3)]
    marks = {
        make_corpus(f"data.path={path}", "data.validation_fraction=0").fingerprint for path in paths
    }
    assert len(marks) == 2
