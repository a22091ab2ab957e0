"""What all figures have in common: colours, style, legend and scale, and how they become SVG.

Matplotlib is imported when the first figure is drawn. The SVG is a document of its own in the
colours of PALETTE. ``inline`` turns it into an element of a page, whose style sheet sets these
colours.
"""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup, escape

PALETTE = {  # the light colours of the dashboard
    "ink": "#1d2126",
    "soft": "#5c646c",
    "rule": "#e0ddd6",
    "edge": "#8a8f94",
    "accent": "#0b5c8a",
    "second": "#b4470c",
    "more": "#6a4c93",
    "good": "#1f6b3a",
}
INK, SOFT, RULE, EDGE = (PALETTE[name] for name in ("ink", "soft", "rule", "edge"))
SERIES = [PALETTE[name] for name in ("accent", "second", "more", "good")]
MARKERS = "osD^vP"
DASHES = ["-", "--", ":", "-."]
REFERENCE = r'(?<=url\(|ef=")#([\w.-]+)'  # to an element of the same document, as in href="#a"
CHARACTER = 5.6  # px; the usual width of a letter of a label
WIDTH = 360  # px; a figure that is wider scrolls on a phone
LOGIT_FROM = 95.0  # accuracies above this are shown on a logit scale
LEAST, MOST = 0.05, 99.99  # ends of the logit scale, in percent
STRONGEST = 0.5  # opacity of the fullest cell of a heat map; text on it stays readable

STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "arc",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": SOFT,
    "axes.labelsize": 10,
    "axes.edgecolor": EDGE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.8,
    "xtick.color": EDGE,
    "ytick.color": EDGE,
    "xtick.labelcolor": SOFT,
    "ytick.labelcolor": SOFT,
    "lines.linewidth": 1.6,
    "lines.markersize": 4,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "legend.handlelength": 2.2,
    "legend.columnspacing": 1.2,
    "figure.dpi": 72,
    "savefig.transparent": True,
}


@dataclass(frozen=True)
class Line:
    """A series of points. ``low`` and ``high``: ends of the intervals, None where there is none.

    ``is_reference``: a baseline or a floor, drawn in grey.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float | None]
    low: Sequence[float | None] = ()
    high: Sequence[float | None] = ()
    is_reference: bool = False


def inline(svg: str, name: str, title: str) -> Markup:
    """Return an SVG document as an element of an HTML page; ``title`` is for screen readers.

    The identifiers in it are made unique with ``name``.
    """
    text = svg[svg.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", text, flags=re.DOTALL)
    used = set(re.findall(REFERENCE, text))

    def renamed(match: re.Match[str]) -> str:
        return f' id="{name}-{match[1]}"' if match[1] in used else ""

    text = re.sub(r' id="([^"]*)"', renamed, text)
    text = re.sub(REFERENCE, rf"#{name}-\1", text)
    for key, color in PALETTE.items():
        text = text.replace(color, f"var(--{key})")
    head, body = text.split(">", 1)
    width, height = map(float, re.findall(r'(?:width|height)="([\d.]+)pt"', head))
    size = f'viewBox="0 0 {width:g} {height:g}" width="{width:.0f}" height="{height:.0f}"'
    wide = f' style="min-width: {width:.0f}px"' if width > WIDTH else ""
    label = f'role="img" aria-label="{escape(title)}"'
    body = re.sub(r"\n\s*", "\n", body)
    return Markup(f"<svg {size}{wide} {label}>{body}")


@contextmanager
def drawing(
    height: float,
    *,
    width: float = WIDTH,
    lines: Sequence[Line] = (),
    labels: Sequence[str] = (),
) -> Iterator[Any]:
    """Yield axes of a ``height`` in pixels, in the style of the report.

    There is room for a legend of ``lines`` above, and for the ``labels`` of rows at the left or,
    without them, for numbers and the label of the axis.
    """
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # it reports its cache of fonts
    from matplotlib import style
    from matplotlib.figure import Figure

    left = CHARACTER * max(map(len, labels)) + 12 if labels else 54
    names = [shown_label(line.label) for line in lines]
    above = 14 * -(-len(names) // _columns(names)) + 8 if names else 6
    below = 36
    with style.context(STYLE, after_reset=True):
        total = above + height + below
        figure = Figure(figsize=(width / 72, total / 72))
        yield figure.add_axes(
            (left / width, below / total, 1 - (left + 8) / width, height / total),
        )


def _columns(labels: Sequence[str]) -> int:
    """Return how many entries of the legend fit side by side."""
    return max(1, min(3, int(WIDTH // (CHARACTER * max(map(len, labels)) + 36))))


def document(axes: Any) -> str:
    """Return the drawing, with a legend if it has lines."""
    _add_legend(axes)
    buffer = io.StringIO()
    axes.figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def save_drawing(axes: Any, path: Path) -> None:
    """Write the drawing, with a legend, to a file of the type of its name; raises OSError."""
    _add_legend(axes)
    axes.figure.savefig(path, dpi=2 * STYLE["figure.dpi"], facecolor="white", transparent=False)


def _add_legend(axes: Any) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        place = {"loc": "upper left", "borderaxespad": 0.1, "ncols": _columns(labels)}
        axes.figure.legend(handles, labels, **place)


def styled(lines: Sequence[Line]) -> Iterator[tuple[Line, dict[str, Any]]]:
    """Yield each line with its style, which no other line has."""
    own = references = 0
    for line in lines:
        if line.is_reference:
            number, colors, dashes = references, [SOFT], DASHES[1:]
            references += 1
        else:
            number, colors, dashes = own, SERIES, DASHES
            own += 1
        yield (
            line,
            {
                "color": colors[number % len(colors)],
                "linestyle": dashes[number // len(colors) % len(dashes)],
                "marker": MARKERS[(number + 1 if line.is_reference else number) % len(MARKERS)],
                "linewidth": 1.0 if line.is_reference else 1.6,
                "markerfacecolor": "none" if line.is_reference else None,
                "zorder": 2.0 if line.is_reference else 3.0,
            },
        )


def accuracy_scale(
    axis: Any, lines: Sequence[Line]
) -> Callable[[Sequence[float | None]], np.ndarray]:
    """Set the scale of an axis in percent; returns what brings values within its ends.

    Where a line comes close to 100, differences there and near 0 are visible on a logit scale.
    """
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

    highest = np.nanmax([np.nanmax(numbers(line.y), initial=0) for line in lines])
    if highest <= LOGIT_FROM:
        axis.axes.set(**{f"{axis.axis_name}lim": (-2, 102)})
        return numbers
    ticks = (0.1, 1, 10, 50, 90, 99, 99.9)
    ends = (np.log(LEAST / (100 - LEAST)), np.log(MOST / (100 - MOST)))
    set_scale = getattr(axis.axes, f"set_{axis.axis_name}scale")
    set_scale("function", functions=(_logit, _percent))
    axis.axes.set(**{f"{axis.axis_name}lim": (_percent(ends[0] - 0.2), _percent(ends[1] + 0.2))})
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FixedFormatter([f"{tick:g}" for tick in ticks]))
    axis.set_minor_locator(NullLocator())
    return lambda values: np.clip(numbers(values), LEAST, MOST)


def _logit(percent: np.ndarray) -> np.ndarray:
    share = np.clip(np.asarray(percent, float) / 100, 1e-6, 1 - 1e-6)
    return np.log(share / (1 - share))


def _percent(logit: Any) -> Any:
    return 100 / (1 + np.exp(-np.asarray(logit, float)))


def numbers(values: Sequence[float | None]) -> np.ndarray:
    """Return values as float64, None as NaN."""
    return np.array([np.nan if value is None else value for value in values], float)


def shown_label(text: str) -> str:
    """Return a label that Matplotlib shows: it leaves out those that begin with an underscore."""
    text = text if len(text) <= 40 else f"{text[:18]}…{text[-21:]}"
    return f" {text}" if text.startswith("_") else text
