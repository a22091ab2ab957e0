"""Near copies keep the size of a grid and change a few of its cells."""

import numpy as np
import torch

from arc.data import Grids
from arc.data.near_copies import near_copies

SHAPES = [(1, 1), (1, 7), (4, 4), (9, 3), (30, 30)]
ARRAYS = [
    np.random.default_rng(n).integers(0, 10, SHAPES[n % 5], dtype=np.uint8) for n in range(300)
]


def copies(grids: Grids, seed: int = 0) -> Grids:
    return near_copies(grids, torch.Generator().manual_seed(seed))


def test_copies_have_the_size_and_differ_in_cells_of_the_grid_alone() -> None:
    grids = Grids.from_arrays(ARRAYS)
    before = grids.cells.clone()
    made = copies(grids)
    assert made.sizes.equal(grids.sizes)
    assert grids.cells.equal(before)
    assert made.cells.max() <= 9
    differs = [not np.array_equal(*both) for both in zip(ARRAYS, made.arrays(), strict=True)]
    assert np.mean(differs) > 0.85


def test_the_generator_determines_the_copies() -> None:
    grids = Grids.from_arrays(ARRAYS)
    assert copies(grids).cells.equal(copies(grids).cells)
    assert not copies(grids).cells.equal(copies(grids, seed=1).cells)


def test_padding_does_not_reach_the_copies() -> None:
    arrays = [array for array in ARRAYS if max(array.shape) < 10]
    grids = Grids.from_arrays(arrays)
    wide = Grids(torch.full((len(grids), 30, 30), 7, dtype=torch.uint8), grids.sizes)
    side = grids.cells.shape[1]
    wide.cells[:, :side, :side][grids.inside] = grids.cells[grids.inside]
    for one, other in zip(copies(grids).arrays(), copies(wide).arrays(), strict=True):
        np.testing.assert_array_equal(one, other)
