"""Transforms that make new grids out of old: the eight symmetries of a square, and colours."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from arc.data.grids import MAX_GRID_SIZE, NUM_COLORS, Grids


@dataclass(frozen=True)
class Transform:
    """One symmetry (transpose, then flips) and one permutation of the ten colours.

    A whole batch goes through one transform: pairs stay pairs, grids that differ still
    differ, and grids of one size, colour set or puzzle still have that in common.
    """

    transpose: bool
    flip_rows: bool
    flip_columns: bool
    colors: Tensor

    @classmethod
    def sample(cls, generator: torch.Generator) -> Transform:
        """Draw one of the 8 x 10! transforms, uniformly."""
        bits = torch.randint(2, (3,), generator=generator).tolist()
        colors = torch.randperm(NUM_COLORS, generator=generator)
        return cls(bool(bits[0]), bool(bits[1]), bool(bits[2]), colors)

    def __call__(self, grids: Grids) -> Grids:
        """Transform every grid; sizes are swapped where the symmetry transposes."""
        cells, sizes = grids.cells, grids.sizes
        if self.transpose:
            cells, sizes = cells.transpose(1, 2), sizes.flip(1)
        side = torch.arange(min(cells.shape[1], MAX_GRID_SIZE), device=cells.device)
        rows = _positions(side, sizes[:, :1], self.flip_rows)
        columns = _positions(side, sizes[:, 1:], self.flip_columns)
        batch = torch.arange(len(cells), device=cells.device)[:, None, None]
        cells = cells[batch, rows[:, :, None], columns[:, None, :]]
        palette = self.colors.to(device=cells.device, dtype=torch.uint8)
        return Grids(palette[cells.long()], sizes)


def _positions(side: Tensor, length: Tensor, flip: bool) -> Tensor:
    """Return [batch, side]: where each position reads from; padding reads anything."""
    return (length - 1 - side).clamp(min=0) if flip else side.expand(len(length), -1)
