"""Loggers that record scalars, images and histograms by the run's steps."""

from __future__ import annotations

import hashlib
import json
import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from arc.io.trees import leaves
from arc.loggers.base import Logger
from arc.loggers.grid_images import example_image
from arc.registry import Settings
from arc.training import Evaluation, RunEnded, StepEvent, ValidationEvent

SEED_KEYS = ("seed", "run_name", "encoder.pretrained")  # may differ between seeds of one setting
PLACES = ("checkpoint", "device", "logger")  # do not change the results


class TrackingConfig(Settings):
    """Keys of every logger of this kind."""

    every_steps: Annotated[int, Field(ge=1)]


class ImageConfig(TrackingConfig):
    """Keys of every logger that also records images."""

    images: Annotated[int, Field(ge=0, le=64)]


@dataclass(frozen=True)
class Record:
    """What is recorded at one step of the run, by name.

    ``images``: uint8 [height, width, 3]. ``histograms``: how often each symbol was sent, int64
    [vocab_size]. ``kind``: step, validation or results.
    """

    kind: str
    step: int
    scalars: dict[str, float]
    images: dict[str, np.ndarray] = field(default_factory=dict)
    histograms: dict[str, np.ndarray] = field(default_factory=dict)


class TrackingLogger(Logger):
    """Base of loggers that write records; its subclasses implement ``write``.

    ``step`` is that of the newest event; ``first_step`` that of the first event of this run.
    """

    config: TrackingConfig
    step = 0
    first_step: float = math.inf

    def begin(self, step: int) -> None:
        """Set ``first_step``."""
        self.first_step = step + 1

    def on_event(self, event: object) -> None:
        """Write the record of an event."""
        if isinstance(event, StepEvent | ValidationEvent):
            self.step = event.step
        if isinstance(event, StepEvent):
            if event.step % self.config.every_steps == 0:
                self.write(Record("step", event.step, step_scalars(event)))
        elif isinstance(event, ValidationEvent):
            self.write(self._validation(event))
        elif isinstance(event, RunEnded) and event.results is not None:
            self.write(Record("results", self.step, result_scalars(event.results)))

    @abstractmethod
    def write(self, record: Record) -> None:
        """Write a record."""

    def _validation(self, event: ValidationEvent) -> Record:
        images, histograms = {}, {}
        if isinstance(self.config, ImageConfig):
            shown = event.examples(self.config.images)
            images = {f"examples/{each.name}": example_image(each) for each in shown}
            histograms = symbol_counts(event.evaluation, self.run["bottleneck"].get("vocab_size"))
        scalars = validation_scalars(event)
        return Record("validation", event.step, scalars, images, histograms)


def step_scalars(event: StepEvent) -> dict[str, float]:
    """Return the values of a training step."""
    return {
        "train/loss": event.loss,
        "train/accuracy": event.accuracy,
        "train/learning_rate": event.learning_rate,
        "train/grad_norm": event.grad_norm,
        "train/epoch": event.epoch,
    }


def validation_scalars(event: ValidationEvent) -> dict[str, float]:
    """Return the values of a validation, without those that are not finite."""
    row = event.row()
    values = {
        "validation/loss": row["val_loss"],
        "validation/accuracy": row["val_acc"],
        "validation/train_loss": row["train_loss"],
        "validation/train_accuracy": row["train_accuracy"],
        **{f"validation/metrics/{name}": value for name, value in row["metrics"].items()},
        **{f"validation/baselines/{name}": value for name, value in row["baselines"].items()},
        **{f"language/{name}": value for name, value in row["language"].items()},
    }
    return {name: value for name, value in values.items() if math.isfinite(value)}


def result_scalars(results: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a results file: ``test/grids/accuracy``, an interval as /low, /high."""
    values: dict[str, float] = {}
    for key, value in leaves({**results, "config": {}, "started_from": None}).items():
        name = "results/" + key.replace(".", "/")
        if isinstance(value, list) and len(value) == 2:
            values |= {f"{name}/low": value[0], f"{name}/high": value[1]}
        elif isinstance(value, int | float) and not isinstance(value, bool):
            values[name] = value
    return values


def symbol_counts(evaluation: Evaluation, vocab_size: int | None) -> dict[str, np.ndarray]:
    """Return how often each symbol was sent at each position, the first being 1."""
    if evaluation.messages is None or vocab_size is None:
        return {}
    messages = evaluation.messages.numpy()
    lengths = np.full(len(messages), messages.shape[1])
    if evaluation.lengths is not None:
        lengths = evaluation.lengths.cpu().numpy()
    return {
        f"symbols/position_{place + 1}": np.bincount(column[lengths > place], minlength=vocab_size)
        for place, column in enumerate(messages.T)
    }


def group_of(run: Mapping[str, Any]) -> str:
    """Return a name that runs have in common if their configurations differ only in their seed."""
    section = "pretrain" if run["mode"] == "pretrain" else "bottleneck"
    keys = {
        key: value
        for key, value in leaves(run).items()
        if key not in SEED_KEYS and key.split(".")[0] not in PLACES
    }
    digest = hashlib.sha256(json.dumps(keys, sort_keys=True).encode()).hexdigest()[:8]
    return f"{run['task']['name']}_{run[section]['name']}_{digest}"
