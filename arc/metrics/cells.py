"""Shares of correct cells and grids."""

from __future__ import annotations

import torch
from torch import Tensor

from arc.data.grids import MAX_GRID_SIZE, grids_of_cells, inside_grids
from arc.metrics.intervals import share, share_percent


def right_cells(hits: Tensor, sizes: Tensor) -> Tensor:
    """Count the correct cells of each grid: int64 [grids] on the device of ``hits``.

    ``hits``: bool [cells], grid by grid; it may be a dense list (see uses_dense_cells).
    ``sizes``: int64 [grids, 2].
    """
    sizes = sizes.to(hits.device)
    if len(hits) == len(sizes) * MAX_GRID_SIZE**2:
        inside = inside_grids(sizes, MAX_GRID_SIZE)
        return (hits.view_as(inside) & inside).sum((1, 2))
    right = torch.zeros(len(sizes), dtype=torch.int64, device=hits.device)
    return right.index_add_(0, grids_of_cells(sizes, len(hits)), hits.long())


def cell_shares(right: Tensor, sizes: Tensor) -> dict[str, Tensor]:
    """Return shares (see intervals.py) from the number of ``right`` cells of grids of ``sizes``.

    ``exact``: the share of grids without a wrong cell. ``grids``: the share of correct cells of a
    grid, averaged over grids. ``cells``: the share of correct cells of all cells.
    """
    right, cells = right.cpu(), sizes.cpu().prod(1)
    return {
        "exact": share(right == cells),
        "grids": share(right.double() / cells),
        "cells": share(right, cells),
    }


def cell_percentages(right: Tensor, sizes: Tensor) -> dict[str, float]:
    """Return ``cell_shares`` in percent."""
    return {name: share_percent(each) for name, each in cell_shares(right, sizes).items()}
