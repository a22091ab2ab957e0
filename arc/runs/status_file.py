"""Keeps the status file of a run; ``arc.config.run_status`` describes its content."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from arc.checkpointing import read_metadata
from arc.config.run_status import State, write_status
from arc.config.sweeps import of_run
from arc.training import StepEvent
from arc.training.callbacks import Callback

if TYPE_CHECKING:
    from arc.runs.run import Run

log = logging.getLogger(__name__)
EVERY_SECONDS = 10.0


class StatusFile(Callback):
    """Keeps the status file of one run; while it trains, written every EVERY_SECONDS.

    A file that cannot be written is reported once.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._written = 0.0
        self._failing = False

    def on_event(self, event: object) -> None:
        """Write the number of steps from time to time."""
        if isinstance(event, StepEvent) and time.monotonic() - self._written >= EVERY_SECONDS:
            self.write("running")

    def write(
        self, state: State, error: str | None = None, results: dict[str, Any] | None = None
    ) -> None:
        """Write the file; ``results`` are those of the final evaluation."""
        self._written, run = time.monotonic(), self._run
        try:
            write_status(
                run.output,
                state,
                error=error,
                step=run.trainer.step,
                run_name=run.config.run_name,
                folder=run.folder,
                overrides=of_run(run.plan.typed),
                objective=None if results is None else objective(run, results),
            )
            self._failing = False
        except OSError as fault:
            if not self._failing:
                log.error(f"{run.output}: the status cannot be written: {fault.strerror}")
            self._failing = True


def objective(run: Run, results: dict[str, Any]) -> float | None:
    """Return the validation value of the best checkpoint by ``training.best_metric``."""
    name = run.config.training.best_metric
    if name == "loss":
        best = run.policy.saved_best
        loss = run.trainer.val_loss if best is None else read_metadata(best)["val_loss"]
        return None if loss is None else float(loss)
    values: dict[str, Any] = next(iter(results["validation"].values()), {})
    value = values.get(name) if name else next(iter(values.values()), None)
    return None if value is None else float(value)
