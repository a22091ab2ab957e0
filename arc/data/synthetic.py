"""Synthetic grids: patterns, frames and objects, drawn at random to train on.

Shapes: n grids, S the padded side. A kind draws ``colors``, int64 [n, S, S]: positions in each
grid's own random palette, of which 0 is the background.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from arc.data.grids import MAX_GRID_SIZE, NUM_COLORS, Grids, inside_grids

MOST_COLORS = 6  # beside the background
LONGEST_PERIOD = 8
LARGEST_OBJECT = 8  # rows and columns
DARK = 0.6  # share of the grids whose background is colour 0, as in most ARC grids


@dataclass(frozen=True)
class SyntheticGrids:
    """Grids and how they were made.

    ``kind``: int64 [n], a position in KINDS. ``objects``: int64 [n], the number of objects; 0 for
    kinds other than ``objects``. An object has one colour, and objects do not touch.
    ``arc.data.features`` computes colours, periods and symmetries of any grids.
    """

    grids: Grids
    kind: Tensor
    objects: Tensor


def synthetic_grids(
    sizes: Tensor, generator: torch.Generator, side: int = MAX_GRID_SIZE
) -> SyntheticGrids:
    """Draw one grid of each of ``sizes``, int64 [n, 2], padded to ``side``, on the CPU.

    All kinds are equally probable. ``generator`` is on the CPU.
    """
    count = len(sizes)
    kind = torch.randint(len(KINDS), (count,), generator=generator)
    colors, objects = torch.zeros(count, side, side, dtype=torch.int64), torch.zeros_like(kind)
    for number, draw in enumerate(KINDS.values()):
        rows = (kind == number).nonzero()[:, 0]
        if len(rows) > 0:
            colors[rows], objects[rows] = draw(sizes[rows], side, generator)
    rank = torch.rand(count, NUM_COLORS, generator=generator)
    rank[torch.rand(count, generator=generator) < DARK, 0] = -1
    palette = rank.argsort(1).to(torch.uint8)
    cells = palette.gather(1, colors.flatten(1)).view_as(colors)
    return SyntheticGrids(Grids(cells * inside_grids(sizes, side), sizes), kind, objects)


# -- kinds: each returns colours and numbers of objects -------------------------------------------


def _tiling(sizes: Tensor, side: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Repeat a motif of random cells."""
    period = 1 + _below(sizes.clamp(max=LONGEST_PERIOD), generator)
    motif = _noise(len(sizes), LONGEST_PERIOD, generator)
    rows, columns = (torch.arange(side) % period[:, axis, None] for axis in range(2))
    return _at(motif, rows, columns), _no_objects(sizes)


def _mosaic(sizes: Tensor, side: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Colour by a quadratic form of row and column, modulo the number of colours."""
    modulus = 2 + _below(torch.full((len(sizes), 1, 1), LONGEST_PERIOD - 1), generator)
    rows, columns = torch.arange(side)[:, None], torch.arange(side)
    colors = torch.zeros(len(sizes), side, side, dtype=torch.int64)
    for term in (rows * rows, columns * columns, rows * columns, rows, columns):
        colors += _below(modulus, generator) * term
    return colors % modulus, _no_objects(sizes)


def _mirrored(sizes: Tensor, side: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mirror random blocks from top to bottom, from left to right, or both."""
    axes = 1 + _below(torch.full((len(sizes), 1), 3), generator)
    block = 1 + _below(torch.full((len(sizes), 1), 3), generator)
    line = torch.arange(side)
    rows, columns = (
        torch.where((axes & (1 << axis)) > 0, _from_edge(sizes[:, axis], side), line) // block
        for axis in range(2)
    )
    return _at(_noise(len(sizes), side, generator), rows, columns), _no_objects(sizes)


def _framed(sizes: Tensor, side: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw nested frames around the background or random cells."""
    rows, columns = (_from_edge(sizes[:, axis], side) for axis in range(2))
    ring = torch.minimum(rows[:, :, None], columns[:, None, :])
    width, number, more, filled = (
        _below(torch.full((len(sizes), 1, 1), limit), generator) for limit in (2, 4, 2, 2)
    )
    ring = ring // (1 + width)
    inner = _noise(len(sizes), side, generator) * filled
    colors = torch.where(ring <= number, 1 + ring % (2 + more), inner)
    return colors, _no_objects(sizes)


def _boxes(sizes: Tensor, side: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw evenly spaced lines and colour the boxes between them."""
    pitch = 2 + _below((sizes - 1).clamp(1, LONGEST_PERIOD - 2), generator)
    line = torch.arange(side)
    rows, columns = (line // pitch[:, axis, None] for axis in range(2))
    on_row, on_column = ((line + 1) % pitch[:, axis, None] == 0 for axis in range(2))
    colors = _at(_noise(len(sizes), side, generator), rows, columns)
    lines = on_row[:, :, None] | on_column[:, None, :]
    return colors.masked_fill(lines, MOST_COLORS + 1), _no_objects(sizes)


def _objects(sizes: Tensor, side: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Stamp rectangles, lines and small shapes on the background.

    The grid is cut into square slots, whose last row and column stay free; at least one slot has
    an object. In half of the grids all objects are alike.
    """
    count, most = len(sizes), (side + 1) // 2
    pitch = 2 + _below(sizes.amin(1).clamp(max=LARGEST_OBJECT), generator)[:, None]
    slots = (sizes + 1) // pitch
    place, grid = torch.arange(most), torch.arange(count)
    filled = torch.rand(count, most, most, generator=generator)
    filled = filled < torch.rand(count, 1, 1, generator=generator)
    filled[grid, _below(slots[:, 0], generator), _below(slots[:, 1], generator)] = True
    filled &= (place[:, None] < slots[:, :1, None]) & (place < slots[:, 1:, None])

    room = (pitch - 1)[:, :, None].expand(2, count, most, most)
    extent = 1 + _below(room, generator)
    start = _below(room - extent + 1, generator)
    shape = _below(torch.full((1, count, most, most), len(SHAPES)), generator)
    color = 1 + _below(torch.full((1, count, most, most), MOST_COLORS), generator)
    objects = torch.cat([extent, start, shape, color])
    alike = torch.rand(count, 1, 1, generator=generator) < 0.5
    objects = torch.where(alike, objects[:, :, :1, :1], objects)
    objects[-1] *= filled  # colour 0 elsewhere

    line = torch.arange(side)
    slot, offset = line // pitch, line % pitch
    slot = (slot[:, :, None] * most + slot[:, None, :]).flatten(1)
    at_cell = objects.flatten(2).gather(2, slot.expand(len(objects), -1, -1))
    height, width, top, left, shape, color = at_cell.unflatten(2, (side, side)).unbind()
    row, column = offset[:, :, None] - top, offset[:, None, :] - left
    drawn = torch.stack([draw(row, column, height, width) for draw in SHAPES])
    drawn = drawn.gather(0, shape[None])[0]
    drawn &= (row >= 0) & (row < height) & (column >= 0) & (column < width)
    return color * drawn, filled.sum((1, 2))


def _patch(sizes: Tensor, side: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Fill a rectangle, or the whole grid, with random cells."""
    extent = 1 + _below(sizes, generator)
    extent = torch.where(torch.rand(len(sizes), 1, generator=generator) < 0.5, extent, sizes)
    start, line = _below(sizes - extent + 1, generator), torch.arange(side)
    rows, columns = (
        (line >= start[:, axis, None]) & (line < (start + extent)[:, axis, None])
        for axis in range(2)
    )
    colors = _noise(len(sizes), side, generator) * (rows[:, :, None] & columns[:, None, :])
    return colors, _no_objects(sizes)


Kind = Callable[[Tensor, int, torch.Generator], tuple[Tensor, Tensor]]
KINDS: dict[str, Kind] = {
    "tiling": _tiling,
    "mosaic": _mosaic,
    "mirrored": _mirrored,
    "framed": _framed,
    "boxes": _boxes,
    "objects": _objects,
    "patch": _patch,
}
# Whether an object of a height and width has a cell at a row and column; all are connected.
SHAPES: tuple[Callable[[Tensor, Tensor, Tensor, Tensor], Tensor], ...] = (
    lambda row, column, height, width: row == row,
    lambda row, column, height, width: (
        (row == 0) | (row == height - 1) | (column == 0) | (column == width - 1)
    ),
    lambda row, column, height, width: (row == height // 2) | (column == width // 2),
    lambda row, column, height, width: (row == height - 1) | (column == 0),
    lambda row, column, height, width: row == column,
    lambda row, column, height, width: row == 0,
    lambda row, column, height, width: column == 0,
)


# -- parts of several kinds ------------------------------------------------------------------------


def _noise(count: int, side: int, generator: torch.Generator) -> Tensor:
    """Draw cells of one to six colours and the background, [count, side, side].

    In half of the grids all of them are equally probable; in the others, there is more background.
    """
    most = 2 + _below(torch.full((count, 1, 1), MOST_COLORS), generator)
    density = 0.3 + 1.4 * torch.rand(count, 1, 1, generator=generator)
    colors = _below(most.expand(count, side, side), generator)
    return colors * (torch.rand(count, side, side, generator=generator) < density)


def _at(field: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return ``field``, [n, …, …], at each pair of ``rows`` and ``columns``, [n, S]."""
    grid = torch.arange(len(field))[:, None, None]
    return field[grid, rows[:, :, None], columns[:, None, :]]


def _from_edge(length: Tensor, side: int) -> Tensor:
    """Return each position's distance from the nearer end of a line, [n, S]; 0 beyond it."""
    line = torch.arange(side)
    return torch.minimum(line, length[:, None] - 1 - line).clamp(min=0)


def _no_objects(sizes: Tensor) -> Tensor:
    return torch.zeros(len(sizes), dtype=torch.int64)


def _below(limit: Tensor, generator: torch.Generator) -> Tensor:
    """Draw integers from 0 to ``limit`` - 1, int64."""
    return (torch.rand(limit.shape, generator=generator) * limit).long()
