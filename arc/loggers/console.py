"""Progress of a run on the terminal: a live bar, or plain lines when piped."""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column

from arc.loggers.history import Rates
from arc.terminal import EscapeFilter
from arc.training import Callback, EvaluationEvent, StepEvent, ValidationEvent

log = logging.getLogger(__name__)
LINE_EVERY_SECONDS = 5.0


class TerminalConsole(Console):
    """A console that discards its output once the terminal is closed; rich would exit."""

    def on_broken_pipe(self) -> None:
        """Discard all output from now on."""
        self.quiet = True


class LogFile(logging.FileHandler):
    """A log file that is opened with its first line; while it cannot be written, lines are lost.

    The first failure is logged, which the terminal shows.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, encoding="utf-8", delay=True)
        self.setFormatter(logging.Formatter("[%(asctime)s][%(levelname)s] %(message)s"))
        self._failing = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        try:
            super().emit(record)
        except OSError as error:
            self._report(error)

    def handleError(self, record: logging.LogRecord) -> None:
        """Report an error of writing."""
        self._report(sys.exc_info()[1])

    def _report(self, error: BaseException | None) -> None:
        if not self._failing:
            self._failing = True
            log.error(f"{self.baseFilename}: cannot be written: {error}; training continues")


class ConsoleProgress(Callback):
    """Shows the events of a run on ``console``."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._rates = Rates()
        self._last_line = self._last_validation = 0.0
        self._status = "no validation yet"
        self._bar = Progress(
            BarColumn(12),
            TextColumn("{task.percentage:3.0f} %"),
            TextColumn("{task.description}", table_column=Column(no_wrap=True)),
            console=console,
            transient=True,
        )
        self._task = self._bar.add_task("starting", total=1.0)

    def on_event(self, event: object) -> None:
        """Show one event."""
        if isinstance(event, StepEvent):
            self._show_step(event)
        elif isinstance(event, ValidationEvent):
            self._show_validation(event)
        elif isinstance(event, EvaluationEvent):
            self._show_evaluation(event)

    def close(self) -> None:
        """Remove the bar."""
        if self.console.is_terminal:
            self._bar.stop()

    def _show_step(self, event: StepEvent) -> None:
        self._rates.add(event.targets)
        rates = self._rates.per_second()
        pace = f"{rates[0]:.1f} steps/s {rates[1]:.0f} examples/s" if rates else ""
        done = f"epoch {event.epoch} batch {event.batch}/{event.batches} step {event.step}"
        now = f"loss {event.loss:.3f}  training accuracy {event.accuracy:.1f} %  {self._status}"
        left = _remaining(event.seconds_left)
        bar = f"{left}  {now}  {pace}  {done}"
        self._show(event.progress or 0.0, bar, f"{done}  {now}  {pace}  {left}")

    def _show_evaluation(self, event: EvaluationEvent) -> None:
        text = f"testing: {event.stage}  {_remaining(event.seconds_left)}"
        self._show(event.progress, text, f"{text}  {100 * event.progress:.0f} %")

    def _show(self, completed: float, bar: str, line: str) -> None:
        """Update the bar, or log ``line`` every few seconds when there is no terminal."""
        if self.console.is_terminal:
            self._bar.start()
            self._bar.update(self._task, description=bar, completed=completed)
        elif time.monotonic() - self._last_line >= LINE_EVERY_SECONDS:
            self._last_line = time.monotonic()
            log.info(line)

    def _show_validation(self, event: ValidationEvent) -> None:
        metric = event.evaluation.task_metrics.headline
        if metric.targets == 0:
            self._status = "no validation set"
            return
        value = " ".join(f"{name} {value:.1f} %" for name, value in metric.values.items())
        self._status = f"validation {value}"
        if time.monotonic() - self._last_validation < LINE_EVERY_SECONDS:
            return
        self._last_validation = time.monotonic()
        baselines = ", ".join(f"{name} {value:.1f}" for name, value in metric.baselines.items())
        best = "; best so far by the running average" if event.is_best else ""
        log.info(
            f"epoch {event.epoch} step {event.step}: validation {value} of {metric.targets} "
            f"examples (baselines: {baselines}){_language(event.evaluation.language)}{best}"
        )


def _language(metrics: dict[str, float]) -> str:
    """Return the main language metrics among those that were computed."""
    parts = []
    if "unique_messages" in metrics:
        parts.append(f"{metrics['unique_messages']:.0f} distinct messages")
    if "message_entropy_bits" in metrics:
        bits, capacity = metrics["message_entropy_bits"], metrics["capacity_bits"]
        parts.append(f"entropy {bits:.1f} of {capacity:.1f} bits")
    if "symbols_used" in metrics:
        parts.append(f"{metrics['symbols_used']:.0f} % of symbols used")
    return f"; {', '.join(parts)}" if parts else ""


def _remaining(seconds: float | None) -> str:
    return "" if seconds is None else f"{int(seconds) // 60}:{int(seconds) % 60:02d} left"


def log_to_terminal(console: Console, level: int = logging.INFO, file: Path | None = None) -> None:
    """Send the root logger's lines to ``console``, in place of Hydra's own stream handler.

    They are also appended to ``file``.
    """
    root = logging.getLogger()
    for handler in list(root.handlers):
        if type(handler) is logging.StreamHandler:
            root.removeHandler(handler)
    if console.is_terminal:
        rich_handler = RichHandler(console=console, show_level=False, show_path=False)
        root.addHandler(rich_handler)
    else:
        plain = logging.StreamHandler()
        plain.setFormatter(logging.Formatter("%(asctime)s  %(message)s", datefmt="%H:%M:%S"))
        root.addHandler(plain)
    if file is not None:
        root.addHandler(LogFile(file))
    for handler in root.handlers:
        handler.addFilter(EscapeFilter())
    root.setLevel(level)
