"""The training loop. It knows neither files nor HTTP: it yields what happened.

``Trainer.run`` is a generator. Between two of its events nothing moves, so whoever consumes
them may look at the model, copy the trainer's state, or stop.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from arc.data import BatchSampler, Transform
from arc.models import ARCAutoencoder
from arc.tasks import Task
from arc.training.config import TrainingConfig
from arc.training.control import RunControl
from arc.training.distributed import ProcessGroup
from arc.training.evaluation import evaluate_split
from arc.training.events import StepEvent, ValidationEvent
from arc.training.random_state import random_states, set_random_states

FINAL_SHARE = 0.01  # of the learning rate, at the end of the cosine
SMOOTHING = 0.8  # of the validation accuracy that the best checkpoint is chosen by


class DivergedError(RuntimeError):
    """Loss or gradient is no longer finite; the step was not taken."""


class Trainer:
    """Trains one model on one task; everything that changes is in ``state_dict``."""

    def __init__(
        self,
        config: TrainingConfig,
        model: ARCAutoencoder,
        task: Task,
        *,
        seed: int,
        augment: bool = False,
        autocast: torch.dtype | None = None,
        ranks: ProcessGroup | None = None,
    ) -> None:
        self.config, self.model, self.task = config, model, task
        self.augment, self.autocast = augment, autocast
        self.ranks = ranks or ProcessGroup()
        examples, groups, block_size = task.training_order()
        self.source = BatchSampler(
            examples, config.batch_size, seed=seed, groups=groups, block_size=block_size
        )
        self.optimizer = torch.optim.AdamW(
            model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.step = 0
        self.seconds = 0.0
        self.best_accuracy = -math.inf
        self._average_accuracy: float | None = None
        self.val_loss: float | None = None
        self.val_acc: float | None = None
        self.started_from: list[str] = []
        self._validated_step = 0
        self._sums = {"loss": 0.0, "accuracy": 0.0, "steps": 0}

    # -- the story -----------------------------------------------------------------------

    def run(self, control: RunControl) -> Iterator[StepEvent | ValidationEvent]:
        """Train until a limit is reached or ``control`` asks to stop.

        Raises DivergedError before a step that would spoil the weights.
        """
        clock = time.monotonic() - self.seconds
        while not self._is_stopped(control):
            if self._owes_validation():
                event: StepEvent | ValidationEvent = self._validate()
            elif self.reached_limit or self.reached_stop:
                break
            else:
                event = self._train_step()
            self.seconds = time.monotonic() - clock
            yield event

    def _is_stopped(self, control: RunControl) -> bool:
        """Agree with the other processes on the time and on whether to stop."""
        asked = control.stop_requested
        stop, self.seconds = self.ranks.sync_stop(asked, self.seconds, self.model.device)
        if stop and not asked:
            control.request_stop("another process of the run was asked to")
        return stop

    @property
    def reached_limit(self) -> bool:
        """Whether the run has its full length."""
        return self.progress is not None and self.progress >= 1.0

    @property
    def reached_stop(self) -> bool:
        """Whether ``training.stop_at_step`` is reached."""
        stop = self.config.stop_at_step
        return stop is not None and self.step >= stop

    @property
    def progress(self) -> float | None:
        """How much of the run is done, 0 to 1, by whichever limit is nearest; None without one."""
        config, shares = self.config, []
        if config.epochs is not None:
            shares.append(self.step / (config.epochs * self.source.batches_per_epoch))
        if config.max_steps is not None:
            shares.append(self.step / config.max_steps)
        if config.max_minutes is not None:
            shares.append(self.seconds / (60 * config.max_minutes))
        return min(max(shares), 1.0) if shares else None

    def _owes_validation(self) -> bool:
        ended = self.source.epoch_is_complete or self.reached_limit
        return ended and self._validated_step < self.step

    def _train_step(self) -> StepEvent:
        batch = self.source.next()
        examples = self.ranks.shard(batch)
        generator = self.ranks.generator(self.source.generator)
        transforms = 1 if self.task.shared_transform else len(examples)
        transform = Transform.sample(generator, transforms) if self.augment else None
        self.model.train()
        self.model.bottleneck.set_progress(self.progress or 0.0)
        learning_rate = self._set_learning_rate()
        with self._autocast():
            output = self.task.step(self.model, examples, generator, transform)
        self.optimizer.zero_grad(set_to_none=True)
        output.loss.backward()
        loss, accuracy = output.loss.detach().clone(), output.accuracy.detach().clone()
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        weight = self.ranks.weight(examples, batch)
        self.ranks.average([*gradients, loss, accuracy], weight)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.gradient_clip)
        grad_norm = float(norm)
        if not (math.isfinite(loss) and math.isfinite(grad_norm)):
            raise DivergedError(
                f"step {self.step + 1}: loss {float(loss)}, gradient norm {grad_norm}; lower "
                "training.learning_rate, or try training.precision=fp32"
            )
        self.optimizer.step()
        self.step += 1
        self._sums["loss"] += float(loss)
        self._sums["accuracy"] += float(accuracy)
        self._sums["steps"] += 1
        return StepEvent(
            step=self.step,
            epoch=self.source.epoch,
            batch=self.source.batch,
            batches=self.source.batches_per_epoch,
            loss=float(loss),
            accuracy=float(accuracy),
            learning_rate=learning_rate,
            grad_norm=grad_norm,
            targets=len(batch),
            seconds=self.seconds,
            progress=self.progress,
        )

    def _validate(self) -> ValidationEvent:
        evaluation = evaluate_split(self.model, self.task, self.task.corpus.validation)
        self._validated_step = self.step
        self.val_loss, self.val_acc = evaluation.task_metrics.loss, evaluation.task_metrics.accuracy
        is_best = self._is_best(evaluation.task_metrics.accuracy)
        steps = max(self._sums["steps"], 1)
        event = ValidationEvent(
            step=self.step,
            epoch=self.source.epoch,
            seconds=self.seconds,
            train_loss=self._sums["loss"] / steps,
            train_accuracy=self._sums["accuracy"] / steps,
            evaluation=evaluation,
            is_best=is_best,
        )
        self._sums = {"loss": 0.0, "accuracy": 0.0, "steps": 0}
        return event

    def _is_best(self, accuracy: float) -> bool:
        """Compare a running average, so that one lucky validation is not chosen for good."""
        if math.isnan(accuracy):
            return False
        before = self._average_accuracy
        smooth = accuracy if before is None else SMOOTHING * before + (1 - SMOOTHING) * accuracy
        self._average_accuracy = smooth
        if smooth < self.best_accuracy:
            return False
        self.best_accuracy = smooth
        return True

    def _set_learning_rate(self) -> float:
        warmup = min(1.0, (self.step + 1) / max(1, self.config.warmup_steps))
        rate = self.config.learning_rate * warmup
        if self.config.schedule == "cosine" and self.progress is not None:
            cosine = 0.5 * (1 + math.cos(math.pi * self.progress))
            rate *= FINAL_SHARE + (1 - FINAL_SHARE) * cosine
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return rate

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.autocast is None:
            return nullcontext()
        return torch.autocast(self.model.device.type, dtype=self.autocast)

    # -- state ---------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return all that is needed to go on as if nothing had happened: plain types, tensors."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "source": self.source.state_dict(),
            "random": random_states(),
            "step": self.step,
            "seconds": self.seconds,
            "best_accuracy": self.best_accuracy,
            "average_accuracy": self._average_accuracy,
            "validated_step": self._validated_step,
            "val_loss": self.val_loss,
            "val_acc": self.val_acc,
            "started_from": list(self.started_from),
            "sums": dict(self._sums),
        }

    def load_state_dict(self, state: dict[str, Any], *, same_order: bool = True) -> None:
        """Go on from ``state``.

        Without ``same_order`` (the batch size or the data are others now) the epoch under way
        starts anew, in an order of its own.
        """
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if same_order:
            self.source.load_state_dict(state["source"])
        else:
            whole = state["validated_step"] == state["step"]
            self.source.epoch = state["source"]["epoch"] + (1 if whole else 0)
        set_random_states(state["random"])
        self.step, self.seconds = state["step"], state["seconds"]
        self.best_accuracy = state["best_accuracy"]
        self._average_accuracy = state["average_accuracy"]
        self._validated_step = state["validated_step"]
        self.val_loss, self.val_acc = state["val_loss"], state["val_acc"]
        self.started_from = list(state["started_from"])
        self._sums = dict(state["sums"])
