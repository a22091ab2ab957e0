"""A code of grids without a model: evenly spaced cells, the baseline for vectors."""

from __future__ import annotations

from functools import cache

import numpy as np

from arc.data.grids import NUM_COLORS, Grids


def cells_of_messages(num_messages: int) -> int:
    """Return the number of cells, of any colours, that one of ``num_messages`` can stand for."""
    cells = 0
    while NUM_COLORS ** (cells + 1) <= num_messages:
        cells += 1
    return cells


def subsampled(grids: Grids, count: int) -> Grids:
    """Keep at most ``count`` cells of each grid and fill the others from the nearest kept cell.

    The kept cells lie in evenly spaced rows and columns, the first and the last among them: as
    many as possible, then as equal shares of the rows and columns as possible. Raises ValueError
    if ``count`` is less than 1.
    """
    if count < 1:
        raise ValueError(f"count={count}: at least one cell must be kept")
    built = []
    for grid in grids.arrays():
        height, width = grid.shape
        rows, columns = _kept(height, width, count)
        built.append(grid[_nearest(height, rows)][:, _nearest(width, columns)])
    return Grids.from_arrays(built)


@cache
def _kept(height: int, width: int, count: int) -> tuple[int, int]:
    """Return the numbers of rows and columns to keep."""
    pairs = [(rows, min(width, count // rows)) for rows in range(1, min(height, count) + 1)]
    return max(
        pairs, key=lambda kept: (kept[0] * kept[1], -abs(kept[0] / height - kept[1] / width))
    )


@cache
def _nearest(length: int, count: int) -> np.ndarray:
    """Return the nearest of ``count`` evenly spaced positions for each of ``length`` positions."""
    kept = np.linspace(0, length - 1, count).round().astype(np.int64)
    return kept[np.abs(np.arange(length)[:, None] - kept).argmin(1)]
