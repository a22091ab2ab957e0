"""One run from its plan to its results: a training of the game, or a pretraining."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from arc.checkpointing import load, prepare_folder, sweep_temporaries
from arc.checkpointing.policy import CheckpointPolicy, EncoderCheckpointPolicy
from arc.checkpointing.restore import begin_from, start_encoder
from arc.config.builders import (
    build_model,
    build_pretraining,
    build_pretraining_model,
    build_task,
    with_data,
)
from arc.config.schema import RunConfig
from arc.loggers.jsonl import Record
from arc.models import ARCAutoencoder
from arc.runs.plan import RunPlan
from arc.runs.results import evaluate, evaluate_pretraining, write_results
from arc.runs.run_lock import run_lock
from arc.tasks import Task
from arc.training import (
    DivergedError,
    Heap,
    ProcessGroup,
    RunControl,
    StepEvent,
    Trainer,
    TrainingConfig,
    ValidationEvent,
)
from arc.training.device import autocast_dtype, pick_device
from arc.training.random_state import seed_everything

log = logging.getLogger(__name__)
Watcher = Callable[[StepEvent | ValidationEvent], None]


@dataclass(frozen=True)
class Outcome:
    """How a training ended; finished means that it has its full length."""

    kind: Literal["finished", "stopped", "failed"]
    error: str | None = None


@dataclass(frozen=True)
class RunStarted:
    """A run was built and is about to train."""

    run: Run


@dataclass(frozen=True)
class TrainingEnded:
    """Training ended and every save is on the disk; the final evaluation may follow."""

    outcome: Outcome


@dataclass(frozen=True)
class RunEnded:
    """The run is over. ``results`` is None unless the final evaluation produced some."""

    outcome: Outcome
    results: dict[str, Any] | None


class Run:
    """Trains the game. Raises ValueError, when it is made, for what cannot be done."""

    def __init__(
        self, plan: RunPlan, output: Path, heap: Heap, ranks: ProcessGroup | None = None
    ) -> None:
        config = plan.config
        self.output, self.heap, self.ranks = output, heap, ranks or ProcessGroup()
        self.folder = Path(config.checkpoint.dir)
        if self.ranks.is_leader:
            self._prepare_folder()
        self.device = self.ranks.init(pick_device(config.device))
        self.task = self._build_task(config)
        self.config = self._completed(config)
        seed_everything(config.seed)
        self.trainer = Trainer(
            self._training(),
            self._build_model().to(self.device),
            self.task,
            seed=config.seed,
            augment=config.data.augment,
            autocast=autocast_dtype(config.training.precision, self.device),
            ranks=self.ranks,
        )
        self._describe()
        self._begin(plan)
        self.ranks.broadcast_parameters(self.trainer.model.state_dict().values())
        self.saving = self._make_saving()
        self._goes_on = plan.origin is not None and plan.origin.kind == "resume"

    def _prepare_folder(self) -> None:
        prepare_folder(self.folder)
        for swept in sweep_temporaries(self.folder):
            log.info(f"swept {swept}, left by a process that died")

    # -- what a pretraining does otherwise -------------------------------------------------

    def _build_task(self, config: RunConfig) -> Task:
        return build_task(config, self.device)

    def _completed(self, config: RunConfig) -> RunConfig:
        return with_data(config, self.task.num_classes)

    def _training(self) -> TrainingConfig:
        return self.config.training

    def _build_model(self) -> ARCAutoencoder:
        return build_model(self.config)

    def _begin(self, plan: RunPlan) -> None:
        if plan.origin is not None:
            begin_from(plan.origin, self.config, self.trainer)
        resumed = plan.origin is not None and plan.origin.kind == "resume"
        encoder = self.config.encoder
        if encoder.pretrained is not None and not resumed:
            start_encoder(encoder.pretrained, "encoder.pretrained", self.config, self.trainer)
        if encoder.freeze and encoder.pretrained is None and plan.origin is None:
            log.warning(
                "encoder.freeze: the sender's encoder stays as it was drawn at random; "
                "encoder.pretrained=FILE or TASK would give it trained weights"
            )
        elif encoder.freeze:
            log.info("encoder.freeze: the sender's encoder stays as it is")

    def _make_saving(self) -> CheckpointPolicy:
        return CheckpointPolicy(self.config, self.trainer)

    def _load_best(self) -> ARCAutoencoder:
        """Return the model of the best file, or the last state if there is none."""
        best = self.saving.best
        if not best.exists():
            return self.trainer.model
        return load(best, self.device).model

    def _evaluate(self, model: ARCAutoencoder) -> dict[str, Any]:
        return evaluate(
            self.config,
            model,
            self.task,
            minutes=self.trainer.seconds / 60,
            steps=self.trainer.step,
        )

    def _title(self) -> str:
        return f"{self.config.task.name} through {self.config.bottleneck.name}"

    # -- the story -----------------------------------------------------------------------

    @property
    def is_finished(self) -> bool:
        """Whether the run has its full length already; says so."""
        if self.trainer.reached_limit:
            log.info(
                f"{self.config.run_name} has its full length, {self.trainer.step} steps: nothing "
                "to do. Lengths are totals; raise training.max_steps, epochs or max_minutes"
            )
        return self.trainer.reached_limit

    def execute(self, control: RunControl, *watchers: Watcher) -> Outcome:
        """Train to the end or until stopped, save, then test; ``watchers`` see each event."""
        fault = None
        try:
            self._train(control, watchers)
        except DivergedError as error:
            fault = f"{error}. The last good state is in {self.saving.last or self.saving.best}"
            log.error(fault)
        self.ranks.shutdown()
        failed = self.saving.finish()
        failures = self.saving.writer.failures
        if failed:
            log.error(f"{failures} saves failed; not on the disk: {failed[-1].error}")
        elif failures:
            log.warning(f"{failures} saves failed on the way; later ones made each of them good")
        if fault is None:
            fault = next(
                (save.error for save in failed if save.path == self.saving.required_path), None
            )
        if fault is not None:
            return Outcome("failed", fault)
        if control.stop_requested or not self.trainer.reached_limit:
            why = control.reason or "training.stop_at_step"
            log.info(f"stopped at step {self.trainer.step} ({why}); {self._kept()}")
            return Outcome("stopped")
        warmup = self.trainer.config.warmup_steps
        if self.trainer.step < warmup:
            log.warning(
                f"the learning rate was still rising when the run ended after {self.trainer.step} "
                f"steps: training.warmup_steps={warmup} is more than it had"
            )
        return Outcome("finished")

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Hold the names of this run's files, and keep what is under them of later steps.

        Raises ConfigError if another process has them.
        """
        with run_lock(self.folder, self.saving.best.stem.removesuffix("_best")):
            if self._goes_on:
                self.saving.preserve_later_checkpoints()
            yield

    def follow(self, control: RunControl) -> None:
        """Train beside the process that leads, which alone saves and reports."""
        for _ in self.trainer.run(control):
            self.heap.tidy()
        self.ranks.shutdown()

    def _train(self, control: RunControl, watchers: tuple[Watcher, ...]) -> None:
        with Record(self.output / "metrics.jsonl") as record:
            for event in self.trainer.run(control):
                record.add(event)
                self.saving.on_event(event)
                for watcher in watchers:
                    watcher(event)
                self.heap.tidy()

    def _kept(self) -> str:
        last, best = self.saving.last, self.saving.best
        if last is not None and self.trainer.step > 0:
            return f"saved {last}"
        return f"the best so far is {best}" if best.exists() else "nothing to save yet"

    def report(self) -> dict[str, Any]:
        """Touch the test set once, with the best state; returns the figures and writes them."""
        self.heap.trim()
        best = self.saving.best
        log.info(f"testing {best if best.exists() else 'the last state'}")
        results = self._evaluate(self._load_best())
        write_results(self.folder / f"{self.config.run_name}_results.json", results)
        log.info(f"results and checkpoints: {self.folder}/{self.config.run_name}_*")
        return results

    def _beside(self) -> str:
        size = self.ranks.size
        return f", {size} processes, each a part of every batch" if size > 1 else ""

    def _describe(self) -> None:
        config, corpus = self.config, self.task.corpus
        weights = sum(parameter.numel() for parameter in self.trainer.model.parameters())
        precision = "fp32" if self.trainer.autocast is None else "bf16"
        log.info(
            f"run {config.run_name}: {self._title()}, {weights:,} weights, {self.device}, "
            f"{precision}{self._beside()}"
        )
        log.info(
            f"data: {config.data.name}, {len(corpus.training)} training, "
            f"{len(corpus.validation)} validation, {len(corpus.test)} test examples"
        )
        for note in corpus.notes + self.task.notes:
            log.info(f"data: {note}")
        if self.trainer.progress is None:
            log.info("no length is set: trains until it is stopped, at a constant learning rate")


class PretrainRun(Run):
    """Trains the sender's encoder alone, with the same loop."""

    def _build_task(self, config: RunConfig) -> Task:
        return build_pretraining(config, self.device)

    def _completed(self, config: RunConfig) -> RunConfig:
        return config

    def _training(self) -> TrainingConfig:
        """Length in epochs and learning rate are the pretraining's own."""
        own = self.config.pretrain
        return self.config.training.model_copy(
            update={"epochs": own.epochs, "learning_rate": own.learning_rate}
        )

    def _build_model(self) -> ARCAutoencoder:
        return build_pretraining_model(self.config, self.task.num_classes)

    def _begin(self, plan: RunPlan) -> None:
        if self.config.pretrain.init_from is not None:
            path = self.config.pretrain.init_from
            start_encoder(path, "pretrain.init_from", self.config, self.trainer)

    def _make_saving(self) -> CheckpointPolicy:
        return EncoderCheckpointPolicy(self.config, self.trainer)

    def _load_best(self) -> ARCAutoencoder:
        """Return the best model, which no file holds whole."""
        assert isinstance(self.saving, EncoderCheckpointPolicy)
        if self.saving.best_state:
            self.trainer.model.load_state_dict(self.saving.best_state)
        return self.trainer.model

    def _evaluate(self, model: ARCAutoencoder) -> dict[str, Any]:
        return evaluate_pretraining(
            self.config,
            model,
            self.task,
            minutes=self.trainer.seconds / 60,
            steps=self.trainer.step,
        )

    def _title(self) -> str:
        return f"pretraining by {self.config.pretrain.name}"


RUNS = {"train": Run, "pretrain": PretrainRun}


def make_run(plan: RunPlan, output: Path, heap: Heap, ranks: ProcessGroup | None = None) -> Run:
    """Make the run that ``plan`` asks for; raises ValueError for what cannot be done."""
    return RUNS[plan.config.mode](plan, output, heap, ranks)
