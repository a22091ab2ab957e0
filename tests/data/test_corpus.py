"""The three splits: what each holds, and that no two of them share content."""

import itertools
from typing import Any

import pytest
from helpers_cli import Make
from helpers_data import MakeCorpus, SavePuzzles, contents, grid, puzzles_of

from arc.data import Corpus, DataError, Split, SplitSpec, load_corpus, with_test
from arc.data.grids import content_key

WAYS = [
    pytest.param({"pairs": False, "held_out": "puzzles"}, id="grids"),
    pytest.param({"pairs": True, "held_out": "puzzles"}, id="pairs"),
    pytest.param({"pairs": False, "held_out": "pairs"}, id="classification"),
]


def splits(corpus: Corpus) -> tuple[Split, Split, Split]:
    return corpus.training, corpus.validation, corpus.test


@pytest.fixture(scope="module", params=WAYS)
def way(request: pytest.FixtureRequest) -> dict[str, Any]:
    return request.param


@pytest.fixture(
    scope="module",
    params=["folder", *(pytest.param(data, marks=pytest.mark.slow) for data in ("arc1", "arc2"))],
)
def corpus(make_corpus: MakeCorpus, way: dict[str, Any], request: pytest.FixtureRequest) -> Corpus:
    return make_corpus(f"data={request.param}", **way)


def test_no_two_splits_share_content(corpus: Corpus) -> None:
    for one, other in itertools.combinations(splits(corpus), 2):
        assert contents(one)
        assert contents(one).isdisjoint(contents(other)), (one.name, other.name)


def test_no_two_splits_share_a_unit(corpus: Corpus, way: dict[str, Any]) -> None:
    """The unit is a puzzle, or in puzzle classification a pair."""
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


def test_copies_of_held_out_grids_leave_training_with_a_note(corpus_of: MakeCorpus) -> None:
    copied, n = grid(9, 3, 3), 8
    learned: Any = {f"p{i}": ([(grid(i), grid(i, 2)), (grid(i, 3), copied)], []) for i in range(n)}
    corpus = corpus_of(learned, validation=0.25, test={"x": ([(copied, grid(7, 7, 7))], [])})
    assert [len(split) for split in splits(corpus)] == [18, 6, 2]
    assert [note for note in corpus.notes if note.startswith("training: 6 examples removed")]
    assert [note for note in corpus.notes if note.startswith("validation: 2 examples removed")]


def test_in_pair_mode_a_copied_input_or_output_removes_the_pair(corpus_of: MakeCorpus) -> None:
    learned: Any = {
        "p0": ([(grid(1), grid(1, 2)), (grid(9), grid(1, 3))], []),
        "p1": ([(grid(2), grid(2, 2)), (grid(2, 3), grid(8))], []),
    }
    corpus = corpus_of(learned, test={"x": ([(grid(8), grid(9))], [])}, pairs=True)
    assert corpus.training.example_ids == ("p0 train 0", "p1 train 0")


def test_a_puzzle_with_a_pair_of_a_test_puzzle_leaves_training_whatever_its_id(
    corpus_of: MakeCorpus,
) -> None:
    shared = (grid(1, 2), grid(2, 2))
    learned: Any = {
        "old": ([shared, (grid(3), grid(4))], []),
        "same": ([(grid(5), grid(6))], []),
        "free": ([(grid(7), grid(8))], []),
    }
    test: Any = {"new": ([shared], []), "same": ([(grid(5, 3), grid(6, 3))], [])}
    corpus = corpus_of(learned, test=test)
    assert corpus.training.puzzle_ids == ("free", "same")
    assert len(corpus.training) == 4
    fault = "1 puzzle removed because of pairs that are in the test set (old)"
    assert f"training: {fault}" in corpus.notes


def test_arc2_excludes_the_evaluation_puzzles_of_arc1(make_corpus: MakeCorpus) -> None:
    corpus = make_corpus("data=arc2", "data.test=arc1")
    learned = puzzles_of(corpus.training) | puzzles_of(corpus.validation)
    assert len(puzzles_of(corpus.test)) == 400
    assert learned.isdisjoint(puzzles_of(corpus.test))
    assert 600 < len(learned) < 650  # of 1000; ARC-2 holds most of ARC-1's evaluation puzzles
    assert contents(corpus.training).isdisjoint(contents(corpus.test))


def test_arc2_is_added_to_the_training_set_of_arc1_alone(make_corpus: MakeCorpus) -> None:
    alone = make_corpus("data=arc1")
    corpus = make_corpus("data=arc1", "data.also=[arc2]")
    for one, other in ((alone.validation, corpus.validation), (alone.test, corpus.test)):
        assert one.example_ids == other.example_ids
    added = puzzles_of(corpus.training) - puzzles_of(alone.training)
    assert puzzles_of(alone.training) <= puzzles_of(corpus.training)
    assert 200 < len(added) < 300
    held_out = contents(corpus.validation) | contents(corpus.test)
    assert contents(corpus.training).isdisjoint(held_out)
    assert any("of 1000 puzzles added from arc2" in note for note in corpus.notes)


def test_additional_puzzles_are_not_copies_and_not_held_out(
    corpus_of: MakeCorpus, save_puzzles: SavePuzzles
) -> None:
    own: Any = {f"p{n}": ([(grid(n), grid(n, 2))], []) for n in range(4)}
    (held,) = corpus_of(own, validation=0.25).validation.puzzle_ids
    (known, *_) = [id_ for id_ in own if id_ != held]
    more: Any = {
        "copy": ([(grid(8), grid(8, 2)), *own[known][0]], []),
        held: ([(grid(6), grid(6, 2))], []),
        known: ([(grid(7), grid(7, 2))], []),
        "new": ([(grid(5), grid(5, 2))], [(grid(9), grid(9, 2))]),
    }
    also = f"data.also=[{save_puzzles(more, 'more')}]"
    corpus = corpus_of(own, also, validation=0.25)
    assert corpus.validation.puzzle_ids == (held,)
    assert len(corpus.validation) == 2
    ids = corpus.training.example_ids
    assert len(ids) == len(set(ids)) == 6 + 2 + 4
    assert {f"{known} train {n} input" for n in (0, 1)} | {"new test 0 output"} < set(ids)
    assert contents(corpus.training).isdisjoint({content_key(grid(n)) for n in (6, 8)})
    assert any(note.startswith("training: 3 of 4 puzzles added from ") for note in corpus.notes)
    assert f"1 puzzle of data.also removed: same id as a validation puzzle ({held})" in " ".join(
        corpus.notes
    )


@pytest.mark.parametrize("pairs", [False, True])
def test_examples_keep_the_order_of_the_data(corpus_of: MakeCorpus, pairs: bool) -> None:
    puzzle = ([(grid(1), grid(2)), (grid(3), grid(4))], [(grid(5), grid(6))])
    split = corpus_of({"p": puzzle}, pairs=pairs).training
    sent = [int(split.grids.arrays()[index][0, 0]) for index in split.sender]
    targets = [int(split.grids.arrays()[index][0, 0]) for index in split.target]
    assert sent == ([1, 3, 5] if pairs else [1, 2, 3, 4, 5, 6])
    assert targets == ([2, 4, 6] if pairs else sent)


def test_equal_contents_are_stored_once(corpus_of: MakeCorpus) -> None:
    pairs = [(grid(1), grid(2)), (grid(2), grid(1)), (grid(3), grid(1))]
    split = corpus_of({"p": (pairs, [])}).training
    assert len(split) == 6
    assert len(split.grids) == len(split.candidates) == 3
    assert split.target.tolist() == [0, 1, 1, 0, 2, 0]


def test_max_grids_counts_examples(corpus_of: MakeCorpus, way: dict[str, Any]) -> None:
    shapes = [(height, width) for height in range(1, 7) for width in range(1, 4)]
    pairs = [(grid(1, *shape), grid(2, *shape)) for shape in shapes]
    puzzles = {f"p{n}": (pairs[3 * n : 3 * n + 2], pairs[3 * n + 2 : 3 * n + 3]) for n in range(6)}
    everything = corpus_of(puzzles, validation=0.2, **way)
    available = sum(len(split) for split in splits(everything))
    grids_in_each = 3 if way["pairs"] else 6
    for wanted in (9, 12, 20):
        corpus = corpus_of(puzzles, f"data.max_grids={wanted}", validation=0.2, **way)
        assert sum(len(split) for split in splits(corpus)) == min(wanted, available)
        learned = puzzles_of(corpus.training) | puzzles_of(corpus.validation)
        last = (min(wanted, available) - 1) // grids_in_each
        assert max(learned) == f"p{last}", wanted  # the first ones


@pytest.mark.parametrize("unlimited", ["null", "0", "100000"])
def test_max_grids_can_be_unlimited(make_corpus: MakeCorpus, unlimited: str) -> None:
    assert make_corpus(f"data.max_grids={unlimited}").fingerprint == make_corpus().fingerprint


def test_filter_grid_size_keeps_one_size(make_corpus: MakeCorpus, way: dict[str, Any]) -> None:
    corpus = make_corpus("data.filter_grid_size=[3,3]", "data.max_grids=8", **way)
    assert 0 < len(corpus.training) < len(make_corpus(**way).training)
    for split in splits(corpus):
        assert all(array.shape == (3, 3) for array in split.grids.arrays())


def test_filter_grid_size_applies_to_both_grids_of_a_pair(corpus_of: MakeCorpus) -> None:
    pairs = [(grid(1, 2, 3), grid(2, 2, 3)), (grid(3, 2, 3), grid(4)), (grid(5), grid(6, 2, 3))]
    corpus = corpus_of({"p": (pairs, [])}, "data.filter_grid_size=[2,3]", pairs=True)
    assert corpus.training.example_ids == ("p train 0",)


def test_an_empty_training_set_is_an_error_with_its_reason(make_corpus: MakeCorpus) -> None:
    reason = r"training set is empty.*filter_grid_size: 0 of 96 examples are 30 x 30"
    with pytest.raises(DataError, match=reason):
        make_corpus("data.filter_grid_size=[30,30]")


@pytest.mark.parametrize("fraction", [0.0, 0.25, 0.5])
def test_validation_takes_its_fraction_of_puzzles(make_corpus: MakeCorpus, fraction: float) -> None:
    corpus = make_corpus(f"data.validation_fraction={fraction}")
    assert len(corpus.validation.puzzle_ids) == round(12 * fraction)


@pytest.mark.parametrize("pairs", [False, True])
def test_another_test_set_has_no_grid_of_the_training_set(
    make_config: Make, save_puzzles: SavePuzzles, pairs: bool
) -> None:
    """A pair leaks if one of its grids does; the training puzzles stay whole."""
    own: dict[str, Any] = {"p": ([(grid(1), grid(2))], [])}
    other: dict[str, Any] = {
        "q": ([(grid(1), grid(2)), (grid(3), grid(4)), (grid(2), grid(5))], [])
    }
    typed = [f"data.path={save_puzzles(own)}", "data.validation_fraction=0"]
    spec = SplitSpec(pairs, "puzzles")
    corpus = load_corpus(make_config(*typed).data, spec)
    config = make_config(*typed, f"data.test={save_puzzles(other, 'other')}")
    found = with_test(corpus, config.data, spec)
    names = ["train 1"] if pairs else ["train 1 input", "train 1 output", "train 2 output"]
    assert found.test.example_ids == tuple(f"q {name}" for name in names)
    assert found.leaked == (2 if pairs else 3)
    assert (found.training, found.fingerprint) == (corpus.training, corpus.fingerprint)
    assert f"test: {found.leaked} of {3 if pairs else 6} examples left out" in found.notes[-1]


def test_short_representations(make_corpus: MakeCorpus) -> None:
    corpus = make_corpus("data.validation_fraction=0.25")
    split = corpus.validation
    assert repr(split) == f"Split(validation: {len(split)} examples, {len(split.grids)} grids)"
    assert repr(split.grids) == f"Grids({len(split.grids)} grids on cpu)"
    assert repr(corpus).count("Split(") == 3


def test_one_changed_cell_changes_the_fingerprint(corpus_of: MakeCorpus) -> None:
    one, other = (corpus_of({"p": ([(grid(1), grid(color))], [])}) for color in (2, 3))
    assert one.fingerprint != other.fingerprint
