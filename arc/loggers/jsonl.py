"""``metrics.jsonl``: a line of JSON for each step and validation of a run."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from pathlib import Path
from types import TracebackType
from typing import Any

from arc.training import StepEvent, ValidationEvent
from arc.trees import json_plain

log = logging.getLogger(__name__)


class Record:
    """Appends lines to a file; used as a context manager.

    A disk that takes no more costs the lines until it does again, and is said once.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("ab", buffering=0)
        self._failing = False

    def __enter__(self) -> Record:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def add(self, event: StepEvent | ValidationEvent) -> None:
        """Write one event, whole or not at all."""
        line = (json.dumps(json_plain(_described(event))) + "\n").encode()
        size = os.fstat(self._file.fileno()).st_size
        try:
            written = self._file.write(line)
            if written != len(line):
                raise OSError(f"{written} bytes of {len(line)} were written")
            self._failing = False
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.truncate(size)
            if not self._failing:
                log.error(f"{self._path}: cannot be written: {error}; training goes on")
            self._failing = True


def _described(event: StepEvent | ValidationEvent) -> dict[str, Any]:
    if isinstance(event, StepEvent):
        return {"kind": "step", **vars(event)}
    figure = event.evaluation.task_metrics.headline
    return {
        "kind": "validation",
        "step": event.step,
        "epoch": event.epoch,
        "seconds": event.seconds,
        "train_loss": event.train_loss,
        "train_accuracy": event.train_accuracy,
        "val_loss": event.evaluation.task_metrics.loss,
        **{f"val_{name}": value for name, value in figure.values.items()},
        "targets": figure.targets,
        "baselines": figure.baselines,
        "language": event.evaluation.language,
    }
