"""Augmentation: the eight symmetries of the square, colour permutations, and crops."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from arc.data.draws import integers, uniform
from arc.data.grids import NUM_COLORS, Grids


@dataclass(frozen=True)
class Transform:
    """A symmetry (transpose, then flips) and a permutation of the ten colours, for each grid.

    ``transpose``, ``flip_rows``, ``flip_columns``: bool [n]; ``colors``: uint8 [n, 10]. With
    n = 1 one transform applies to the whole batch: different grids stay different, and grids
    of equal size, colour set or puzzle still share it. Applied to inputs and to their outputs,
    it keeps pairs consistent.
    """

    transpose: Tensor
    flip_rows: Tensor
    flip_columns: Tensor
    colors: Tensor

    @classmethod
    def sample(
        cls, generator: torch.Generator, count: int = 1, *, colors: bool = True
    ) -> Transform:
        """Draw ``count`` of the 8 x 10! transforms, uniformly; 8 if ``colors`` are kept."""
        transpose, rows, columns = integers(generator, 2, 3, count).bool()
        if not colors:
            same = torch.arange(NUM_COLORS, dtype=torch.uint8, device=rows.device)
            return cls(transpose, rows, columns, same.expand(count, -1))
        noise = uniform(generator, count, NUM_COLORS)
        return cls(transpose, rows, columns, noise.argsort(1).to(torch.uint8))

    def __call__(self, grids: Grids) -> Grids:
        """Transform every grid; sizes are swapped where the symmetry transposes."""
        device, batch = grids.cells.device, len(grids)
        transpose, flip_rows, flip_columns, colors = (
            part.to(device).expand(batch, *part.shape[1:])
            for part in (self.transpose, self.flip_rows, self.flip_columns, self.colors)
        )
        turned = transpose[:, None, None]
        cells = torch.where(turned, grids.cells.transpose(1, 2), grids.cells)
        sizes = torch.where(transpose[:, None], grids.sizes.flip(1), grids.sizes)
        line = torch.arange(cells.shape[1], device=device)
        rows = _positions(line, sizes[:, :1], flip_rows)
        columns = _positions(line, sizes[:, 1:], flip_columns)
        grid = torch.arange(batch, device=device)[:, None, None]
        cells = cells[grid, rows[:, :, None], columns[:, None, :]]
        return Grids(colors[grid, cells.long()], sizes)


def _positions(line: Tensor, length: Tensor, flip: Tensor) -> Tensor:
    """Return the source of each position, [batch, side]; arbitrary in the padding."""
    return torch.where(flip[:, None], (length - 1 - line).clamp(min=0), line)


def random_crops(grids: Grids, share: float, generator: torch.Generator) -> Grids:
    """Cut each grid, with probability ``share``, to a rectangle at a random place.

    Its height and width are drawn uniformly, from half of the grid's to the whole. ``generator``
    is on the CPU.
    """
    draws = uniform(generator, len(grids), 5).to(grids.cells.device)
    half = (grids.sizes + 1) // 2
    sizes = half + (draws[:, :2] * (grids.sizes - half + 1)).long()
    sizes = torch.where(draws[:, 4:] < share, sizes, grids.sizes)
    start = (draws[:, 2:4] * (grids.sizes - sizes + 1)).long()
    line = torch.arange(grids.cells.shape[1], device=grids.cells.device)
    rows, columns = ((line + start[:, axis, None]).clamp(max=len(line) - 1) for axis in range(2))
    grid = torch.arange(len(grids), device=line.device)[:, None, None]
    return Grids(grids.cells[grid, rows[:, :, None], columns[:, None, :]], sizes)
