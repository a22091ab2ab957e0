"""Stops the job of a sweep whose command was asked to end."""

from __future__ import annotations

import time
from pathlib import Path

from arc.config.sweeps import is_stopping
from arc.training import Callback, RunControl

EVERY_SECONDS = 1.0


class SweepWatch(Callback):
    """Requests a stop of the run if the sweep in ``folder`` ends.

    A signal reaches the sweep's command, but not the processes that a launcher started.
    """

    def __init__(self, folder: Path, control: RunControl) -> None:
        self._folder, self._control = folder, control
        self._looked = 0.0

    def on_event(self, event: object) -> None:
        """Look every EVERY_SECONDS."""
        if time.monotonic() - self._looked >= EVERY_SECONDS:
            self._looked = time.monotonic()
            if is_stopping(self._folder):
                self._control.request_stop("the sweep ends")
