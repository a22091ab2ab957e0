"""Simple features of grids: size, set of colours, colour histogram, periods and symmetries."""

from __future__ import annotations

import torch
from torch import Tensor

from arc.data.grids import NUM_COLORS, Grids

FEATURES = ("size", "colors", "histogram")


def color_counts(grids: Grids) -> Tensor:
    """Count the cells of each colour in each grid: int64 [batch, 10] on the CPU."""
    return _color_counts(grids).cpu()


def color_ranks(grids: Grids) -> Tensor:
    """Rank the colours of each grid by frequency: int64 [batch, 10] on the device of ``grids``.

    The most frequent colour has rank 0. Of equally frequent colours the lower comes first.
    """
    order = _color_counts(grids).argsort(dim=1, descending=True, stable=True)
    return order.argsort(1)


def _color_counts(grids: Grids) -> Tensor:
    inside = grids.inside
    counts = [((grids.cells == color) & inside).sum((1, 2)) for color in range(NUM_COLORS)]
    return torch.stack(counts, 1)


def feature_ids(feature: str, grids: Grids) -> Tensor:
    """Number the grids by a feature: int64 [batch], equal for grids with equal features.

    ``size``: height and width. ``colors``: size and set of colours. ``histogram``: size and
    number of cells of each colour.
    """
    sizes = grids.sizes.cpu()
    if len(sizes) == 0:
        return torch.zeros(0, dtype=torch.int64)
    counts = color_counts(grids)
    columns = {
        "size": [sizes],
        "colors": [sizes, (counts > 0).long()],
        "histogram": [sizes, counts],
    }[feature]
    return torch.cat(columns, 1).unique(dim=0, return_inverse=True)[1]


def equal_cells(one: Grids, other: Grids) -> Tensor:
    """Count the equal cells at the same places of two grids: float32 [one, other]."""
    side = min(one.cells.shape[1], other.cells.shape[1])
    counts = torch.zeros(len(one), len(other), device=one.cells.device)
    for color in range(NUM_COLORS):
        mine, theirs = (
            ((each.cells == color) & each.inside)[:, :side, :side].flatten(1).float()
            for each in (one, other)
        )
        counts += mine @ theirs.t()
    return counts


def periods(grids: Grids) -> Tensor:
    """Return the smallest periods of each grid, in rows and in columns: int64 [batch, 2].

    A period is 0 if there is none below the grid's height or width.
    """
    cells, inside, sizes = grids.cells, grids.inside, grids.sizes
    side, found = cells.shape[1], torch.zeros_like(sizes)
    for axis in range(2):
        for period in range(side - 1, 0, -1):
            length = side - period
            first, later = (cells.narrow(1 + axis, start, length) for start in (0, period))
            differs = (first != later) & inside.narrow(1 + axis, period, length)
            repeats = ~differs.flatten(1).any(1) & (period < sizes[:, axis])
            found[repeats, axis] = period
    return found


def symmetries(grids: Grids) -> Tensor:
    """Return whether each grid equals its mirror image: bool [batch, 2].

    The first column is for mirroring top to bottom, the second for left to right.
    """
    batch, side = grids.cells.shape[:2]
    grid, line = (torch.arange(count, device=grids.cells.device) for count in (batch, side))
    back = (grids.sizes[:, :, None] - 1 - line).clamp(min=0)
    images = (
        grids.cells[grid[:, None, None], back[:, 0, :, None], line],
        grids.cells[grid[:, None, None], line[:, None], back[:, 1, None, :]],
    )
    differs = [((image != grids.cells) & grids.inside).flatten(1).any(1) for image in images]
    return ~torch.stack(differs, 1)


def equal_contents(grids: Grids) -> Tensor:
    """Return whether the grids of each pair are equal: bool [batch, batch]."""
    values = torch.where(grids.inside, grids.cells + 1, 0).flatten(1).float()
    with torch.autocast(values.device.type, enabled=False):  # all sums are exact in float32
        products = values @ values.t()
    lengths = products.diagonal()
    return lengths[:, None] + lengths == 2 * products
