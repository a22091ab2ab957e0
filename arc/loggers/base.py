"""The interface of loggers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from arc.registry import Registry, Settings
from arc.training import Callback

LOGGERS: Registry[type[Logger]] = Registry("logger")


class Logger(Callback):
    """A callback that records the events of one run.

    Built from its configuration (the keys below its name in conf/logger/NAME.yaml), the ``output``
    folder of the run, and the ``run``'s resolved configuration tree as plain containers.
    """

    def __init__(self, config: Settings, output: Path, run: Mapping[str, Any]) -> None:
        self.config, self.output, self.run = config, output, run

    def continue_from(self, step: int, *, is_validated: bool) -> None:
        """Drop what the output folder holds of later steps, before the first event.

        Called for a run that is resumed after ``step`` in the same output folder. Without
        ``is_validated`` the validation of ``step`` is repeated.
        """
