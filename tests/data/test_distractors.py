"""Distractor kinds and the candidates of a batch."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from helpers_data import MakeCorpus, grid
from torch import Tensor

from arc.data import BatchSampler, Split
from arc.data.distractors import DISTRACTORS, DistractorGroups, sample_candidates
from arc.data.grids import content_key


@pytest.fixture
def split(make_corpus: MakeCorpus) -> Split:
    """Four sizes; some grids are in two puzzles."""
    return make_corpus("data.validation_fraction=0").training


def two_colors(number: int) -> np.ndarray:
    return np.array([[number // 10, number % 10]])


def batches(
    split: Split, size: int, count: int, wanted: Tensor | None = None
) -> Iterator[tuple[Tensor, torch.Generator]]:
    """Batches as a run has them, of examples that have ``wanted`` distractors."""
    examples = torch.arange(len(split)) if wanted is None else wanted
    source = BatchSampler(examples, size, seed=0)
    for _ in range(count):
        yield source.next(), source.generator


@pytest.mark.parametrize("kind", list(DISTRACTORS))
@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("size", [2, 16])
def test_distractors_are_different_members_of_the_group(
    make_corpus: MakeCorpus, kind: str, pairs: bool, size: int
) -> None:
    split = make_corpus("data.validation_fraction=0", pairs=pairs).training
    groups = DistractorGroups.of(kind, split)
    count = min(2, int(groups.available.max()))
    able = (groups.available >= count).nonzero()[:, 0]
    arrays = split.grids.arrays()
    keys = [content_key(array) for array in arrays]
    puzzles_of: dict[int, set[int]] = {}
    for target, puzzle in zip(split.target.tolist(), split.puzzle.tolist(), strict=True):
        puzzles_of.setdefault(target, set()).add(puzzle)
    same = {
        "random": lambda example, a, b: True,
        "same_size": lambda example, a, b: arrays[a].shape == arrays[b].shape,
        "same_colors": lambda example, a, b: (
            arrays[a].shape == arrays[b].shape and set(arrays[a].flat) == set(arrays[b].flat)
        ),
        "same_puzzle": lambda example, a, b: int(split.puzzle[example]) in puzzles_of[b],
    }[kind]
    for examples, generator in batches(split, size, 10, wanted=able):
        candidate_set = sample_candidates(split, groups, examples, count, generator)
        assert candidate_set.choices.shape == (len(examples), count + 1)
        shown = candidate_set.pool[candidate_set.choices]
        rows = zip(examples, shown.tolist(), candidate_set.answer, strict=True)
        for example, row, answer in rows:
            target = int(split.target[example])
            assert row[answer] == target
            assert len({keys[index] for index in row}) == count + 1
            assert all(same(example, target, other) for other in row)


def test_each_kind_counts_its_distractors(corpus_of: MakeCorpus) -> None:
    puzzles: dict[str, Any] = {
        "p": ([(grid(1), grid(2)), (two_colors(12), two_colors(21))], []),
        "q": ([(two_colors(33), grid(1))], []),
    }
    split = corpus_of(puzzles).training  # six examples of five contents
    available = {kind: DistractorGroups.of(kind, split).available.tolist() for kind in DISTRACTORS}
    assert available["random"] == [4] * 6
    assert available["same_size"] == [1, 1, 2, 2, 2, 1]
    assert available["same_colors"] == [0, 0, 1, 1, 0, 0]
    assert available["same_puzzle"] == [3, 3, 3, 3, 1, 1]


def test_in_pair_mode_all_candidates_are_outputs(corpus_of: MakeCorpus) -> None:
    split = corpus_of(
        {"p": ([(grid(n), two_colors(n)) for n in range(9)], [])}, pairs=True
    ).training
    groups, generator = DistractorGroups.of("random", split), torch.Generator().manual_seed(0)
    assert groups.available.tolist() == [8] * 9
    candidate_set = sample_candidates(split, groups, torch.arange(9), 8, generator)
    assert {split.grids.arrays()[index].shape for index in candidate_set.pool} == {(1, 2)}


def test_all_grids_can_be_candidates_of_one_target(split: Split) -> None:
    groups, generator = DistractorGroups.of("random", split), torch.Generator().manual_seed(0)
    count = int(groups.available.max())
    candidate_set = sample_candidates(split, groups, torch.tensor([3]), count, generator)
    assert candidate_set.pool[candidate_set.choices][0].sort().values.equal(split.candidates)


def test_the_position_of_the_target_is_uniform(split: Split) -> None:
    groups = DistractorGroups.of("random", split)
    places = [
        sample_candidates(split, groups, examples, 4, generator).answer
        for examples, generator in batches(split, 16, 120)
    ]
    assert_uniform_rows(torch.bincount(torch.cat(places), minlength=5)[None].double(), 2.2)


@pytest.mark.parametrize("size", [2, pytest.param(5, marks=pytest.mark.slow), 24])
def test_distractors_are_uniform(corpus_of: MakeCorpus, size: int) -> None:
    split = corpus_of({"p": ([(grid(n), two_colors(50 + n)) for n in range(10)], [])}).training
    assert_uniform_rows(distractor_counts(split, size))


@pytest.mark.parametrize("size", [pytest.param(2, marks=pytest.mark.slow), 5, 12])
def test_a_frequent_grid_is_no_likelier_distractor(corpus_of: MakeCorpus, size: int) -> None:
    often = [(grid(9), grid(9)) for _ in range(4)]
    split = corpus_of(
        {"p": ([(grid(n), two_colors(50 + n)) for n in range(6)] + often, [])}
    ).training
    assert_uniform_rows(distractor_counts(split, size))


def distractor_counts(split: Split, size: int, epochs: int = 120, count: int = 2) -> Tensor:
    """Return how often each content was a distractor of each target, [contents, contents - 1]."""
    groups = DistractorGroups.of("random", split)
    seen = torch.zeros(len(split.grids), len(split.grids))
    for examples, generator in batches(split, size, epochs * len(split) // size):
        drawn = sample_candidates(split, groups, examples, count, generator)
        targets = split.target[examples, None].expand(-1, count + 1)
        one = torch.ones(drawn.choices.shape)
        seen.index_put_((targets, drawn.pool[drawn.choices]), one, accumulate=True)
    assert seen.diagonal().equal(seen.sum(1) / (count + 1))
    return seen[~torch.eye(len(seen), dtype=torch.bool)].view(len(seen), -1)


def assert_uniform_rows(counts: Tensor, limit: float = 1.3) -> None:
    """Chi-square per degree of freedom: about 1; at least 2 if frequent grids are favoured."""
    expected = counts.mean(1, keepdim=True)
    statistic = ((counts - expected) ** 2 / expected).sum() / (len(counts) * (counts.shape[1] - 1))
    assert statistic < limit, counts.tolist()


@pytest.mark.parametrize("kind", list(DISTRACTORS))
def test_groups_take_memory_for_each_example(make_corpus: MakeCorpus, kind: str) -> None:
    split = make_corpus("data.validation_fraction=0").training
    groups = DistractorGroups.of(kind, split)
    tensors = [each for each in vars(groups).values() if isinstance(each, Tensor)]
    assert sum(map(Tensor.numel, tensors)) <= 4 * len(split) + 1


def test_members_of_groups(make_corpus: MakeCorpus) -> None:
    split = make_corpus("data.validation_fraction=0").training
    groups, examples = DistractorGroups.of("same_puzzle", split), torch.arange(len(split))
    found = groups.is_member(examples, split.candidates)
    for example, puzzle in enumerate(split.puzzle.tolist()):
        own = split.target[split.puzzle == puzzle].unique()
        assert split.candidates[found[example]].tolist() == own.tolist()
        assert groups.available[example] == len(own) - 1
