"""Accuracy in closed form, against enumeration and random draws."""

import itertools
import math
from fractions import Fraction
from typing import Any

import pytest
import torch
from helpers_data import MakeCorpus

from arc.data import Split
from arc.data.distractors import DistractorGroups
from arc.data.features import feature_ids
from arc.metrics import expected_accuracy, random_code_accuracy


def accuracy(better: int, tied: int, available: int, count: int) -> float:
    """Return the expected accuracy for one target."""
    of_target = torch.tensor([[better], [tied], [available]])
    return float(expected_accuracy(of_target[0], of_target[1], of_target[2], count))


def enumerated(better: int, tied: int, available: int, count: int) -> float:
    """Average over every set of distractors; a tie among k is won once in k."""
    others = ["better"] * better + ["tied"] * tied + ["worse"] * (available - better - tied)
    draws = list(itertools.combinations(others, count))
    won = sum(Fraction(1, 1 + draw.count("tied")) for draw in draws if "better" not in draw)
    return float(Fraction(won) / len(draws))


@pytest.mark.parametrize("available", range(1, 8))
def test_expected_accuracy_is_the_mean_over_every_draw(available: int) -> None:
    for count in range(1, available + 1):
        cases = [
            (better, tied)
            for better in range(available + 1)
            for tied in range(available + 1 - better)
        ]
        better, tied = torch.tensor(cases).t()
        result = expected_accuracy(better, tied, torch.full_like(tied, available), count)
        expected = [enumerated(*case, available, count) for case in cases]
        torch.testing.assert_close(result, torch.tensor(expected, dtype=torch.float64))


def test_targets_are_independent() -> None:
    cases = [(0, 0, 9), (3, 2, 9), (0, 5, 5), (1, 0, 20)]
    better, tied, available = torch.tensor(cases).t()
    result = expected_accuracy(better, tied, available, 4)
    expected = [enumerated(*case, 4) for case in cases]
    torch.testing.assert_close(result, torch.tensor(expected, dtype=torch.float64))


def test_expected_accuracy_agrees_with_random_draws() -> None:
    better, tied, available, count, draws = 7, 90, 3000, 99, 4000
    generator = torch.Generator().manual_seed(0)
    drawn = torch.stack(
        [torch.randperm(available, generator=generator)[:count] for _ in range(draws)]
    )
    beaten = (drawn < better).any(1)
    ties = ((drawn >= better) & (drawn < better + tied)).sum(1)
    won = ((~beaten) / (1.0 + ties)).mean()
    result = accuracy(better, tied, available, count)
    assert result == pytest.approx(float(won), abs=0.02)


@pytest.mark.parametrize(
    ("better", "tied", "expected"), [(0, 0, 1.0), (0, 5000, 1 / 1000), (5000, 0, 0.0)]
)
def test_expected_accuracy_at_the_limits(better: int, tied: int, expected: float) -> None:
    assert accuracy(better, tied, 5000, 999) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("messages", "count"), [(25**2, 99), (2, 1), (10, 999), (7, 3)])
def test_random_codes_follow_their_formula(messages: Any, count: int) -> None:
    m, n = messages, count + 1
    assert random_code_accuracy(m, count) == pytest.approx(m * (1 - (1 - 1 / m) ** n) / n)


def test_random_codes_agree_with_random_draws() -> None:
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(12, (20_000, 10), generator=generator)
    clashes = (codes[:, 1:] == codes[:, :1]).sum(1)
    assert random_code_accuracy(12, 9) == pytest.approx(
        float((1 / (1.0 + clashes)).mean()), abs=0.01
    )


def test_random_codes_at_the_limits() -> None:
    assert random_code_accuracy(1, 9) == pytest.approx(0.1)
    assert random_code_accuracy(10_000**1000, 999) == pytest.approx(1.0)
    assert not math.isnan(random_code_accuracy(10**300, 1))


@pytest.mark.parametrize(
    ("feature", "known"),
    [
        ("size", {9: 91.5, 99: 59.4, 999: 23.4}),
        ("colors", {9: 99.7, 99: 96.7, 999: 78.9}),
        ("histogram", {9: 100.0, 99: 99.6, 999: 96.8}),
    ],
)
def test_accuracy_by_simple_features_on_arc1(
    arc1_test: Split, feature: str, known: dict[int, float]
) -> None:
    ids = feature_ids(feature, arc1_test.grids)
    tied = (ids[arc1_test.sender][:, None] == ids[arc1_test.candidates]).sum(1) - 1
    available = DistractorGroups.of("random", arc1_test).available
    for count, accuracy in known.items():
        result = expected_accuracy(torch.zeros_like(tied), tied, available, count)
        assert 100 * float(result.mean()) == pytest.approx(accuracy, abs=1.0)


@pytest.fixture(scope="module")
def arc1_test(make_corpus: MakeCorpus) -> Split:
    return make_corpus("data=arc1").test
