"""Near copies: grids that differ from given ones in a few cells, as hard distractors."""

from __future__ import annotations

import torch
from torch import Tensor

from arc.data.draws import integers, uniform
from arc.data.grids import NUM_COLORS, Grids

MOST_CELLS = 4  # changed one by one
LONGEST_SIDE = 5  # of a filled rectangle


def near_copies(grids: Grids, generator: torch.Generator) -> Grids:
    """Return one changed copy of each grid, of the same size.

    With equal probability, one to four cells get other colours, a rectangle is filled, all cells
    are shifted by one or two with wrap-around, or two colours are exchanged. A copy may equal its
    grid, for example if a grid of one colour is shifted. ``generator`` is on the CPU.
    """
    count, device = len(grids), grids.cells.device
    draws = uniform(generator, count, 3 * MOST_CELLS + 1).to(device)
    kind = integers(generator, 4, count).to(device)
    changes = (_few_cells, _rectangle, _shift, _exchange)
    copies = torch.stack([change(grids.cells, grids.sizes, draws) for change in changes])
    return Grids(copies[kind, torch.arange(count, device=device)], grids.sizes)


def _few_cells(cells: Tensor, sizes: Tensor, draws: Tensor) -> Tensor:
    """Give one to four cells another colour."""
    cells, grid = cells.clone(), torch.arange(len(cells), device=cells.device)
    number = _up_to(draws[:, 0], MOST_CELLS)
    for change in range(MOST_CELLS):
        row, column, step = draws[:, 1 + 3 * change : 4 + 3 * change].unbind(1)
        place = grid, _up_to(row, sizes[:, 0]), _up_to(column, sizes[:, 1])
        before = cells[place]
        cells[place] = torch.where(number >= change, _other_color(before, step), before)
    return cells


def _rectangle(cells: Tensor, sizes: Tensor, draws: Tensor) -> Tensor:
    """Fill a rectangle with one colour."""
    line = torch.arange(cells.shape[1], device=cells.device)
    inside = []
    for axis in range(2):
        length = 1 + _up_to(draws[:, axis], sizes[:, axis].clamp(max=LONGEST_SIDE))
        start = _up_to(draws[:, 2 + axis], sizes[:, axis] - length + 1)[:, None]
        inside.append((line >= start) & (line < start + length[:, None]))
    color = _up_to(draws[:, 4], NUM_COLORS).to(cells.dtype)[:, None, None]
    return torch.where(inside[0][:, :, None] & inside[1][:, None, :], color, cells)


def _shift(cells: Tensor, sizes: Tensor, draws: Tensor) -> Tensor:
    """Shift all cells along one axis by one or two, with wrap-around."""
    distance = (1 + _up_to(draws[:, 1], 2)) * (2 * _up_to(draws[:, 2], 2) - 1)
    line = torch.arange(cells.shape[1], device=cells.device)
    rows, columns = (
        (line + torch.where(_up_to(draws[:, 0], 2) == axis, distance, 0)[:, None])
        % sizes[:, axis, None]
        for axis in range(2)
    )
    grid = torch.arange(len(cells), device=cells.device)[:, None, None]
    return cells[grid, rows[:, :, None], columns[:, None, :]]


def _exchange(cells: Tensor, sizes: Tensor, draws: Tensor) -> Tensor:
    """Exchange the colour of a random cell with another colour."""
    grid = torch.arange(len(cells), device=cells.device)
    one = cells[grid, _up_to(draws[:, 0], sizes[:, 0]), _up_to(draws[:, 1], sizes[:, 1])]
    other = _other_color(one, draws[:, 2])
    one, other = one[:, None, None], other[:, None, None]
    return torch.where(cells == one, other, torch.where(cells == other, one, cells))


def _other_color(colors: Tensor, draw: Tensor) -> Tensor:
    """Return one of the nine other colours for each of ``colors``, uint8."""
    return ((colors + 1 + _up_to(draw, NUM_COLORS - 1)) % NUM_COLORS).to(colors.dtype)


def _up_to(draw: Tensor, limit: Tensor | int) -> Tensor:
    """Turn draws from 0 to 1 into int64 from 0 to ``limit`` - 1."""
    return (draw * limit).long()
