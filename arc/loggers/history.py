"""The course of a run, kept in bounded memory however long it lasts."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

CAPACITY = 4096
MEANS = ("loss", "accuracy", "learning_rate", "grad_norm")
EXTREMES = ("loss", "accuracy")


class History:
    """Rows of training steps; when they are too many, neighbours are joined two by two.

    A row holds means over the steps that it stands for, the lowest and highest loss and
    accuracy among them (so that an outlier is never lost), and the last one's counters.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        assert capacity % 2 == 0, "rows are joined two by two"
        self._capacity = capacity
        self._stride = 1
        self._rows: list[dict[str, Any]] = []
        self._open: list[dict[str, Any]] = []

    def add(self, row: dict[str, Any]) -> None:
        """Take in one step: ``batch_num``, ``epoch``, ``batch``, ``seconds`` and the MEANS."""
        lows_and_highs = {f"{key}_{end}": row[key] for key in EXTREMES for end in ("min", "max")}
        self._open.append({**row, **lows_and_highs, "steps": 1})
        if len(self._open) < self._stride:
            return
        self._rows.append(joined(self._open))
        self._open = []
        if len(self._rows) >= self._capacity:
            pairs = zip(self._rows[::2], self._rows[1::2], strict=True)
            self._rows = [joined(list(pair)) for pair in pairs]
            self._stride *= 2

    def since(self, batch_num: int) -> list[dict[str, Any]]:
        """Return the rows that end after step ``batch_num``, and what the last one lacks."""
        rows = [*self._rows, joined(self._open)] if self._open else self._rows
        return [row for row in rows if row["batch_num"] > batch_num]


def joined(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return one row that stands for several, in order."""
    if len(rows) == 1:
        return rows[0]
    steps = sum(row["steps"] for row in rows)
    means = {key: sum(row[key] * row["steps"] for row in rows) / steps for key in MEANS}
    lows = {f"{key}_min": min(row[f"{key}_min"] for row in rows) for key in EXTREMES}
    highs = {f"{key}_max": max(row[f"{key}_max"] for row in rows) for key in EXTREMES}
    return {**rows[-1], **means, **lows, **highs, "steps": steps}


class Rates:
    """Steps and targets per second over the last steps."""

    def __init__(self, steps: int = 50) -> None:
        self._recent: deque[tuple[float, int]] = deque(maxlen=steps)

    def add(self, targets: int) -> None:
        """Take in a step of so many targets, which ended now."""
        self._recent.append((time.monotonic(), targets))

    def per_second(self) -> tuple[float, float] | None:
        """Return steps and targets per second; None before the second step."""
        if len(self._recent) < 2:
            return None
        seconds = max(self._recent[-1][0] - self._recent[0][0], 1e-9)
        targets = sum(count for _, count in self._recent) - self._recent[0][1]
        return (len(self._recent) - 1) / seconds, targets / seconds
