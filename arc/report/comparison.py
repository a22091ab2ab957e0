"""The learning curves of compared runs as a figure; does not import torch."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path

from arc.config.files import ConfigError
from arc.report.drawing import Line, drawing, save_drawing, shown_label, styled
from arc.runs.files import check_writable
from arc.runs.metrics_file import Band

WIDTH, HEIGHT = 640, 320  # px
TYPES = (".png", ".svg", ".pdf")


def check_plot(path: Path) -> None:
    """Raise ConfigError if ``plot_curves`` could not write ``path``, or Matplotlib is missing."""
    if path.suffix not in TYPES:
        raise ConfigError(f"plot={path}: the name must end in {', '.join(TYPES)}")
    if importlib.util.find_spec("matplotlib") is None:
        raise ConfigError("plot: needs Matplotlib: pip install -e '.[report]'")
    check_writable(path)


def plot_curves(path: Path, bands: Mapping[str, Band], unit: str) -> None:
    """Write the mean of each group over the steps, and a band from its lowest to its highest run.

    The type of the file is that of its name. Raises OSError if it cannot be written.
    """
    lines = [Line(name, list(each.steps), list(each.mean)) for name, each in bands.items()]
    with drawing(HEIGHT, width=WIDTH, lines=lines) as axes:
        for (line, style), each in zip(styled(lines), bands.values(), strict=True):
            style |= {"marker": "None" if len(each.steps) > 40 else style["marker"]}
            axes.plot(each.steps, each.mean, label=shown_label(line.label), **style)
            if each.count > 1:
                axes.fill_between(
                    each.steps, each.low, each.high, color=style["color"], alpha=0.15, linewidth=0
                )
        axes.set_xlabel("step")
        axes.set_ylabel(unit)
        save_drawing(axes, path)
