"""Grids as images: RGB arrays in the colours of ARC."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from arc.data.grids import COLORS
from arc.training import Example

PALETTE = np.array([list(bytes.fromhex(color[1:])) for color in COLORS], dtype=np.uint8)
LINE, BACKGROUND = (74, 74, 74), (255, 255, 255)
CELL = 8  # px


def grid_image(grid: np.ndarray, cell: int = CELL) -> np.ndarray:
    """Return a grid, integers [height, width], as uint8 [height·cell + 1, width·cell + 1, 3]."""
    height, width = grid.shape
    image = np.empty((height * cell + 1, width * cell + 1, 3), dtype=np.uint8)
    image[:-1, :-1] = PALETTE[grid].repeat(cell, 0).repeat(cell, 1)
    image[::cell] = image[:, ::cell] = LINE
    return image


def row_of_grids(grids: Sequence[np.ndarray], cell: int = CELL) -> np.ndarray:
    """Return grids side by side, a cell apart: uint8 [height, width, 3]."""
    images = [grid_image(grid, cell) for grid in grids]
    height = max(len(image) for image in images)
    parts = []
    for image in images:
        part = np.full((height, image.shape[1] + cell, 3), BACKGROUND, dtype=np.uint8)
        part[: len(image), : image.shape[1]] = image
        parts.append(part)
    return np.concatenate(parts, axis=1)[:, :-cell]


def example_image(example: Example) -> np.ndarray:
    """Return the grid that was sent, the target if it is another one, and the output, in a row."""
    grids = [example.sent]
    if not np.array_equal(example.sent, example.target):
        grids.append(example.target)
    if example.output is not None:
        grids.append(example.output)
    return row_of_grids(grids)
