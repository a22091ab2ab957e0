"""Learning curves, read from the ``metrics.jsonl`` of a run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PLACES = (  # of the file, below the folder of the checkpoint, its parent, or the current one
    ".",
    "*",
    "outputs/*",
    "outputs/*/*",
    "outputs/*/*/*",
    "multirun/*/*/*",
)
POINTS = 200


@dataclass(frozen=True)
class Curves:
    """The rows of a run's steps and validations, in order, as JsonlLogger writes them."""

    path: Path
    steps: list[dict[str, Any]]
    validations: list[dict[str, Any]]

    def training(self, key: str) -> tuple[list[float], list[float]]:
        """Return steps and values of ``key``, as means over at most POINTS spans of steps."""
        points = [(row["step"], row[key]) for row in self.steps if row.get(key) is not None]
        size = -(-len(points) // POINTS) or 1
        parts = [points[start : start + size] for start in range(0, len(points), size)]
        means = [[sum(column) / len(part) for column in zip(*part, strict=True)] for part in parts]
        return [step for step, _ in means], [value for _, value in means]

    def validation(self, key: str) -> tuple[list[float], list[float]]:
        """Return steps and values of ``key`` of the validations, or of their ``language``."""
        points = [(row["step"], _value(row, key)) for row in self.validations]
        kept = [(step, value) for step, value in points if value is not None]
        return [step for step, _ in kept], [value for _, value in kept]


def find_curves(checkpoint: Path, metadata: Mapping[str, Any]) -> Curves | None:
    """Find the metrics of the run that wrote ``checkpoint``; None if there are none.

    The file is recognised by the loss and the accuracy of the validation that the checkpoint
    stores. It is searched for in the output folders below the checkpoint's folder, its parent and
    the current folder.
    """
    logger = metadata["config"].get("logger", {}).get("jsonl")
    wanted = {name: metadata.get(name) for name in ("val_loss", "val_acc")}
    known = {name: value for name, value in wanted.items() if value is not None and value == value}
    if not logger or len(known) < len(wanted):
        return None
    for path in _candidates(checkpoint, str(logger["filename"])):
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        if json.dumps(known["val_loss"]) in text and (found := _history(path, text, known)):
            return found
    return None


def _candidates(checkpoint: Path, name: str) -> list[Path]:
    """Return the existing files, newest first."""
    folder = checkpoint.resolve().parent
    roots = dict.fromkeys((folder, folder.parent, Path.cwd()))
    found: dict[Path, float] = {}
    for root in roots:
        for place in PLACES:
            for path in _files(root, f"{place}/{name}"):
                try:
                    found[path] = path.stat().st_mtime
                except OSError:
                    continue
    return sorted(found, key=lambda path: (-found[path], path))


def _files(root: Path, pattern: str) -> Iterator[Path]:
    try:
        yield from root.glob(pattern)
    except OSError:  # a folder that cannot be read
        return


def _history(path: Path, text: str, wanted: Mapping[str, Any]) -> Curves | None:
    """Return the rows of the run with the ``wanted`` validation.

    A file may hold several runs, and steps that a resumed run repeated: these count once.
    """
    steps: list[dict[str, Any]] = []
    validations: list[dict[str, Any]] = []
    found: dict[str, Any] | None = None
    for row in _rows(text):
        if row["kind"] == "validation":
            validations.append(row)
            if all(row.get(key) == value for key, value in wanted.items()):
                found = row
        elif steps and row["step"] <= steps[-1]["step"]:  # a new run, or a resumed one
            if found is not None and row["step"] <= found["step"]:
                break
            steps = [each for each in steps if each["step"] < row["step"]] + [row]
            validations = [each for each in validations if each["step"] < row["step"]]
        else:
            steps.append(row)
    return None if found is None else Curves(path, steps, validations)


def _rows(text: str) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and {"kind", "step"} <= row.keys():
            yield row


def _value(row: Mapping[str, Any], key: str) -> float | None:
    language = row.get("language") or {}
    return row[key] if key in row else language.get(key)
