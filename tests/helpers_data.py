"""Grids, runs without callbacks, and the content of splits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from arc.config.builders import build_trainer
from arc.config.schema import RunConfig
from arc.data import Corpus, Split
from arc.data.grids import content_key
from arc.models import ARCAutoencoder
from arc.tasks import TASKS, TaskMetrics
from arc.training import Trainer

TASK_OVERRIDES = {
    "reconstruction": ["task=reconstruction"],
    "reconstruction-pairs": ["task=reconstruction", "task.use_input_output_pairs=true"],
    "selection": ["task=selection", "task.num_distractors=3"],
    "selection-pairs": [
        "task=selection",
        "task.num_distractors=3",
        "task.use_input_output_pairs=true",
    ],
    "puzzle_classification": ["task=puzzle_classification"],
    "transformation": ["task=transformation", "task.size=predicted"],
}


def random_grids(count: int, seed: int = 0, sides: tuple[int, ...] = (3, 5)) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [
        rng.integers(0, 10, size=(rng.choice(sides), rng.choice(sides)), dtype=np.uint8)
        for _ in range(count)
    ]


@dataclass
class Run:
    """The parts of a run, without callbacks."""

    config: RunConfig
    corpus: Corpus
    task: Any
    model: ARCAutoencoder

    def trainer(self) -> Trainer:
        return build_trainer(self.config, self.task, self.model)


MakeConfig = Callable[..., RunConfig]
MakeCorpus = Callable[..., Corpus]
MakeRun = Callable[..., Run]
SavePuzzles = Callable[..., Path]


def grid(color: int, height: int = 1, width: int = 1) -> np.ndarray:
    """Return a grid of one colour."""
    return np.full((height, width), color)


def histogram(array: np.ndarray) -> np.ndarray:
    """Count the cells of each colour."""
    return np.bincount(array.ravel(), minlength=10)


def contents(split: Split) -> set[bytes]:
    """Return the content keys of the grids that the examples of ``split`` use."""
    grids = split.grids.arrays()
    return {content_key(grids[index]) for index in torch.cat([split.sender, split.target]).unique()}


def puzzles_of(split: Split) -> set[str]:
    """Return the puzzles that have an example in ``split``."""
    return {place.split()[0] for place in split.example_ids}


def sendable(task: str, grids: Sequence[Any]) -> list[Any]:
    """Return what the sender of a task takes: ``grids``, or pairs of them."""
    pairs = zip(grids, [*grids[1:], grids[0]], strict=True)
    return list(pairs) if TASKS[task].sends_pairs else list(grids)


@torch.no_grad()
def evaluate(run: Any, split: Split, **options: Any) -> TaskMetrics:
    """Evaluate a run's model on ``split`` with the messages of its own sender."""
    return run.task.evaluate(run.model, split, run.task.send_all(run.model, split)[1], **options)
