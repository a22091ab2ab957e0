"""The history of a run, in bounded memory."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

CAPACITY = 4096
MEANS = ("loss", "accuracy", "learning_rate", "grad_norm")
EXTREMES = ("loss", "accuracy")


class History:
    """Rows of training steps; when there are too many, neighbours are merged in pairs.

    A row holds the means over its steps, the lowest and highest loss and accuracy among them (so
    that outliers are kept), and the counters of the last one.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        assert capacity % 2 == 0, "rows are merged in pairs"
        self._capacity = capacity
        self._stride = 1
        self._rows: list[dict[str, Any]] = []
        self._open: list[dict[str, Any]] = []

    def add(self, row: dict[str, Any]) -> None:
        """Add one step: ``batch_num``, ``epoch``, ``batch``, ``seconds`` and the MEANS."""
        lows_and_highs = {f"{key}_{end}": row[key] for key in EXTREMES for end in ("min", "max")}
        self._open.append({**row, **lows_and_highs, "steps": 1})
        if len(self._open) < self._stride:
            return
        self._rows.append(merged(self._open))
        self._open = []
        if len(self._rows) >= self._capacity:
            pairs = zip(self._rows[::2], self._rows[1::2], strict=True)
            self._rows = [merged(list(pair)) for pair in pairs]
            self._stride *= 2

    def since(self, batch_num: int) -> list[dict[str, Any]]:
        """Return the rows that end after step ``batch_num``."""
        rows = [*self._rows, merged(self._open)] if self._open else self._rows
        return [row for row in rows if row["batch_num"] > batch_num]


def merged(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Merge rows, in order, into one."""
    if len(rows) == 1:
        return rows[0]
    steps = sum(row["steps"] for row in rows)
    means = {key: sum(row[key] * row["steps"] for row in rows) / steps for key in MEANS}
    lows = {f"{key}_min": min(row[f"{key}_min"] for row in rows) for key in EXTREMES}
    highs = {f"{key}_max": max(row[f"{key}_max"] for row in rows) for key in EXTREMES}
    return {**rows[-1], **means, **lows, **highs, "steps": steps}


class Rates:
    """Steps and examples per second over the last steps."""

    def __init__(self, steps: int = 50) -> None:
        self._recent: deque[tuple[float, int]] = deque(maxlen=steps)

    def add(self, targets: int) -> None:
        """Count a step of ``targets`` examples that ended now."""
        self._recent.append((time.monotonic(), targets))

    def per_second(self) -> tuple[float, float] | None:
        """Return steps and examples per second; None before the second step."""
        if len(self._recent) < 2:
            return None
        seconds = max(self._recent[-1][0] - self._recent[0][0], 1e-9)
        targets = sum(count for _, count in self._recent) - self._recent[0][1]
        return (len(self._recent) - 1) / seconds, targets / seconds
