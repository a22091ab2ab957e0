"""The runs of some folders, for the page: a table, and curves of chosen ones."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from arc.runs.comparison import compare_runs, curve_names, group_band
from arc.runs.records import RunFinder, RunRecord

MOST_RUNS = 500


class RunsView:
    """Reads the runs below ``folders()`` again at each request, but only files that changed.

    Of more than MOST_RUNS runs, those that changed last are read. Clients name runs by identifiers
    of the table, never by paths.
    """

    def __init__(self, folders: Callable[[], Sequence[Path]]) -> None:
        self._folders, self._finder, self._lock = folders, RunFinder(), threading.Lock()
        self._known: dict[str, list[RunRecord]] = {}

    def table(self) -> dict[str, Any]:
        """Return the comparison of the runs, its ``folders``, and the names of ``curves``."""
        with self._lock:
            folders = self._folders()
            runs, warnings = self._finder.find(folders, MOST_RUNS)
            content = compare_runs(runs, warnings)
            by_id = {row["id"]: run for row, run in zip(content["runs"], runs, strict=True)}
            groups = {
                group["id"]: [by_id[name] for name in group["runs"]] for group in content["groups"]
            }
            self._known = {name: [run] for name, run in by_id.items()} | groups
            return {
                "folders": [str(folder) for folder in folders],
                **content,
                "curves": curve_names(runs),
            }

    def curves(self, name: str, chosen: Sequence[str]) -> dict[str, Any]:
        """Return a curve of each chosen run, or its mean and range over each chosen group.

        Runs without it, and identifiers that no longer exist, are left out.
        """
        if not self._known:
            self.table()
        with self._lock:
            rows = []
            for each in chosen:
                found = group_band(self._known.get(each, []), name)
                if found is not None:
                    row = {"id": each, "runs": found.count, "steps": found.steps.tolist()}
                    ends = {} if found.count == 1 else {"low": found.low, "high": found.high}
                    for key, values in {"mean": found.mean, **ends}.items():
                        row[key] = _short(values)
                    rows.append(row)
            return {"name": name, "curves": rows}


def _short(values: np.ndarray) -> list[float]:
    """Return numbers with six significant digits, which a chart does not need more of."""
    return [float(f"{value:.6g}") for value in values]
