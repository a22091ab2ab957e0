"""Shares and their intervals, against values that are computed in another way."""

import math

import numpy as np
import pytest
import torch

from arc.metrics import bootstrap_interval, share, share_percent
from arc.runs.seeds import t_interval

PUZZLE = torch.tensor([4, 4, 4, 7, 7, 9, 2, 2, 2, 2])
RIGHT = torch.tensor([1.0, 0.5, 0.0, 1.0, 1.0, 0.0, 0.25, 0.0, 1.0, 0.5])


def resampled(share: np.ndarray, puzzle: np.ndarray, draws: int = 4000) -> tuple[float, float]:
    """Resample the puzzles one draw after the other."""
    rng = np.random.default_rng(1)
    names = np.unique(puzzle)
    parts = {name: share[:, puzzle == name] for name in names}
    values = []
    for _ in range(draws):
        drawn = np.concatenate([parts[name] for name in rng.choice(names, size=len(names))], 1)
        values.append(100 * drawn[0].sum() / drawn[1].sum())
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


@pytest.mark.parametrize("largest", [1, 100], ids=["examples", "cells"])
def test_the_interval_is_that_of_resampled_puzzles(largest: int) -> None:
    rng = np.random.default_rng(0)
    counted = rng.integers(1, largest + 1, size=300)
    puzzle = rng.integers(30, size=300)
    right = np.clip(puzzle / 30 + rng.normal(0, 0.1, size=300), 0, 1) * counted
    ratio = share(torch.from_numpy(right), torch.from_numpy(counted))
    found = bootstrap_interval(ratio, torch.from_numpy(puzzle))
    assert found == pytest.approx(resampled(ratio.numpy(), puzzle), abs=1)
    assert found == bootstrap_interval(ratio, torch.from_numpy(puzzle))


def test_a_copy_of_every_example_does_not_narrow_the_interval() -> None:
    twice = share(RIGHT.repeat(2)), PUZZLE.repeat(2)
    assert bootstrap_interval(*twice) == bootstrap_interval(share(RIGHT), PUZZLE)


def test_the_interval_of_many_independent_puzzles_is_that_of_the_normal_distribution() -> None:
    right = (torch.arange(10_000) % 10 < 3).float()
    half = 196 * math.sqrt(0.3 * 0.7 / len(right))
    found = bootstrap_interval(share(right), torch.arange(len(right)))
    assert found == pytest.approx((30 - half, 30 + half), abs=0.1)


def test_examples_that_are_not_covered_change_nothing() -> None:
    is_covered = PUZZLE != 9
    kept = share(RIGHT[is_covered]), PUZZLE[is_covered]
    all_of_them = share(RIGHT * is_covered, is_covered)
    assert share_percent(all_of_them) == pytest.approx(share_percent(kept[0]))
    assert bootstrap_interval(all_of_them, PUZZLE) == bootstrap_interval(*kept)


def test_the_mean_of_several_shares() -> None:
    parts = torch.stack([share(RIGHT), share(1 - RIGHT)])
    assert share_percent(parts) == pytest.approx(50)
    assert bootstrap_interval(parts, PUZZLE) == pytest.approx((50, 50))


def test_one_puzzle_or_one_seed_has_no_interval() -> None:
    assert bootstrap_interval(share(RIGHT), torch.zeros_like(PUZZLE)) is None
    assert bootstrap_interval(share(torch.zeros(10), torch.zeros(10)), PUZZLE) is None
    assert math.isnan(share_percent(share(torch.zeros(10), torch.zeros(10))))
    assert t_interval([50.0]) is None


@pytest.mark.parametrize(
    ("values", "factor"), [([1.0, 2.0, 3.0], 4.3027), ([1.0, 3.0], 12.7062), ([5.0] * 4, 0.0)]
)
def test_the_interval_over_seeds(values: list[float], factor: float) -> None:
    """The factors are those of printed tables of Student's t distribution."""
    half = factor * np.std(values, ddof=1) / math.sqrt(len(values))
    middle = np.mean(values)
    assert t_interval(values) == pytest.approx((middle - half, middle + half), abs=1e-3)
