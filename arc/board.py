"""What a run has published: read by any thread, written by the one that trains."""

from __future__ import annotations

import threading
from typing import Any

from arc.checkpointing import portable_tree
from arc.config import RunConfig
from arc.history import History, Rates
from arc.run import Outcome, Run
from arc.training import Step, Validated

KEPT_VALIDATIONS = 2000


class Board:
    """The latest figures of the run under way or of the last one, and its history."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.run_id = 0
        self._clear()

    def _clear(self) -> None:
        self.config: RunConfig | None = None
        self.facts: dict[str, Any] = {}
        self.step: Step | None = None
        self.validated: Validated | None = None
        self.outcome: Outcome | None = None
        self._history = History()
        self._validations: list[dict[str, Any]] = []
        self._rates = Rates()

    # -- the thread that trains --------------------------------------------------------------

    def begin(self, config: RunConfig) -> None:
        """Forget the last run; a new one is being prepared."""
        with self._lock:
            self.run_id += 1
            self._clear()
            self.config = config

    def attach(self, run: Run) -> None:
        """Take down what does not change while ``run`` lasts."""
        facts = {
            "run_name": run.config.run_name,
            "device": str(run.device),
            "precision": "fp32" if run.trainer.autocast is None else "bf16",
            "folder": str(run.folder),
        }
        with self._lock:
            self.config, self.facts = run.config, facts

    def publish(self, event: Step | Validated) -> None:
        """Take in an event of the loop."""
        with self._lock:
            if isinstance(event, Validated):
                self.validated = event
                self._validations.append(_validation_row(event))
                if len(self._validations) > KEPT_VALIDATIONS:
                    self._validations = self._validations[::2]
            else:
                self.step = event
                self._history.add(_step_row(event))
                self._rates.add(event.targets)

    def end(self, outcome: Outcome) -> None:
        """Take down how the run ended."""
        with self._lock:
            self.outcome = outcome

    # -- anybody ---------------------------------------------------------------------------

    def tree(self) -> dict[str, Any] | None:
        """Return the configuration of the run as plain containers; None before the first."""
        return None if self.config is None else portable_tree(self.config)

    def figures(self) -> dict[str, Any]:
        """Return where the run is, in numbers; accuracies in percent."""
        with self._lock:
            step, validated, outcome = self.step, self.validated, self.outcome
            rates = self._rates.per_second() if outcome is None else None
        verdict = validated.judgement.verdict if validated else None
        metrics = {
            "loss": step.loss if step else None,
            "accuracy": step.accuracy if step else None,
            "val_loss": verdict.loss if verdict else None,
            "val_acc": verdict.accuracy if verdict else None,
            "learning_rate": step.learning_rate if step else None,
            "grad_norm": step.grad_norm if step else None,
        }
        return {
            "run_id": self.run_id,
            "run_name": self.facts.get("run_name"),
            "device": self.facts.get("device"),
            "precision": self.facts.get("precision"),
            "folder": self.facts.get("folder"),
            "epoch": step.epoch if step else None,
            "batch": step.batch if step else None,
            "batches_per_epoch": step.batches if step else None,
            "step": step.step if step else None,
            "seconds": step.seconds if step else None,
            "progress": step.progress if step else None,
            "eta_seconds": step.seconds_left if step else None,
            "metrics": metrics,
            "throughput": {
                "steps_per_second": rates[0] if rates else None,
                "targets_per_second": rates[1] if rates else None,
            },
            "outcome": outcome.kind if outcome else None,
            "error": outcome.error if outcome else None,
        }

    def history(self, since: int) -> dict[str, Any]:
        """Return what happened after step ``since``: training steps, and validations."""
        with self._lock:
            validations = [row for row in self._validations if row["batch_num"] > since]
            return {
                "run_id": self.run_id,
                "history": self._history.since(since),
                "validations": validations,
            }


def _step_row(step: Step) -> dict[str, Any]:
    return {
        "batch_num": step.step,
        "epoch": step.epoch,
        "batch": step.batch,
        "loss": step.loss,
        "accuracy": step.accuracy,
        "learning_rate": step.learning_rate,
        "grad_norm": step.grad_norm,
        "seconds": step.seconds,
    }


def _validation_row(event: Validated) -> dict[str, Any]:
    figure = event.judgement.verdict.headline
    return {
        "batch_num": event.step,
        "epoch": event.epoch,
        "seconds": event.seconds,
        "train_loss": event.train_loss,
        "train_accuracy": event.train_accuracy,
        "val_loss": event.judgement.verdict.loss,
        "val_acc": event.judgement.verdict.accuracy,
        "values": figure.values,
        "targets": figure.targets,
        "baselines": figure.baselines,
        "language": event.judgement.language,
    }
