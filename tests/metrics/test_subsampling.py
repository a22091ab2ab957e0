"""Grids rebuilt from evenly spaced cells."""

import numpy as np
import pytest

from arc.data import Grids
from arc.metrics import cells_of_messages, subsampled


@pytest.mark.parametrize(
    ("grid", "count", "built"),
    [
        ([[1, 2, 3], [4, 5, 6]], 6, [[1, 2, 3], [4, 5, 6]]),
        ([[1, 2, 3], [4, 5, 6]], 4, [[1, 1, 3], [4, 4, 6]]),
        ([[1, 2, 3], [4, 5, 6]], 3, [[1, 2, 3], [1, 2, 3]]),
        ([[1, 2, 3], [4, 5, 6]], 1, [[1, 1, 1], [1, 1, 1]]),
        ([[1, 2, 3, 4, 5]], 3, [[1, 1, 3, 3, 5]]),
    ],
)
def test_a_cell_has_the_colour_of_the_nearest_kept_cell(
    grid: list[list[int]], count: int, built: list[list[int]]
) -> None:
    (found,) = subsampled(Grids.from_arrays([grid]), count).arrays()
    assert found.tolist() == built


def test_at_most_count_cells_are_kept() -> None:
    for height, width, count in ((30, 30, 256), (30, 7, 100), (3, 30, 27), (1, 1, 256)):
        grid = np.zeros((height, width), int)
        kept = 0
        for place in np.ndindex(height, width):  # a cell is kept if its colour occurs
            grid[place] = 1
            kept += int(subsampled(Grids.from_arrays([grid]), count).arrays()[0].any())
            grid[place] = 0
        assert min(count, height * width) * 0.8 <= kept <= count


def test_no_cell_is_refused() -> None:
    with pytest.raises(ValueError, match="count=0: at least one cell must be kept"):
        subsampled(Grids.from_arrays([[[1]]]), 0)


@pytest.mark.parametrize(("messages", "cells"), [(9, 0), (10, 1), (999, 2), (25**20, 27)])
def test_a_cell_takes_a_choice_of_ten(messages: int, cells: int) -> None:
    assert cells_of_messages(messages) == cells
