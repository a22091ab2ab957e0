"""The events of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from arc.training.evaluation import Evaluation, Example


@dataclass(frozen=True)
class StepEvent:
    """One optimizer step. ``accuracy`` in percent, ``seconds`` of training so far."""

    step: int
    epoch: int
    batch: int
    batches: int
    loss: float
    accuracy: float
    learning_rate: float
    grad_norm: float
    targets: int
    seconds: float
    progress: float | None

    @property
    def seconds_left(self) -> float | None:
        """Estimated seconds until the end of training; None if the length is unknown."""
        if not self.progress or not self.seconds:
            return None
        return self.seconds / self.progress - self.seconds


@dataclass(frozen=True)
class ValidationEvent:
    """The validation set was evaluated, at the end of an epoch or of the run.

    ``examples(count)`` returns some of its examples with the receiver's outputs; it uses the model,
    so it is called while the event is handled, or not at all.
    """

    step: int
    epoch: int
    seconds: float
    train_loss: float
    train_accuracy: float
    evaluation: Evaluation
    is_best: bool
    examples: Callable[[int], list[Example]] = field(
        default=lambda count: [], repr=False, compare=False
    )

    def row(self) -> dict[str, Any]:
        """Return the event in plain types, under the names that every consumer uses."""
        metrics = self.evaluation.task_metrics
        return {
            "step": self.step,
            "epoch": self.epoch,
            "seconds": self.seconds,
            "train_loss": self.train_loss,
            "train_accuracy": self.train_accuracy,
            "val_loss": metrics.loss,
            "val_acc": metrics.accuracy,
            "metrics": dict(metrics.headline.values),
            "targets": metrics.headline.targets,
            "baselines": dict(metrics.headline.baselines),
            "language": dict(self.evaluation.language),
            "is_best": self.is_best,
        }


@dataclass(frozen=True)
class EvaluationEvent:
    """Progress of the final evaluation. ``stage``: the part being evaluated, such as test."""

    stage: str
    progress: float
    seconds_left: float | None


@dataclass(frozen=True)
class Outcome:
    """How a run ended; ``error`` is one line."""

    kind: Literal["finished", "stopped", "failed"]
    error: str | None = None


@dataclass(frozen=True)
class TrainingEnded:
    """Training ended and every save is on the disk; the final evaluation may follow."""

    outcome: Outcome


@dataclass(frozen=True)
class RunEnded:
    """The run is over. ``results`` is None unless the final evaluation produced some."""

    outcome: Outcome
    results: dict[str, Any] | None
