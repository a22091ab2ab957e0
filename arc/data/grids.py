"""ARC grids: validation, and batches of grids of different sizes.

A grid is a rectangle of 1 to 30 rows and columns whose cells are colours 0 to 9.
Colour 0 is a colour like any other; cells outside a grid have no colour.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

NUM_COLORS = 10
COLORS = (  # of the grids, wherever they are drawn
    "#000000",
    "#0074d9",
    "#ff4136",
    "#2ecc40",
    "#ffdc00",
    "#aaaaaa",
    "#f012be",
    "#ff851b",
    "#7fdbff",
    "#870c25",
)
MAX_GRID_SIZE = 30


class DataError(ValueError):
    """A corpus cannot be read or used; the message names the place and the value."""


def check_grid(rows: Any, where: str) -> np.ndarray:
    """Return ``rows`` as a uint8 array [height, width].

    Raises DataError, naming ``where``, unless ``rows`` is a rectangle of 1 to 30 rows
    and columns of integers 0 to 9.
    """
    try:
        grid = np.asarray(rows.cpu() if isinstance(rows, Tensor) else rows)
    except ValueError:
        lengths = [len(row) if hasattr(row, "__len__") else "no list" for row in rows]
        raise DataError(f"{where}: rows have different lengths {lengths}") from None
    if grid.ndim != 2 or grid.size == 0:
        raise DataError(f"{where}: not a non-empty list of rows (shape {list(grid.shape)})")
    if max(grid.shape) > MAX_GRID_SIZE:
        height, width = grid.shape
        limit = f"{MAX_GRID_SIZE} x {MAX_GRID_SIZE}"
        raise DataError(f"{where}: grid is {height} x {width}; at most {limit} is allowed")
    kind = "bool" if grid.dtype.kind in "iu" and _has_bool(rows) else grid.dtype
    if grid.dtype.kind not in "iu" or kind == "bool":
        raise DataError(f"{where}: cells must be integers 0 to {NUM_COLORS - 1}, got {kind}")
    if grid.min() < 0 or grid.max() >= NUM_COLORS:
        bad = grid[(grid < 0) | (grid >= NUM_COLORS)][0]
        raise DataError(f"{where}: colour {bad} is not one of 0 to {NUM_COLORS - 1}")
    return grid.astype(np.uint8)


def _has_bool(rows: Any) -> bool:
    """Return whether a list of rows has a boolean among its integers, which numpy converts."""
    if isinstance(rows, np.ndarray | Tensor):
        return False
    return any(kind in map(type, row) for row in rows for kind in (bool, np.bool_))


def content_key(grid: np.ndarray) -> bytes:
    """Return bytes that are equal for two grids exactly when their contents are."""
    return bytes(grid.shape) + grid.tobytes()


DENSE_DEVICES = ("cuda",)


def uses_dense_cells(device: torch.device) -> bool:
    """Return whether lists of cells on ``device`` have 30 x 30 rows for every grid.

    On CUDA they do: then no shape depends on the data, and a training step can be captured as a
    CUDA graph. On a CPU they have one row for each cell, so that no padding is computed.
    """
    return device.type in DENSE_DEVICES


def grids_of_cells(sizes: Tensor, count: int) -> Tensor:
    """Return the grid of each of ``count`` cells, int64 [count], for grids of ``sizes`` [batch, 2].

    The list of cells is dense (see uses_dense_cells) if its length says so.
    """
    number = torch.arange(len(sizes), device=sizes.device)
    if count == len(sizes) * MAX_GRID_SIZE**2:
        return number[:, None].expand(-1, MAX_GRID_SIZE**2).flatten()
    return number.repeat_interleave(sizes.prod(1), output_size=count)


def inside_grids(sizes: Tensor, side: int) -> Tensor:
    """Return the cells inside grids of ``sizes`` [batch, 2]: bool [batch, side, side]."""
    line = torch.arange(side, device=sizes.device)
    return (line[:, None] < sizes[:, 0, None, None]) & (line < sizes[:, 1, None, None])


@dataclass(frozen=True)
class Grids:
    """A batch of grids of any sizes, padded at the bottom and right with zeros.

    ``cells`` is uint8 [batch, side, side]; ``sizes`` is int64 [batch, 2], each grid's height
    and width. Cells outside a grid's size are never read.
    """

    cells: Tensor
    sizes: Tensor

    @classmethod
    def from_arrays(cls, arrays: Sequence[Any], device: torch.device | str = "cpu") -> Grids:
        """Build from 2-D integer arrays, tensors or lists of rows; raises DataError."""
        if len(arrays) == 0:
            raise DataError("an empty list of grids")
        grids = [check_grid(array, f"grid {index}") for index, array in enumerate(arrays)]
        side = max(max(grid.shape) for grid in grids)
        cells = np.zeros((len(grids), side, side), np.uint8)
        for row, grid in zip(cells, grids, strict=True):
            row[: grid.shape[0], : grid.shape[1]] = grid
        sizes = torch.tensor([grid.shape for grid in grids], dtype=torch.int64)
        return cls(torch.from_numpy(cells), sizes).to(device)

    def __len__(self) -> int:
        return self.cells.shape[0]

    def __repr__(self) -> str:
        return f"Grids({len(self)} grids on {self.cells.device})"

    def __getitem__(self, indices: Tensor) -> Grids:
        """Select grids by an int64 tensor, keeping the padding."""
        indices = indices.to(self.cells.device)
        return Grids(self.cells[indices], self.sizes[indices])

    @property
    def padded(self) -> Tensor:
        """The cells, padded to 30 x 30: uint8 [batch, 30, 30]."""
        missing = MAX_GRID_SIZE - self.cells.shape[1]
        return F.pad(self.cells, (0, missing, 0, missing)) if missing else self.cells

    @property
    def inside(self) -> Tensor:
        """The cells inside each grid, without its padding: bool [batch, side, side]."""
        return inside_grids(self.sizes, self.cells.shape[1])

    def resized(self, sizes: Tensor) -> Grids:
        """Return the grids stretched or shrunk to ``sizes``, int64 [batch, 2].

        Cell (r, c) of the resized H x W grid is cell (r h // H, c w // W) of the h x w grid.
        """
        side = MAX_GRID_SIZE if uses_dense_cells(sizes.device) else int(sizes.max())
        line = torch.arange(side, device=sizes.device)
        source = line * self.sizes[:, :, None] // sizes[:, :, None]  # [batch, 2, side]
        source = torch.minimum(source, self.sizes[:, :, None] - 1)  # in the padding
        grid = torch.arange(len(self), device=sizes.device)[:, None, None]
        cells = self.cells[grid, source[:, 0, :, None], source[:, 1, None, :]]
        return Grids(cells, sizes)

    def recolored(self, colors: Tensor) -> Grids:
        """Return the grids with colour c of grid b replaced by ``colors[b, c]``, [batch, 10]."""
        grid = torch.arange(len(self), device=self.cells.device)[:, None, None]
        return Grids(colors.to(self.cells.dtype)[grid, self.cells.long()], self.sizes)

    def joined(self, other: Grids) -> Grids:
        """Return these grids followed by ``other``, padded to the same side."""
        return Grids(torch.cat([self.cells, other.cells]), torch.cat([self.sizes, other.sizes]))

    def to(self, device: torch.device | str) -> Grids:
        """Return the same grids on ``device``."""
        return Grids(self.cells.to(device), self.sizes.to(device))

    def arrays(self) -> list[np.ndarray]:
        """Return each grid as a uint8 array [height, width]."""
        cells, sizes = self.cells.cpu().numpy(), self.sizes.tolist()
        return [grid[:height, :width] for grid, (height, width) in zip(cells, sizes, strict=True)]


@dataclass(frozen=True, repr=False)
class GridPairs(Grids):
    """A batch of pairs: the grids are the inputs, ``outputs`` holds the output of each."""

    outputs: Grids

    @classmethod
    def of(cls, inputs: Grids, outputs: Grids) -> GridPairs:
        """Join inputs and their outputs."""
        return cls(inputs.cells, inputs.sizes, outputs)

    @classmethod
    def from_arrays(cls, arrays: Sequence[Any], device: torch.device | str = "cpu") -> GridPairs:
        """Build from (input, output) pairs of arrays, as ``Grids`` takes them; raises DataError."""
        for index, pair in enumerate(arrays):
            if len(pair) != 2:
                raise DataError(f"pair {index}: expected an input and an output")
        inputs, outputs = ([pair[side] for pair in arrays] for side in (0, 1))
        return cls.of(Grids.from_arrays(inputs, device), Grids.from_arrays(outputs, device))

    def __repr__(self) -> str:
        return f"GridPairs({len(self)} pairs on {self.cells.device})"

    def __getitem__(self, indices: Tensor) -> GridPairs:
        """Select pairs by an int64 tensor, keeping the padding."""
        return self.of(self.inputs[indices], self.outputs[indices])

    @property
    def inputs(self) -> Grids:
        """The inputs alone."""
        return Grids(self.cells, self.sizes)

    def to(self, device: torch.device | str) -> GridPairs:
        """Return the same pairs on ``device``."""
        return self.of(self.inputs.to(device), self.outputs.to(device))
