"""Simple features of grids: size, set of colours, colour histogram."""

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


def content_ids(grids: Grids) -> Tensor:
    """Number the grids by their content: int64 [batch], equal for equal grids."""
    cells = grids.cells.masked_fill(~grids.inside, 0).flatten(1)
    content = torch.cat([grids.sizes.to(cells.dtype), cells], 1)
    return content.unique(dim=0, return_inverse=True)[1]
