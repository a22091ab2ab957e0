"""The figures of a report, each as an SVG document."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from arc.report.drawing import (
    RULE,
    SERIES,
    STRONGEST,
    WIDTH,
    Line,
    accuracy_scale,
    document,
    drawing,
    numbers,
    shown_label,
    styled,
)


def accuracy_against_distractors(lines: Sequence[Line], counts: Sequence[int]) -> str:
    """Draw accuracies in percent against the number of distractors; ``counts`` are on the axis."""
    with drawing(200, lines=lines) as axes:
        scale = accuracy_scale(axes.yaxis, lines)
        for line, style in styled(lines):
            _line(axes, line, style, clip=scale)
        axes.set_xscale("log")
        axes.set_xticks(counts, [str(count) for count in counts])
        axes.set_xlim(min(counts) / 1.4, max(counts) * 1.4)
        axes.minorticks_off()
        axes.set_xlabel("distractors")
        axes.set_ylabel("accuracy, %")
        return document(axes)


def dots(
    names: Sequence[str], lines: Sequence[Line], label: str, *, is_accuracy: bool = False
) -> str:
    """Draw a row for each of ``names`` with a dot of each line at its value.

    ``x`` of a line are the numbers of its rows, ``y`` the values.
    """
    own = [line for line in lines if not line.is_reference]
    with drawing(17 * len(names), lines=lines, labels=names) as axes:
        scale = accuracy_scale(axes.xaxis, lines) if is_accuracy else None
        for line, style in styled(lines):
            shift = 0.0
            if line in own and len(own) > 1:
                shift = 0.5 * (own.index(line) / (len(own) - 1) - 0.5)
            _dots(axes, line, style, shift, scale)
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel(label)
        return document(axes)


def curves(
    lines: Sequence[Line], label: str, *, x_label: str = "step", is_log: bool = False
) -> str:
    """Draw lines; those of few points with a marker at each."""
    from matplotlib.ticker import NullFormatter

    with drawing(180, lines=lines) as axes:
        for line, style in styled(lines):
            style = {**style, "marker": None} if len(line.x) > 60 else style
            _line(axes, line, style)
        if is_log:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter("{x:g}")
            low, high = axes.get_ylim()
            axes.yaxis.set_minor_formatter("{x:.3g}" if high < 10 * low else NullFormatter())
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_xlabel(x_label)
        axes.set_ylabel(label)
        return document(axes)


def heat_map(
    values: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    top: float,
    form: str,
    label: str,
) -> str:
    """Draw [rows, columns] as cells, the fullest at ``top``; values as text if there is room."""
    from matplotlib.collections import PatchCollection
    from matplotlib.colors import to_rgba
    from matplotlib.patches import Rectangle

    height, width = values.shape
    has_text = width <= 12
    room = max(WIDTH, 110 + 12 * width)
    with drawing(15 * height, width=room, labels=rows) as axes:
        shares = np.clip(values / top if top > 0 else values * 0, 0, 1) * STRONGEST
        cells = [Rectangle((x - 0.5, y - 0.5), 1, 1) for y in range(height) for x in range(width)]
        colors = [to_rgba(SERIES[0], round(float(share), 3)) for share in shares.ravel()]
        axes.add_collection(PatchCollection(cells, facecolors=colors, edgecolors=RULE, lw=0.5))
        if has_text:
            for (y, x), value in np.ndenumerate(values):
                axes.text(x, y, form.format(value), ha="center", va="center", size=9)
        axes.set_xlim(-0.5, width - 0.5)
        axes.set_ylim(height - 0.5, -0.5)
        axes.set_yticks(range(height), rows)
        shown = range(0, width, -(-width // 20))
        axes.set_xticks(shown, [columns[place] for place in shown])
        axes.grid(False)
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.set_xlabel(label)
        return document(axes)


def scatter(x: np.ndarray, y: np.ndarray, values: np.ndarray, labels: tuple[str, str]) -> str:
    """Draw points that are more opaque the larger their value, by its rank."""
    from matplotlib.colors import to_rgba

    with drawing(260) as axes:
        ranks = np.searchsorted(np.sort(values), values, side="right") / len(values)
        colors = [to_rgba(SERIES[0], 0.15 + 0.75 * round(float(rank), 2)) for rank in ranks]
        axes.scatter(x, y, s=7, c=colors, linewidths=0)
        axes.set_xlabel(labels[0])
        axes.set_ylabel(labels[1])
        return document(axes)


def _line(
    axes: Any,
    line: Line,
    style: dict[str, Any],
    clip: Callable[[Sequence[float | None]], np.ndarray] | None = None,
) -> None:
    clip = clip or numbers
    y = clip(line.y)
    axes.plot(line.x, y, label=shown_label(line.label), **style)
    if line.low:
        errors = np.stack([y - clip(line.low), clip(line.high) - y])
        kept = np.isfinite(errors).all(0)
        x = np.asarray(line.x, float)[kept]
        axes.errorbar(
            x, y[kept], errors[:, kept].clip(0), fmt="none", ecolor=style["color"], capsize=2.5
        )


def _dots(
    axes: Any,
    line: Line,
    style: dict[str, Any],
    shift: float,
    clip: Callable[[Sequence[float | None]], np.ndarray] | None,
) -> None:
    clip = clip or numbers
    values, rows = clip(line.y), np.asarray(line.x, float) + shift
    axes.plot(values, rows, label=shown_label(line.label), **{**style, "linestyle": "none"})
    if line.low:
        errors = np.stack([values - clip(line.low), clip(line.high) - values])
        kept = np.isfinite(errors).all(0)
        axes.errorbar(
            values[kept],
            rows[kept],
            xerr=errors[:, kept].clip(0),
            fmt="none",
            ecolor=style["color"],
            capsize=2.5,
        )
