"""Shares of correct cells and grids."""

from __future__ import annotations

import torch
from torch import Tensor

from arc.metrics.intervals import share, share_percent


def right_cells(hits: Tensor, sizes: Tensor) -> Tensor:
    """Count the correct cells of each grid: int64 [grids] on the CPU.

    ``hits``: bool [cells], grid by grid. ``sizes``: int64 [grids, 2].
    """
    number = torch.arange(len(sizes), device=hits.device)
    grid = number.repeat_interleave(sizes.to(hits.device).prod(1))
    return torch.zeros_like(number).index_add_(0, grid, hits.long()).cpu()


def cell_shares(right: Tensor, sizes: Tensor) -> dict[str, Tensor]:
    """Return shares (see intervals.py) from the number of ``right`` cells of grids of ``sizes``.

    ``exact``: the share of grids without a wrong cell. ``grids``: the share of correct cells of a
    grid, averaged over grids. ``cells``: the share of correct cells of all cells.
    """
    cells = sizes.cpu().prod(1)
    return {
        "exact": share(right == cells),
        "grids": share(right.double() / cells),
        "cells": share(right, cells),
    }


def cell_percentages(right: Tensor, sizes: Tensor) -> dict[str, float]:
    """Return ``cell_shares`` in percent."""
    return {name: share_percent(each) for name, each in cell_shares(right, sizes).items()}
