"""What a run shows while it trains: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import logging
import time
from types import TracebackType

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column

from arc.loggers.history import Rates
from arc.training import StepEvent, ValidationEvent

log = logging.getLogger(__name__)
LINE_EVERY_SECONDS = 5.0


class Terminal:
    """Shows the events of a run; used as a context manager around it."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console()
        self._rates = Rates()
        self._last_line = self._last_validation = 0.0
        self._status = "no validation yet"
        self._bar = Progress(
            BarColumn(12),
            TextColumn("{task.percentage:3.0f} %"),
            TextColumn("{task.description}", table_column=Column(no_wrap=True)),
            console=self.console,
            transient=True,
        )
        self._task = self._bar.add_task("starting", total=1.0)

    def __enter__(self) -> Terminal:
        if self.console.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.console.is_terminal:
            self._bar.stop()

    def show(self, event: StepEvent | ValidationEvent) -> None:
        """Take in one event of the loop."""
        if isinstance(event, ValidationEvent):
            self._show_validation(event)
        else:
            self._show_step(event)

    def _show_step(self, step: StepEvent) -> None:
        self._rates.add(step.targets)
        done = f"epoch {step.epoch} batch {step.batch}/{step.batches} step {step.step}"
        now = f"loss {step.loss:.3f}  training {step.accuracy:.1f} %  {self._status}"
        if self.console.is_terminal:
            text = f"{_remaining(step)}  {now}  {self._pace()}  {done}"
            self._bar.update(self._task, description=text, completed=step.progress or 0.0)
        elif self._due():
            log.info(f"{done}  {now}  {self._pace()}  {_remaining(step)}")

    def _show_validation(self, event: ValidationEvent) -> None:
        evaluation = event.evaluation
        figure = evaluation.task_metrics.headline
        value = " ".join(f"{name} {value:.1f} %" for name, value in figure.values.items())
        beside = ", ".join(f"{name} {value:.1f}" for name, value in figure.baselines.items())
        self._status = f"held out {value}"
        now = time.monotonic()
        if now - self._last_validation >= LINE_EVERY_SECONDS:
            self._last_validation = now
            language = _language(evaluation.language)
            best = "; best so far, by the running average" if event.is_best else ""
            log.info(
                f"epoch {event.epoch} step {event.step}: held out {value} of {figure.targets} "
                f"(beside {beside}){language}{best}"
            )

    def _pace(self) -> str:
        rates = self._rates.per_second()
        return f"{rates[0]:.1f} steps/s {rates[1]:.0f} examples/s" if rates else ""

    def _due(self) -> bool:
        now = time.monotonic()
        if now - self._last_line < LINE_EVERY_SECONDS:
            return False
        self._last_line = now
        return True


def _language(measures: dict[str, float]) -> str:
    if not measures:
        return ""
    return (
        f"; {measures['unique_messages']:.0f} different messages, "
        f"{measures['message_entropy_bits']:.1f} of {measures['capacity_bits']:.1f} bits, "
        f"{measures['symbols_used']:.0f} % of symbols used"
    )


def _remaining(step: StepEvent) -> str:
    left = step.seconds_left
    return "" if left is None else f"{int(left) // 60}:{int(left) % 60:02d} left"


def log_to_terminal(console: Console, level: int = logging.INFO) -> None:
    """Send the root logger's lines to ``console``, in place of Hydra's own stream handler."""
    root = logging.getLogger()
    for handler in list(root.handlers):
        if type(handler) is logging.StreamHandler:
            root.removeHandler(handler)
        elif isinstance(handler, logging.FileHandler):
            handler.handleError = _ignore_errors  # type: ignore[method-assign]
    if console.is_terminal:
        rich_handler = RichHandler(console=console, show_level=False, show_path=False)
        root.addHandler(rich_handler)
    else:
        plain = logging.StreamHandler()
        plain.setFormatter(logging.Formatter("%(asctime)s  %(message)s", datefmt="%H:%M:%S"))
        root.addHandler(plain)
    root.setLevel(level)


def _ignore_errors(record: logging.LogRecord) -> None:
    """Let a full disk cost the log's lines on it: the terminal has them, and no traceback each."""
