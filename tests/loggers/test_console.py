"""Progress on the terminal and in a log."""

import io
import math
from types import SimpleNamespace

import pytest
from rich.console import Console

from arc.loggers.console import ConsoleProgress
from arc.tasks import Metric, TaskMetrics
from arc.training import Evaluation, EvaluationEvent, StepEvent, ValidationEvent

LANGUAGE = {
    "unique_messages": 40,
    "message_entropy_bits": 5.25,
    "capacity_bits": 23.2193,
    "symbols_used": 24.0,
}


def step(number: int, progress: float | None) -> StepEvent:
    return StepEvent(
        step=number,
        epoch=2,
        batch=number,
        batches=9,
        loss=1.2345,
        accuracy=50.0,
        learning_rate=1e-3,
        grad_norm=1.0,
        targets=16,
        seconds=10.0 * number,
        progress=progress,
    )


def validation(accuracy: float) -> ValidationEvent:
    metric = Metric({"accuracy": accuracy}, 24, {"chance": 25.0})
    evaluation = Evaluation(TaskMetrics(0.5, {"random_3": metric}), LANGUAGE, signal=None)  # type: ignore[arg-type]
    return ValidationEvent(9, 2, 90.0, 1.0, 50.0, evaluation, is_best=True)


def shown(console: Console, *events: object) -> None:
    progress = ConsoleProgress(console)
    for event in events:
        progress.on_event(event)
    progress.close()


@pytest.mark.parametrize(
    ("event", "parts"),
    [
        (
            step(1, progress=0.25),
            ("epoch 2", "batch 1/9", "step 1", "loss 1.234", "50.0 %", "0:30 left"),
        ),
        (validation(61.25), ("accuracy 61.2 % of 24", "chance 25.0", "40 distinct messages")),
        (EvaluationEvent("controls", 0.5, 90.0), ("testing: controls", "1:30 left", "50 %")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_without_a_terminal_events_are_log_lines(
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    event: object,
    parts: tuple[str, ...],
) -> None:
    clock = SimpleNamespace(monotonic=lambda: 100.0)
    monkeypatch.setattr("arc.loggers.console.time", clock)
    out = io.StringIO()
    with caplog.at_level("INFO"):
        shown(Console(file=out), event, event)  # the second comes too soon for another line
    (line,) = caplog.messages
    for part in parts:
        assert part in line
    assert out.getvalue() == ""


def test_a_terminal_shows_a_bar_and_removes_it() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=200)
    shown(console, validation(math.nan), step(1, None), step(2, progress=0.5))
    assert "step 2" in out.getvalue()
    assert "50 %" in out.getvalue()
    assert out.getvalue().endswith("\x1b[2K")  # erases the line
