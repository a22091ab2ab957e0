"""Periods and symmetries against a search by hand."""

import numpy as np
import pytest
import torch

from arc.data import Grids
from arc.data.features import periods, symmetries


def smallest_period(rows: np.ndarray) -> int:
    """Return after how many rows the grid repeats itself, or 0."""
    repeats = (n for n in range(1, len(rows)) if (rows[n:] == rows[:-n]).all())
    return next(repeats, 0)


@pytest.fixture
def arrays() -> list[np.ndarray]:
    """Grids of one or two colours, of which many repeat themselves or are symmetric."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 2, rng.integers(1, 5, 2), dtype=np.uint8) for _ in range(300)]


def test_periods_are_the_smallest(arrays: list[np.ndarray]) -> None:
    found = periods(Grids.from_arrays(arrays)).tolist()
    assert found == [[smallest_period(array), smallest_period(array.T)] for array in arrays]
    assert {period for both in found for period in both} == {0, 1, 2, 3}


def test_symmetries_are_those_of_the_grid_without_its_padding(arrays: list[np.ndarray]) -> None:
    found = symmetries(Grids.from_arrays(arrays))
    wanted = [[np.array_equal(a, a[::-1]), np.array_equal(a, a[:, ::-1])] for a in arrays]
    assert found.equal(torch.tensor(wanted))
