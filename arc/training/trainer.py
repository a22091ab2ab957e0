"""The training loop. It yields events and does not depend on files or HTTP.

``Trainer.run`` is a generator. Between two events the state does not change, so a callback may
read the model, copy the trainer's state, or stop the run.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam

from arc.data import BatchSampler, Split, Transform
from arc.models import ARCAutoencoder
from arc.registry import Settings, nearest
from arc.tasks import StepOutput, Task, TaskMetrics
from arc.training.config import TrainingConfig
from arc.training.control import RunControl
from arc.training.distributed import ProcessGroup
from arc.training.evaluation import evaluate_split, some_examples
from arc.training.events import StepEvent, ValidationEvent
from arc.training.optimizers import OPTIMIZERS, OptimizerConfig
from arc.training.random_state import GeneratorStates, random_states, set_random_states
from arc.training.schedules import ScheduleConfig, learning_rate_factor
from arc.training.step_graphs import StepGraphs

UNFUSED: dict[str, Any] = {"fused": None, "capturable": False}  # keys of Adam and AdamW
SMOOTHING = 0.8  # of the running average of the metric that chooses the best checkpoint


class DivergedError(RuntimeError):
    """The loss or the gradient is not finite; the optimizer step was not taken."""


class Trainer:
    """Trains one model on one task; everything that changes is in ``state_dict``.

    The model is validated every ``validate_every`` steps (None: after each epoch) and at the end.
    Raises ValueError if ``training.best_metric`` is not a metric of the task.
    """

    def __init__(
        self,
        config: TrainingConfig,
        model: ARCAutoencoder,
        task: Task,
        *,
        optimizer: OptimizerConfig,
        schedule: ScheduleConfig,
        seed: int,
        augment: bool = False,
        augment_colors: bool = True,
        autocast: torch.dtype | None = None,
        ranks: ProcessGroup | None = None,
        metrics: Mapping[str, Settings] | None = None,
        validate_every: int | None = None,
    ) -> None:
        self.config, self.model, self.task = config, model, task
        self.schedule, self.metrics = schedule, metrics or {}
        self.augment, self.augment_colors, self.autocast = augment, augment_colors, autocast
        self.validate_every = validate_every
        self.ranks = ranks or ProcessGroup()
        examples, groups, block_size = task.training_order()
        self.sampler = BatchSampler(
            examples, config.batch_size, seed=seed, groups=groups, block_size=block_size
        )
        self.optimizer_options = optimizer.options()  # a resumed run has its own, not the file's
        self.optimizer = OPTIMIZERS[optimizer.name](
            model.parameters(), config.learning_rate, optimizer
        )
        self._parallel = self.ranks.data_parallel(model, self._forward)
        self._graphs = self._prepare_device()
        self.step = 0
        self.seconds, self._began = 0.0, time.monotonic()
        self._check_best_metric()
        self.best_value = -math.inf
        self._average_value: float | None = None
        self.val_loss: float | None = None
        self.val_acc: float | None = None
        self._validated_step = 0
        self._sums = {"loss": 0.0, "accuracy": 0.0, "steps": 0}

    # -- training ------------------------------------------------------------------------

    def run(self, control: RunControl) -> Iterator[StepEvent | ValidationEvent]:
        """Train until a limit is reached or ``control`` requests a stop.

        Raises DivergedError instead of applying a non-finite update. If a step raises, the state
        before that step is kept, so that it can be saved and resumed.
        """
        self._began = time.monotonic() - self.seconds
        while not self._is_stopped(control):
            if self._validation_is_due():
                event: StepEvent | ValidationEvent = self._validate()
            elif self.reached_limit or self.reached_stop:
                break
            else:
                event = self._train_step_or_restore()
            yield event

    def _is_stopped(self, control: RunControl) -> bool:
        """Synchronise the clock and stop requests between the processes of the run."""
        requested = control.stop_requested
        stop, self.seconds = self.ranks.sync_stop(requested, self.seconds, self.model.device)
        if stop and not requested:
            control.request_stop("another process of the run was stopped")
        return stop

    @property
    def reached_limit(self) -> bool:
        """Whether the run has reached its full length."""
        return self.progress is not None and self.progress >= 1.0

    @property
    def is_validated(self) -> bool:
        """Whether the state after the last step was validated."""
        return self._validated_step == self.step

    @property
    def reached_stop(self) -> bool:
        """Whether ``training.stop_at_step`` is reached."""
        stop = self.config.stop_at_step
        return stop is not None and self.step >= stop

    @property
    def progress(self) -> float | None:
        """Completed share of the run, by the nearest limit; None without a limit."""
        shares = self._limits().values()
        return min(max(shares), 1.0) if shares else None

    @property
    def reached_limits(self) -> list[str]:
        """The limits that are reached, such as ``training.max_steps=1000``."""
        reached = [key for key, share in self._limits().items() if share >= 1.0]
        return [f"training.{key}={getattr(self.config, key)}" for key in reached]

    @property
    def schedule_progress(self) -> float | None:
        """Progress of the learning-rate schedule, 0 to 1; None without a length.

        With ``training.schedule_by=steps``, ``training.max_minutes`` ends a run early without
        changing the schedule.
        """
        if self.config.schedule_by == "time":
            return self.progress
        shares = self._counted_limits().values()
        return min(max(shares), 1.0) if shares else None

    def _limits(self) -> dict[str, float]:
        """Return the completed share of each limit."""
        limits = self._counted_limits()
        if self.config.max_minutes is not None:
            limits["max_minutes"] = self.seconds / (60 * self.config.max_minutes)
        return limits

    def _counted_limits(self) -> dict[str, float]:
        """Return the completed share of each limit in steps and epochs."""
        config, sampler = self.config, self.sampler
        limits: dict[str, float] = {}
        if config.epochs is not None:
            done = (sampler.epoch - 1) * sampler.batches_per_epoch + sampler.batch
            limits["epochs"] = done / (config.epochs * sampler.batches_per_epoch)
        if config.max_steps is not None:
            limits["max_steps"] = self.step / config.max_steps
        return limits

    def _validation_is_due(self) -> bool:
        every = self.validate_every
        is_time = self.sampler.epoch_is_complete if every is None else self.step % every == 0
        return (is_time or self.reached_limit) and self._validated_step < self.step

    def _train_step_or_restore(self) -> StepEvent:
        """Take a step; if it raises, restore the order and the generators that it advanced."""
        position, generators = self.sampler.position(), GeneratorStates()
        try:
            return self._train_step()
        except BaseException:
            self.sampler.restore(position)
            generators.restore()
            raise

    def _train_step(self) -> StepEvent:
        batch = self.sampler.next()
        examples, generator, weight = self.ranks.part(batch, self.sampler.generator)
        self.model.train()
        self.model.bottleneck.set_progress(self.schedule_progress or 0.0)
        learning_rate = self._set_learning_rate()
        if self._graphs is None:
            output = self._update(examples, generator, weight)
        else:
            output = self._graphs(examples, generator)
        loss, accuracy, grad_norm = output.tolist()
        if not (math.isfinite(loss) and math.isfinite(grad_norm)):
            raise DivergedError(
                f"step {self.step + 1}: loss {loss}, gradient norm {grad_norm}; lower "
                "training.learning_rate (pretrain.learning_rate in pretraining), or try "
                "training.precision=fp32"
            )
        self.step += 1
        self.seconds = time.monotonic() - self._began
        self._sums["loss"] += loss
        self._sums["accuracy"] += accuracy
        self._sums["steps"] += 1
        return StepEvent(
            step=self.step,
            epoch=self.sampler.epoch,
            batch=self.sampler.batch,
            batches=self.sampler.batches_per_epoch,
            loss=loss,
            accuracy=accuracy,
            learning_rate=learning_rate,
            grad_norm=grad_norm,
            targets=len(batch),
            seconds=self.seconds,
            progress=self.progress,
        )

    def _update(self, examples: Tensor, generator: torch.Generator, weight: float = 1.0) -> Tensor:
        """Update the weights unless the loss or the gradient is not finite.

        Returns loss, accuracy and gradient norm, float64 [3]. ``weight`` is that of ``examples``
        among the parts of the batch.
        """
        if self._parallel is None:
            output = self._forward(examples, generator)
            loss, accuracy = output.loss, output.accuracy
        else:
            loss, accuracy = self._parallel(examples, generator)
        self.optimizer.zero_grad(set_to_none=True)
        (loss if weight == 1.0 else weight * loss).backward()
        means = torch.stack([loss.detach().double(), accuracy.detach().double()])
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.gradient_clip)
        values = torch.cat([self.ranks.average(means, weight), norm.double()[None]])
        if self._skips_on_device:  # nothing waits here for the values
            skip = (~values[::2].isfinite()).any().float()
            vars(self.optimizer).update(found_inf=skip, grad_scale=None)
            self.optimizer.step()
        elif values[::2].isfinite().all():
            self.optimizer.step()
        return values

    def _forward(self, examples: Tensor, generator: torch.Generator) -> StepOutput:
        transforms = 1 if self.task.shared_transform else len(examples)
        transform = None
        if self.augment:
            transform = Transform.sample(generator, transforms, colors=self.augment_colors)
        with self._autocast(), self.ranks.shares_rows(self.model):
            return self.task.step(self.model, examples, generator, transform)

    def _validate(self) -> ValidationEvent:
        model, task, split = self.model, self.task, self.task.corpus.validation
        evaluation = evaluate_split(model, task, split, metrics=self.metrics)
        self._validated_step = self.step
        self.seconds = time.monotonic() - self._began
        self.val_loss, self.val_acc = evaluation.task_metrics.loss, evaluation.task_metrics.accuracy
        is_best = self._is_best(self._best_value(evaluation.task_metrics))
        steps = max(self._sums["steps"], 1)
        event = ValidationEvent(
            step=self.step,
            epoch=self.sampler.epoch,
            seconds=self.seconds,
            train_loss=self._sums["loss"] / steps,
            train_accuracy=self._sums["accuracy"] / steps,
            evaluation=evaluation,
            is_best=is_best,
            examples=partial(some_examples, model, task, split, evaluation),
        )
        self._sums = {"loss": 0.0, "accuracy": 0.0, "steps": 0}
        return event

    def _check_best_metric(self) -> None:
        """Raise ValueError unless ``training.best_metric`` is a metric of the task."""
        name = self.config.best_metric
        if name is None or name == "loss":
            return
        empty = Split.build("validation", [], self.model.device)
        signal = torch.zeros(0, self.model.bottleneck.signal_width, device=self.model.device)
        known = ["loss", *self.task.evaluate(self.model, empty, signal).headline.values]
        if name not in known:
            raise ValueError(
                f"training.best_metric={name}: choose one of {', '.join(known)}."
                f"{nearest(name, known)}"
            )

    def _best_value(self, metrics: TaskMetrics) -> float:
        """Return the value that chooses the best checkpoint; larger is better."""
        name = self.config.best_metric
        if name is None:
            return metrics.accuracy
        return -metrics.loss if name == "loss" else metrics.headline.values[name]

    def _is_best(self, value: float) -> bool:
        """Compare running averages, so that a single outlier is not chosen."""
        if math.isnan(value):
            return False
        before = self._average_value
        smooth = value if before is None else SMOOTHING * before + (1 - SMOOTHING) * value
        self._average_value = smooth
        if smooth < self.best_value:
            return False
        self.best_value = smooth
        return True

    def _set_learning_rate(self) -> float:
        factor = learning_rate_factor(
            self.schedule, self.config.warmup_steps, self.step, self.schedule_progress
        )
        rate = self._learning_rate = self.config.learning_rate * factor
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate
        return rate

    def _prepare_device(self) -> StepGraphs | None:
        """Fuse Adam's update; on CUDA, return the graphs of a step that can be captured."""
        device = self.model.device
        self._is_fused = isinstance(self.optimizer, Adam) and device.type in ("cpu", "cuda")
        self._skips_on_device = self._is_fused and device.type == "cuda"
        self._fused_keys: dict[str, Any] = {"fused": True, "capturable": self._skips_on_device}
        if self._is_fused:
            self._fuse()
        static = self.task.step_is_static and self.model.is_static and self.ranks.size == 1
        return StepGraphs(self._update, device) if self._skips_on_device and static else None

    def _fuse(self) -> None:
        """Set the keys of Adam for fused updates, which on CUDA can be captured.

        The learning rate is then a tensor on the device.
        """
        keys = dict(self._fused_keys)
        if self._skips_on_device:
            self._learning_rate = self.config.learning_rate
            keys["lr"] = torch.tensor(self._learning_rate, device=self.model.device)
            self.optimizer._warned_capturable_if_run_uncaptured = True
        for group in self.optimizer.param_groups:
            group.update(keys)

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.autocast is None:
            return nullcontext()
        return torch.autocast(self.model.device.type, dtype=self.autocast)

    # -- state ---------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return everything that exact resumption needs, as plain types and tensors."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self._optimizer_state(),
            "source": self.sampler.state_dict(),
            "random": random_states(self.model.device),
            "step": self.step,
            "seconds": self.seconds,
            "best_accuracy": self.best_value,
            "average_accuracy": self._average_value,
            "validated_step": self._validated_step,
            "val_loss": self.val_loss,
            "val_acc": self.val_acc,
            "sums": dict(self._sums),
        }

    def _optimizer_state(self) -> dict[str, Any]:
        """Return the state of the optimizer, the same on every device."""
        state = self.optimizer.state_dict()
        if self._is_fused:
            rate = {"lr": self._learning_rate} if self._skips_on_device else {}
            state["param_groups"] = [group | UNFUSED | rate for group in state["param_groups"]]
        return state

    def _load_optimizer(self, state: dict[str, Any]) -> None:
        keys = self.optimizer_options | (self._fused_keys if self._is_fused else {})
        groups = [group | keys for group in state["param_groups"]]
        self.optimizer.load_state_dict(state | {"param_groups": groups})
        if self._is_fused:
            self._fuse()

    def load_state_dict(
        self,
        state: dict[str, Any],
        *,
        same_order: bool = True,
        same_optimizer: bool = True,
        same_validation: bool = True,
    ) -> None:
        """Continue from ``state``.

        Without ``same_order`` (another batch size or other data) the current epoch starts again, in
        a new order. Without ``same_optimizer`` the optimizer starts without state, and without
        ``same_validation`` the next validation is the best so far.
        """
        self.model.load_state_dict(state["model"])
        if self._graphs is not None:
            self._graphs.reset()
        if same_optimizer:
            self._load_optimizer(state["optimizer"])
        if same_order:
            self.sampler.load_state_dict(state["source"])
        else:
            source, validated = state["source"], state["validated_step"] == state["step"]
            is_complete = source.get("complete", validated)  # absent in files of earlier versions
            self.sampler.generator.set_state(source["generator"])
            self.sampler.begin_epoch(source["epoch"] + (1 if is_complete else 0))
        set_random_states(state["random"], self.model.device)
        self.step, self.seconds = state["step"], state["seconds"]
        if same_validation:
            self.best_value = state["best_accuracy"]
            self._average_value = state["average_accuracy"]
        self._validated_step = state["validated_step"]
        self.val_loss, self.val_acc = state["val_loss"], state["val_acc"]
        self._sums = dict(state["sums"])
