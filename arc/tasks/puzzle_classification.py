"""Puzzle classification: the receiver predicts the puzzle, and whether the grid is an output.

Label = 2 x puzzle + (0 for an input, 1 for an output). Pairs of each puzzle are held out: one
demonstration pair for validation, the test pairs for the test split.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field, field_validator
from torch import Tensor

from arc.data import Corpus, Grids, Split, Transform
from arc.data.augment import random_crops
from arc.data.corpus import HoldOut
from arc.data.features import color_counts
from arc.metrics import share
from arc.models import ARCAutoencoder
from arc.tasks.base import (
    TASKS,
    Metric,
    StepOutput,
    Task,
    TaskConfig,
    TaskMetrics,
    percent,
    ranked,
    transformed,
)


class PuzzleClassificationConfig(TaskConfig):
    """Keys of conf/task/puzzle_classification.yaml; ``num_classes`` is filled from the data."""

    num_classes: Annotated[int, Field(ge=2)] | None

    @field_validator("use_input_output_pairs")
    @classmethod
    def _no_pairs(cls, pairs: bool) -> bool:
        if pairs:
            raise ValueError("must be false: puzzle_classification classifies one grid")
        return pairs


@TASKS.register("puzzle_classification", config=PuzzleClassificationConfig)
class PuzzleClassificationTask(Task):
    """Classification with two classes per puzzle."""

    held_out: ClassVar[HoldOut] = "pairs"
    presets = ("puzzle_classification", "puzzle_classification_vector")

    def __init__(self, config: PuzzleClassificationConfig, corpus: Corpus) -> None:
        super().__init__(config, corpus)
        counts = torch.bincount(corpus.training.label, minlength=self.num_classes)
        self._baselines: dict[str, dict[str, float]] = {}
        self._most_common = counts.topk(min(5, len(counts))).indices

    @property
    def num_classes(self) -> int:
        """Two classes per puzzle."""
        return 2 * len(self.corpus.training.puzzle_ids)

    @property
    def step_is_static(self) -> bool:
        """True."""
        return True

    @property
    def uses_crops(self) -> bool:
        """True."""
        return True

    def step(
        self,
        model: ARCAutoencoder,
        examples: Tensor,
        generator: torch.Generator,
        transform: Transform | None = None,
    ) -> StepOutput:
        """Compute the cross-entropy of the class."""
        split = self.corpus.training
        grids = self.sender_input(split, examples, generator)
        if self.corpus.crop > 0:
            grids = random_crops(grids, self.corpus.crop, generator)
        message = model(transformed(grids, transform))
        logits = model.receiver(message.signal)
        label = split.labels(examples).to(logits.device)
        return StepOutput(
            loss=F.cross_entropy(logits, label) + message.aux_loss,
            accuracy=percent(logits.detach().argmax(1) == label),
            message=message,
        )

    def evaluate(
        self, model: ARCAutoencoder, split: Split, signal: Tensor, *, full: bool = False
    ) -> TaskMetrics:
        """Return ``top1`` and ``top5`` accuracy.

        The baseline ``prior`` predicts the most common classes, ``nearest_grid`` those of the
        training grids with the nearest size, colours and shares of colours.
        """
        if len(split) == 0:
            empty = Metric({"top1": math.nan, "top5": math.nan}, 0, {})
            return TaskMetrics(math.nan, {"puzzle_classification": empty})
        logits = model.receiver(signal).cpu()
        best = logits.topk(min(5, logits.shape[1]), dim=1).indices
        hits = best == split.label[:, None]
        metric = Metric.of(
            {"top1": share(hits[:, 0]), "top5": share(hits.any(1))},
            len(split),
            self._baselines_of(split),
        )
        loss = float(F.cross_entropy(logits, split.label))
        return TaskMetrics(loss, {"puzzle_classification": metric})

    def predict(
        self, model: ARCAutoencoder, split: Split, examples: Tensor, signal: Tensor
    ) -> list[dict[str, Any]]:
        """Return the ``top`` five puzzles, and whether the first is correct."""
        probabilities = model.receiver(signal).softmax(1).cpu()
        best = probabilities.topk(min(5, probabilities.shape[1]), dim=1)
        predictions = []
        for row, label in enumerate(split.label[examples].tolist()):
            top = [
                {
                    **self._class(guess),
                    "probability": probability,
                    "is_target": guess == label,
                }
                for guess, probability in zip(
                    best.indices[row].tolist(), best.values[row].tolist(), strict=True
                )
            ]
            predictions.append({"top": top, "correct": top[0]["is_target"]})
        return predictions

    def outcomes(
        self, model: ARCAutoencoder, split: Split, signal: Tensor
    ) -> Iterator[dict[str, Any]]:
        """Yield the predicted class, such as ``0a938d79 input``, and the label's rank."""
        for part in self.chunks(len(split)):
            logits, label = model.receiver(signal[part]).cpu(), split.label[part]
            rank, probability, choice = (each.tolist() for each in ranked(logits, label))
            for place, guess in enumerate(choice):
                yield {
                    "prediction": " ".join(self._class(guess).values()),
                    "correct": rank[place] == 1,
                    "rank": rank[place],
                    "probability": probability[place],
                    "candidates": logits.shape[1],
                }

    def _baselines_of(self, split: Split) -> dict[str, float]:
        if split.name not in self._baselines:
            guesses = {"prior": self._most_common[None], "nearest_grid": self._nearest(split)}
            found = self._baselines[split.name] = {}
            for name, best in guesses.items():
                hits = best == split.label[:, None]
                found[name] = float(percent(hits[:, 0]))
                found[f"{name}_top5"] = float(percent(hits.any(1)))
        return self._baselines[split.name]

    def _nearest(self, split: Split) -> Tensor:
        """Return up to five classes, those of the nearest training grids: int64 [examples, 5]."""
        training = self.corpus.training
        known, own = (_features(each.grids)[each.sender] for each in (training, split))
        parts = []
        for part in self.chunks(len(split), 1024):
            distances = torch.cdist(own[part], known)
            nearest = distances.new_full((len(part), self.num_classes), math.inf)
            nearest.scatter_reduce_(1, training.label.expand_as(distances), distances, "amin")
            parts.append(nearest.topk(min(5, nearest.shape[1]), largest=False).indices)
        return torch.cat(parts)

    def _class(self, number: int) -> dict[str, str]:
        """Return the puzzle and the side of a class."""
        puzzle = self.corpus.training.puzzle_ids[number // 2]
        return {"puzzle": puzzle, "side": ("input", "output")[number % 2]}


def _features(grids: Grids) -> Tensor:
    """Return each grid's shares of colours (times 3), set of colours and size (divided by 10).

    Float32 [batch, 22] on the CPU.
    """
    counts = color_counts(grids)
    shares = counts / counts.sum(1, keepdim=True)
    return torch.cat([3 * shares, (counts > 0).float(), grids.sizes.cpu() / 10], 1)
