"""A line of JSON for each step and validation."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from arc.loggers.base import LOGGERS, Logger
from arc.registry import Settings
from arc.training import StepEvent, ValidationEvent
from arc.trees import json_plain

log = logging.getLogger(__name__)


class JsonlConfig(Settings):
    """Keys of conf/logger/jsonl.yaml."""

    filename: Annotated[str, Field(pattern=r"^[\w.-]+$")]


@LOGGERS.register("jsonl", config=JsonlConfig)
class JsonlLogger(Logger):
    """Appends lines to a file in the output folder; each line is written whole or not at all.

    While the file cannot be written, lines are dropped; the error is logged once.
    """

    def __init__(self, config: JsonlConfig, output: Path, run: Mapping[str, Any]) -> None:
        super().__init__(config, output, run)
        self._path = output / config.filename
        self._file = self._path.open("ab", buffering=0)
        self._failing = False

    def on_event(self, event: object) -> None:
        """Write a step or a validation."""
        if isinstance(event, StepEvent):
            self.log({"kind": "step", **vars(event)})
        elif isinstance(event, ValidationEvent):
            self.log({"kind": "validation", **event.row()})

    def log(self, row: dict[str, Any]) -> None:
        """Append one row; NaN and infinity become null."""
        line = (json.dumps(json_plain(row)) + "\n").encode()
        size = os.fstat(self._file.fileno()).st_size
        try:
            written = self._file.write(line)
            if written != len(line):
                raise OSError(f"{written} of {len(line)} bytes were written")
            self._failing = False
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.truncate(size)
            if not self._failing:
                log.error(f"{self._path}: cannot be written: {error}; training continues")
            self._failing = True

    def continue_from(self, step: int, *, is_validated: bool) -> None:
        """Cut off the lines of later steps, and one that is incomplete."""
        size = 0
        for line in self._path.read_bytes().splitlines(keepends=True):
            with contextlib.suppress(ValueError, KeyError, TypeError):
                row = json.loads(line)
                is_repeated = row["kind"] == "validation" and not is_validated
                if row["step"] < step + (not is_repeated) and line.endswith(b"\n"):
                    size += len(line)
                    continue
            break
        self._file.truncate(size)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
