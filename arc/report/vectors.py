"""Vectors: their principal components."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from arc.report import figures
from arc.report.base import ReportedRun, Section, of_run
from arc.report.figures import Line

SCATTERED = 1000  # points
COMPONENTS = 20


def vectors(runs: Sequence[ReportedRun]) -> Section:
    """Return the principal components of vectors: their variance, and the first two."""
    section = Section(
        "vectors",
        "Vectors",
        "Principal components of the vectors. In the second figure, each dot is a grid; the more "
        "cells a grid has, the darker the dot.",
    )
    items = []
    for run in runs:
        sent = run.observed.evaluation.signal.double().cpu().numpy()
        if run.observed.evaluation.messages is not None or len(sent) < 2:
            continue
        left, scales, _ = np.linalg.svd(sent - sent.mean(0), full_matrices=False)
        shares = 100 * scales**2 / max(float((scales**2).sum()), 1e-12)
        rows = [
            {"component": place, "variance": float(share)} for place, share in enumerate(shares, 1)
        ]
        section.add_rows("vectors", (of_run(runs, run, row) for row in rows))
        shown_shares = shares[:COMPONENTS]
        svg = figures.curves(
            [Line("share of the variance", range(1, len(shown_shares) + 1), list(shown_shares))],
            "%",
            x_label="component",
        )
        items.append(section.draw_run(runs, run, "components", svg, "Variance by component"))
        chosen = np.unique(np.linspace(0, len(sent) - 1, min(len(sent), SCATTERED)).astype(int))
        area = np.array([run.sent_grid(int(each)).size for each in chosen])
        flat = left[:, :2] * scales[:2]
        if flat.shape[1] == 2:
            labels = tuple(f"component {n + 1} ({shares[n]:.0f} %)" for n in range(2))
            svg = figures.scatter(flat[chosen, 0], flat[chosen, 1], area, (labels[0], labels[1]))
            items.append(section.draw_run(runs, run, "plane", svg, "First two components"))
    section.add_figures(items)
    return section
