"""Ease of learning: how fast new receivers learn the messages of a frozen sender."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

from arc.config.builders import build_model, build_trainer
from arc.config.schema import RunConfig, Selection
from arc.models import ARCAutoencoder
from arc.tasks import Task
from arc.training import DivergedError, RunControl, Trainer, ValidationEvent, seed_everything
from arc.training.random_state import GeneratorStates

log = logging.getLogger(__name__)
GOAL = 0.9  # share of the accuracy of the run's own receiver
VALIDATIONS = 25
STEP_COST = 2  # cost of training on a chunk of examples, relative to evaluating it


def learn_messages(
    config: RunConfig,
    task: Task,
    model: ARCAutoencoder,
    untrained: ARCAutoencoder,
    *,
    receivers: int,
    steps: int,
    goal: float,
    begin: Callable[[str], None],
    count: Callable[[int], None],
) -> Iterator[dict[str, Any]]:
    """Train new receivers for ``steps`` steps; yields a row for each.

    ``receivers`` of them, with the seeds after the run's, learn the messages of ``model``. One
    more, with the first of these seeds, learns those of ``untrained``. The senders are frozen, as
    by ``freeze_sender``. Task, batch size, optimizer and schedule are the run's; the schedule ends
    after ``steps``, and the warm-up takes at most a fifth of them.

    A row has the ``sender`` (trained or untrained) and the receiver's ``seed``; ``curve``: pairs of
    a step and the validation accuracy after it, in percent; ``steps_to_goal``: the first of these
    steps at which the accuracy is at least ``goal``, None if there is none; ``area``: the mean
    accuracy over the steps; ``final``: the last accuracy. A training that diverges has no row.

    ``begin`` is called with the name of each training, ``count`` with the cost of each step. An
    exception from either ends the training.
    """
    generators = GeneratorStates()
    try:
        for number, name in enumerate(trainings(receivers)):
            begin(name)
            sender = model if number < receivers else untrained
            seed = (config.seed + 1 + number % receivers) % 2**63
            trainer = _trainer(config, sender, task, seed, steps)
            try:
                curve = list(_curve(trainer, count))
            except DivergedError as error:
                log.warning(f"{name}, seed {seed}, is left out: {error}")
                continue
            kind = "trained" if sender is model else "untrained"
            yield {"sender": kind, "seed": seed, **_summary(curve, goal), "curve": curve}
    finally:
        generators.restore()


def trainings(receivers: int) -> list[str]:
    """Return the names of the trainings, the one with the untrained sender last."""
    return [f"new receiver {number + 1} of {receivers + 1}" for number in range(receivers + 1)]


def training_chunks(config: RunConfig, task: Task, steps: int) -> int:
    """Estimate the cost of one training, in chunks as evaluation counts them."""
    step = _step_cost(config.training.batch_size, task)
    return steps * step + 3 * VALIDATIONS * task.chunk_count(task.corpus.validation)


def _step_cost(batch_size: int, task: Task) -> int:
    return STEP_COST * -(-batch_size // task.chunk_size)


def _trainer(
    config: RunConfig, sender: ARCAutoencoder, task: Task, seed: int, steps: int
) -> Trainer:
    """Return the trainer of a new receiver for the frozen ``sender``."""
    limits = {"max_steps": steps, "epochs": None, "max_minutes": None, "stop_at_step": None}
    warmup = min(config.training.warmup_steps, steps // 5)
    training = config.training.model_copy(
        update={**limits, "schedule_by": "steps", "warmup_steps": warmup}
    )
    separate = config.model.model_copy(update={"shared_encoder": False, "shared_init": False})
    config = config.model_copy(update={"seed": seed, "model": separate, "metric": Selection()})
    seed_everything(seed)
    model = build_model(config).to(sender.device)
    model.encoder.load_state_dict(sender.encoder.state_dict())
    model.bottleneck.load_state_dict(sender.bottleneck.state_dict())
    model.freeze_sender()
    every = -(-steps // VALIDATIONS)
    return build_trainer(config, task, model, training=training, validate_every=every)


def _curve(trainer: Trainer, count: Callable[[int], None]) -> Iterator[tuple[int, float]]:
    """Train, and yield the step and the accuracy of each validation."""
    for event in trainer.run(RunControl()):
        if isinstance(event, ValidationEvent):
            yield event.step, event.evaluation.task_metrics.accuracy
        else:
            count(_step_cost(trainer.config.batch_size, trainer.task))


def _summary(curve: list[tuple[int, float]], goal: float) -> dict[str, Any]:
    area, before = 0.0, 0
    for step, accuracy in curve:
        area += (step - before) * accuracy
        before = step
    return {
        "steps_to_goal": next((step for step, accuracy in curve if accuracy >= goal), None),
        "area": area / before,
        "final": curve[-1][1],
    }
