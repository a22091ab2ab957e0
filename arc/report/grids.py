"""Grids as small inline SVG, in the colours of ARC and the dashboard."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup, escape

from arc.data.grids import COLORS

COLOR_NAMES = (
    "black",
    "blue",
    "red",
    "green",
    "yellow",
    "grey",
    "magenta",
    "orange",
    "azure",
    "maroon",
)
LINES = "#4a4a4a"
SIZE, LARGEST_CELL = 112, 14  # px


def grid_svg(
    grid: np.ndarray, label: str, target: np.ndarray | None = None, size: int = SIZE
) -> Markup:
    """Return ``grid`` as an SVG element; cells that differ from ``target`` are crossed out.

    ``label`` names the grid for screen readers. ``size``: the largest height and width, in pixels.
    """
    rows, columns = grid.shape
    cell = min(size / max(rows, columns), LARGEST_CELL)
    box = f'width="{columns * cell:.0f}" height="{rows * cell:.0f}"'
    parts = [f'<path fill="{COLORS[color]}" d="{_runs(grid == color)}"/>' for color in _used(grid)]
    lines = "".join(f"M0 {row}h{columns}" for row in range(rows + 1))
    lines += "".join(f"M{column} 0v{rows}" for column in range(columns + 1))
    parts.append(f'<path stroke="{LINES}" stroke-width="{0.7 / cell:.3f}" d="{lines}"/>')
    if target is not None:
        wrong = grid != target if grid.shape == target.shape else np.ones_like(grid, bool)
        crosses = "".join(
            f"M{c}.2 {r}.2l.6 .6M{c}.8 {r}.2l-.6 .6"
            for r, c in zip(*np.nonzero(wrong), strict=True)
        )
        for color, width in (("#fff", 0.25), ("#000", 0.11)):
            parts.append(f'<path stroke="{color}" stroke-width="{width}" d="{crosses}"/>')
    name = escape(f"{label}, {_described(grid, target)}")
    return Markup(
        f'<svg class="grid" role="img" aria-label="{name}" viewBox="0 0 {columns} {rows}" {box} '
        f'preserveAspectRatio="none">{"".join(parts)}</svg>'
    )


def _used(grid: np.ndarray) -> list[int]:
    return [int(color) for color in np.unique(grid)]


def _runs(cells: np.ndarray) -> str:
    """Return the path of the rectangles of each row's runs of true ``cells``."""
    padded = np.pad(cells.astype(np.int8), ((0, 0), (1, 1)))
    steps = np.diff(padded, axis=1)
    starts, ends = np.argwhere(steps == 1), np.argwhere(steps == -1)
    return "".join(
        f"M{start} {row}h{end - start}v1h{start - end}z"
        for (row, start), (_, end) in zip(starts.tolist(), ends.tolist(), strict=True)
    )


def _described(grid: np.ndarray, target: np.ndarray | None) -> str:
    counts = np.bincount(grid.ravel(), minlength=len(COLORS))
    colors = ", ".join(f"{color} {COLOR_NAMES[color]} ×{counts[color]}" for color in _used(grid))
    text = f"{grid.shape[0]} by {grid.shape[1]}: {colors}"
    if target is None:
        return text
    wrong = int((grid != target).sum()) if grid.shape == target.shape else grid.size
    return f"{text}; {wrong} cells wrong"
