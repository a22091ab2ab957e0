"""The ``metrics.jsonl`` of runs as columns, and the curves of several seeds as mean and range."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

POINTS = 200  # of a curve
STEP_NAMES = ("loss", "accuracy", "learning_rate", "grad_norm")
ROW_NAMES = ("val_acc", "val_loss", "train_loss", "train_accuracy")
NESTED = ("metrics", "language")  # of a validation; their values are named ``val.NAME``
VALIDATION = b'{"kind": "validation"'
CHUNK = 2**18  # bytes; parsing them blocks other threads for some milliseconds
TAIL = 8192  # bytes at the end of a file, with its last lines
Row = Mapping[str, Any]
VALUE = rb'^\{"kind": "step", "step": (\d+),.*?"NAME": (-?\d[^,}]*)'  # of a step
Curve = tuple[np.ndarray, np.ndarray]  # steps and values, float64


@dataclass(frozen=True)
class Metrics:
    """The validations of a run, in order, and the files with its steps, oldest first.

    ``changed``: when the last of the files was written, in seconds since 1970; 0 without a file.
    """

    validations: Sequence[Row] = ()
    files: Sequence[MetricsFile] = ()
    last_step: int | None = None
    changed: float = 0.0

    @classmethod
    def joined(cls, parts: Sequence[Metrics]) -> Metrics:
        """Return the metrics of a run that was resumed in further output folders, oldest first."""
        if len(parts) < 2:
            return parts[0] if parts else cls()
        rows: list[Row] = []
        _continue(rows, (row for part in parts for row in part.validations))
        files = [file for part in parts for file in part.files]
        steps = [part.last_step for part in parts if part.last_step is not None]
        changed = max(part.changed for part in parts)
        return cls(rows, files, steps[-1] if steps else None, changed)

    @property
    def paths(self) -> list[Path]:
        """The files."""
        return [file.path for file in self.files]

    @property
    def names(self) -> list[str]:
        """The names of the values of the validations."""
        return list(self.validations[-1]["values"]) if self.validations else []

    def value(self, name: str) -> float | None:
        """Return a value at the best validation, or at the last one if none is marked."""
        rows = [row for row in self.validations if row["is_best"]] or self.validations
        return rows[-1]["values"].get(name) if rows else None

    def curve(self, name: str) -> Curve | None:
        """Return a value of the steps or validations, in at most POINTS spans; None without it."""
        if name in STEP_NAMES:
            if name not in self._kept:
                self._kept[name] = self._step_curve(name)
            return self._kept[name]
        rows = [row for row in self.validations if row["values"].get(name) is not None]
        points = [(row["step"], row["values"][name]) for row in rows]
        return _thinned(*np.array(points, float).reshape(-1, 2).T)

    @cached_property
    def _kept(self) -> dict[str, Curve | None]:
        return {}

    def _step_curve(self, name: str) -> Curve | None:
        parts = [part for file in self.files for part in file.steps(name)]
        if not parts:
            return None
        steps, values = np.concatenate(parts, axis=1)
        # a resumed run repeats steps: the last of each counts
        later = np.minimum.accumulate(steps[::-1])[::-1]
        kept = np.append(steps[:-1] < later[1:], True)
        return _thinned(steps[kept], values[kept])


class MetricsFile:
    """A file that JsonlLogger writes, also while it grows: each line is parsed once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._validations = _Parsed(path, lambda rows, text: _continue(rows, _validations(text)))
        self._steps: dict[str, _Parsed] = {}

    def read(self) -> Metrics:
        """Return what is in the file; incomplete lines are left out."""
        with self.path.open("rb") as file:
            status = os.fstat(file.fileno())
            file.seek(max(0, status.st_size - TAIL))
            tail = [row for line in file.read().splitlines() if (row := _row(line)) is not None]
        last_step = int(tail[-1]["step"]) if tail else None
        return Metrics([*self._validations.read()], [self], last_step, status.st_mtime)

    def steps(self, name: str) -> list[np.ndarray]:
        """Return one value of each step, as arrays of steps and values, [2, lines]."""
        if name not in self._steps:
            # Parsing the lines as JSON would take five times as long.
            pattern = re.compile(VALUE.replace(b"NAME", name.encode()), re.MULTILINE)

            def parse(found: list[np.ndarray], text: bytes) -> None:
                if pairs := pattern.findall(text):
                    found.append(np.array(pairs).astype(float).T)

            self._steps[name] = _Parsed(self.path, parse)
        return self._steps[name].read()


class _Parsed:
    """What ``parse`` has added to a list for the lines of a file, to which others are appended."""

    def __init__(self, path: Path, parse: Callable[[list[Any], bytes], None]) -> None:
        self._path, self._parse = path, parse
        self._begin(None)

    def _begin(self, inode: int | None) -> None:
        self._inode, self._offset, self._end = inode, 0, b""
        self._found: list[Any] = []

    def read(self) -> list[Any]:
        """Return the list after parsing the complete lines that are new.

        Begins again if the file was replaced or cut off, as by a run that is resumed.
        """
        with self._path.open("rb") as file:
            inode = os.fstat(file.fileno()).st_ino
            if inode != self._inode or not self._is_continued(file):
                self._begin(inode)
            file.seek(self._offset)
            while text := file.read(CHUNK) + file.readline():
                lines = text[: text.rfind(b"\n") + 1]
                self._parse(self._found, lines)
                self._offset += len(lines)
                self._end = (self._end + lines)[-TAIL:]
                if len(lines) < len(text):
                    break
                time.sleep(0)  # let other threads run
        return self._found

    def _is_continued(self, file: BinaryIO) -> bool:
        file.seek(self._offset - len(self._end))
        return file.read(len(self._end)) == self._end


def _validations(text: bytes) -> Iterator[dict[str, Any]]:
    start = text.find(VALIDATION)
    while start >= 0:
        end = text.find(b"\n", start) % (len(text) + 1)  # -1 is the end of the text
        is_line = start == 0 or text[start - 1 : start] == b"\n"
        if is_line and (row := _row(text[start:end])) is not None:
            yield _validation(row)
        start = text.find(VALIDATION, end)


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    is_row = isinstance(row, dict) and isinstance(row.get("step"), int | float)
    return row if is_row else None


def _validation(row: Mapping[str, Any]) -> dict[str, Any]:
    values = {name: row.get(name) for name in ROW_NAMES}
    for section in NESTED:
        nested = row.get(section)
        if isinstance(nested, dict):
            values |= {sys.intern(f"val.{name}"): value for name, value in nested.items()}
    numbers = {name: value for name, value in values.items() if isinstance(value, int | float)}
    return {
        "step": row["step"],
        "is_best": bool(row.get("is_best")),
        "val_loss": row.get("val_loss"),
        "val_acc": row.get("val_acc"),
        "values": numbers,
    }


def _continue(kept: list[Row], rows: Iterable[Row]) -> None:
    """Append rows to ``kept`` by their steps; those that a resumed run repeats count once."""
    for row in rows:
        while kept and kept[-1]["step"] >= row["step"]:
            kept.pop()
        kept.append(row)


def _thinned(steps: np.ndarray, values: np.ndarray) -> Curve | None:
    """Return a curve as means over at most POINTS spans, each at its last step."""
    finite = np.isfinite(values)
    steps, values = steps[finite], values[finite]
    if not len(steps):
        return None
    size = -(-len(steps) // POINTS)
    starts = np.arange(0, len(steps), size)
    ends = np.append(starts[1:], len(steps))
    return steps[ends - 1], np.add.reduceat(values, starts) / (ends - starts)


@dataclass(frozen=True)
class Band:
    """The mean of curves, and the lowest and highest of them, at each step; float64."""

    steps: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    count: int


def band(curves: Sequence[Curve]) -> Band | None:
    """Combine curves at all of their steps, at most POINTS; None without a curve.

    Between its points a curve is linear. At a step before its first or after its last point, it
    does not count.
    """
    if not curves:
        return None
    steps = np.unique(np.concatenate([curve[0] for curve in curves]))
    if len(steps) > POINTS:
        steps = steps[np.linspace(0, len(steps) - 1, POINTS).round().astype(int)]
    values = np.array([np.interp(steps, *curve, left=np.nan, right=np.nan) for curve in curves])
    covered = np.isfinite(values).any(0)
    steps, values = steps[covered], values[:, covered]
    mean, low, high = (each(values, axis=0) for each in (np.nanmean, np.nanmin, np.nanmax))
    return Band(steps, mean, low, high, len(curves))
