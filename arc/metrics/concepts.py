"""Concepts of grids: properties that a message can describe, each an integer per grid.

Colours are 0 to 9, and NO_COLOR where there is none. If several colours are equally
frequent, the smallest number is taken. An object is a connected set of cells of one colour other
than the background, with 4 or 8 neighbours per cell. Sets of colours are bit masks: bit c stands
for colour c.

====================  ====================  ======================================================
name                  range                 meaning
====================  ====================  ======================================================
``height``            1 to 30               rows
``width``             1 to 30               columns
``area``              1 to 900              cells
``num_colors``        1 to 10               number of different colours
``colors``            1 to 1023             set of colours
``background``        0 to 9                most frequent colour
``foreground``        0 to 9, or NO_COLOR   most frequent colour other than the background
``objects_4``         0 to 900              objects, 4 neighbours
``objects_8``         0 to 900              objects, 8 neighbours
``largest_size``      0 to 900              cells of the largest object, 8 neighbours
``largest_color``     0 to 9, or NO_COLOR   colour of the largest object, 8 neighbours
``left_right``        0 or 1                equal to its mirror image, left and right exchanged
``up_down``           0 or 1                equal to its mirror image, top and bottom exchanged
``diagonal``          0 or 1                equal to its transpose
``antidiagonal``      0 or 1                equal to its transpose along the other diagonal
``rotation``          0 or 1                equal to itself rotated by 180 degrees
``output``            0 or 1                the grid is the output of a pair
``puzzle``            0 and up              number of the puzzle
====================  ====================  ======================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from arc.data import Split
from arc.data.features import color_counts
from arc.data.grids import NUM_COLORS, Grids

Array = np.ndarray[Any, Any]

NO_COLOR = NUM_COLORS
IDENTITIES = ("puzzle",)  # concepts that name an example rather than describe it


@dataclass(frozen=True, eq=False)
class ConceptTable:
    """A table of concepts, one row for each example.

    ``names``: C different names. ``values``: int64 [N, C]. Raises ValueError if they do not fit.
    """

    names: tuple[str, ...]
    values: Array

    def __post_init__(self) -> None:
        values = np.asarray(self.values)
        if values.ndim != 2 or values.dtype.kind not in "iu" or 0 in values.shape:
            got = f"{values.dtype} {list(values.shape)}"
            raise ValueError(f"values: integers [examples, concepts] are needed, got {got}")
        if len(set(self.names)) != values.shape[1] or len(self.names) != values.shape[1]:
            wanted = f"{values.shape[1]} different names"
            raise ValueError(f"names: {wanted} are needed, got {', '.join(self.names) or 'none'}")
        object.__setattr__(self, "names", tuple(self.names))
        object.__setattr__(self, "values", values.astype(np.int64))

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, examples: Array) -> ConceptTable:
        """Select examples by an integer array."""
        return ConceptTable(self.names, self.values[examples])

    def select(self, *names: str) -> ConceptTable:
        """Return the table of the named concepts; raises ValueError for an unknown name."""
        if unknown := [name for name in names if name not in self.names]:
            allowed = ", ".join(self.names)
            raise ValueError(f"unknown concept {unknown[0]!r}; choose from: {allowed}")
        return ConceptTable(names, self.values[:, [self.names.index(name) for name in names]])

    @cached_property
    def attributes(self) -> ConceptTable:
        """The concepts that describe an example: all but ``puzzle``, unless it is the only one."""
        names = [name for name in self.names if name not in IDENTITIES]
        return self.select(*names) if names else self

    @cached_property
    def levels(self) -> list[Array]:
        """The values of each concept that occur, ascending."""
        return [np.unique(column) for column in self.values.T]

    @property
    def sizes(self) -> list[int]:
        """The number of values of each concept that occur."""
        return [len(levels) for levels in self.levels]

    @cached_property
    def codes(self) -> Array:
        """Each value as its index in ``levels``: int64 [C, N]."""
        columns = zip(self.levels, self.values.T, strict=True)
        return np.stack([np.searchsorted(levels, column) for levels, column in columns])


def grid_concepts(
    grids: Grids, *, output: Array | None = None, puzzle: Array | None = None
) -> ConceptTable:
    """Compute the concepts of ``grids``, as described at the top of this module.

    ``output`` (0 or 1) and ``puzzle``, int64 [grids], are concepts of the table if given.
    """
    grids = grids.to("cpu")
    sizes, inside = grids.sizes.numpy(), grids.inside.numpy()
    cells = np.where(inside, grids.cells.numpy(), NO_COLOR).astype(np.int64)
    counts = color_counts(grids).numpy()
    background = counts.argmax(1)
    others = counts.copy()
    others[np.arange(len(counts)), background] = 0
    columns = {
        "height": sizes[:, 0],
        "width": sizes[:, 1],
        "area": sizes.prod(1),
        "num_colors": (counts > 0).sum(1),
        "colors": (counts > 0) @ (1 << np.arange(NUM_COLORS)),
        "background": background,
        "foreground": np.where(others.any(1), others.argmax(1), NO_COLOR),
        **_objects(cells, background),
        **_symmetries(cells, sizes),
    }
    if output is not None:
        columns["output"] = np.asarray(output)
    if puzzle is not None:
        columns["puzzle"] = np.asarray(puzzle)
    return ConceptTable(tuple(columns), np.stack(list(columns.values()), 1))


def split_concepts(split: Split, examples: Tensor | None = None) -> ConceptTable:
    """Return the concepts of the grid that the sender sees, for each example of ``split``.

    ``examples``, int64 [N], selects some of them. Each distinct grid is examined once.
    """
    chosen = torch.arange(len(split)) if examples is None else examples
    grids, grid = split.sender[chosen].unique(return_inverse=True)
    table = grid_concepts(split.grids[grids])[grid.numpy()]
    of_example = np.stack([split.label[chosen].numpy() % 2, split.puzzle[chosen].numpy()], 1)
    return ConceptTable(
        (*table.names, "output", "puzzle"), np.concatenate([table.values, of_example], 1)
    )


def _objects(cells: Array, background: Array) -> dict[str, Array]:
    """Count the objects of each grid and find the largest.

    ``cells``: int64 [N, side, side], NO_COLOR outside. ``background``: int64 [N].
    """
    from scipy.ndimage import generate_binary_structure, label  # imported here: it takes 0.5 s

    found = {name: np.zeros(len(cells), np.int64) for name in ("objects_4", "objects_8")}
    size, color = np.zeros(len(cells), np.int64), np.full(len(cells), NO_COLOR)
    for number in range(NUM_COLORS):
        here = np.flatnonzero((cells == number).any((1, 2)) & (background != number))
        for connectivity, name in enumerate(found, start=1):
            neighbors = np.zeros((3, 3, 3), bool)  # within a grid, not between grids
            neighbors[1] = generate_binary_structure(2, connectivity)
            labels, objects = label(cells[here] == number, neighbors)
            sizes = np.bincount(labels.ravel(), minlength=objects + 1)[1:]
            places = np.nonzero(labels)
            owner = np.zeros(objects, np.int64)
            owner[labels[places] - 1] = here[places[0]]
            np.add.at(found[name], owner, 1)
        largest = np.zeros(len(cells), np.int64)  # of this colour; sizes are of 8 neighbours
        np.maximum.at(largest, owner, sizes)
        color[largest > size] = number
        size = np.maximum(size, largest)
    return {**found, "largest_size": size, "largest_color": color}


def _symmetries(cells: Array, sizes: Array) -> dict[str, Array]:
    """Compare each grid with its images; ``cells`` as in ``_objects``, ``sizes``: [N, 2]."""
    grid = np.arange(len(cells))[:, None, None]
    row, column = np.indices(cells.shape[1:])
    height, width = sizes[:, 0, None, None], sizes[:, 1, None, None]
    square = (sizes[:, 0] == sizes[:, 1]).astype(np.int64)
    inside = (row < height) & (column < width)

    def equal(rows: Array, columns: Array) -> Array:
        image = cells[grid, np.where(inside, rows, 0), np.where(inside, columns, 0)]
        return ((image == cells) | ~inside).all((1, 2)).astype(np.int64)

    down, right = height - 1 - row, width - 1 - column
    return {
        "left_right": equal(row, right),
        "up_down": equal(down, column),
        "diagonal": square * equal(column, row),
        "antidiagonal": square * equal(right, down),
        "rotation": equal(down, right),
    }
