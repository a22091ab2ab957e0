"""A line of JSON for each step and validation."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from arc.io.trees import json_plain
from arc.loggers.base import LOGGERS, Logger
from arc.loggers.line_file import LineFile
from arc.registry import Settings
from arc.training import StepEvent, ValidationEvent


class JsonlConfig(Settings):
    """Keys of conf/logger/jsonl.yaml."""

    filename: Annotated[str, Field(pattern=r"^[\w.-]+$")]


@LOGGERS.register("jsonl", config=JsonlConfig)
class JsonlLogger(Logger):
    """Appends lines to a file in the output folder; see docs/reference/metrics-file.md."""

    def __init__(self, config: JsonlConfig, output: Path, run: Mapping[str, Any]) -> None:
        super().__init__(config, output, run)
        self._file = LineFile(output / config.filename)

    def on_event(self, event: object) -> None:
        """Write a step or a validation."""
        if isinstance(event, StepEvent):
            self.log({"kind": "step", **vars(event)})
        elif isinstance(event, ValidationEvent):
            self.log({"kind": "validation", **event.row()})

    def log(self, row: dict[str, Any]) -> None:
        """Append one row; NaN and infinity become null."""
        self._file.append((json.dumps(json_plain(row)) + "\n").encode())

    def continue_from(self, step: int, *, is_validated: bool) -> None:
        """Cut off the lines of later steps, and one that is incomplete."""
        size = 0
        for line in self._file.path.read_bytes().splitlines(keepends=True):
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
