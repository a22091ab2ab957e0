"""Reconstruction: the receiver builds the target grid, given its size."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from arc.data import Corpus, Grids, Split, Transform
from arc.data.features import color_counts
from arc.models import ARCAutoencoder
from arc.models.ragged import cell_values
from arc.tasks.base import (
    TASKS,
    Metric,
    StepOutput,
    Task,
    TaskConfig,
    TaskMetrics,
    percent,
)


class ReconstructionConfig(TaskConfig):
    """Keys of conf/task/reconstruction.yaml."""

    palette: Literal["rank", "none"]


@TASKS.register("reconstruction", config=ReconstructionConfig)
class ReconstructionTask(Task):
    """Every cell has the same weight; all sizes of a batch are decoded in one pass."""

    def __init__(self, config: ReconstructionConfig, corpus: Corpus) -> None:
        super().__init__(config, corpus)
        self._baselines: dict[str, dict[str, float]] = {}

    @property
    def takes_synthetic(self) -> bool:
        """Without pairs."""
        return not self.config.use_input_output_pairs

    def step(
        self,
        model: ARCAutoencoder,
        examples: Tensor,
        generator: torch.Generator,
        transform: Transform | None = None,
    ) -> StepOutput:
        """Compute the cross-entropy over all cells of the batch's targets."""
        target = self.training_grids(examples, generator, transform)
        sent = target
        if self.config.use_input_output_pairs:
            sent = self.sender_input(self.corpus.training, examples, generator, transform)
        message = model(sent)
        logits, wanted = model.receiver(message.signal, target.sizes), cell_values(target)
        return StepOutput(
            loss=F.cross_entropy(logits, wanted) + message.aux_loss,
            accuracy=percent(logits.detach().argmax(1) == wanted),
            message=message,
        )

    def evaluate(
        self, model: ARCAutoencoder, split: Split, signal: Tensor, *, full: bool = False
    ) -> TaskMetrics:
        """Return the share of correct ``cells`` and of ``exact`` grids, in percent."""
        if len(split) == 0:
            empty = Metric({"cells": math.nan, "exact": math.nan}, 0, {})
            return TaskMetrics(math.nan, {"reconstruction": empty})
        loss, right, total, exact = 0.0, 0, 0, 0
        for part in self.chunks(len(split)):
            target = split.grids[split.target[part]]
            logits, wanted = model.receiver(signal[part], target.sizes), cell_values(target)
            loss += float(F.cross_entropy(logits, wanted, reduction="sum"))
            hits, cells = logits.argmax(1) == wanted, target.sizes.prod(1)
            exact += sum(bool(grid.all()) for grid in hits.split(cells.tolist()))
            right, total = right + int(hits.sum()), total + len(hits)
        values = {"cells": 100 * right / total, "exact": 100 * exact / len(split)}
        metric = Metric(values, len(split), self._baselines_of(split))
        return TaskMetrics(loss / total, {"reconstruction": metric})

    def predict(
        self, model: ARCAutoencoder, split: Split, examples: Tensor, signal: Tensor
    ) -> list[dict[str, Any]]:
        """Return the grid that the receiver ``built``, at the size of the target."""
        target = split.grids[split.target[examples]]
        logits = model.receiver.receive(signal, sizes=target.sizes)
        built = [cells.argmax(0).tolist() for cells in logits]
        wanted = [grid.tolist() for grid in target.arrays()]
        return [
            {"built": made, "correct": made == right}
            for made, right in zip(built, wanted, strict=True)
        ]

    def _baselines_of(self, split: Split) -> dict[str, float]:
        """Return the cell accuracy of simple predictions that are given the size."""
        if split.name not in self._baselines:
            counts = color_counts(split.grids)[split.target]
            cells = counts.sum()
            baselines = {
                "background": float(100 * counts[:, 0].sum() / cells),
                "majority_color": float(100 * counts.max(1).values.sum() / cells),
            }
            if self.config.use_input_output_pairs:
                baselines["copy_of_input"] = self._copying(split)
            self._baselines[split.name] = baselines
        return self._baselines[split.name]

    def _copying(self, split: Split) -> float:
        """Return the cell accuracy of copying the input, or of zeros if the sizes differ."""
        sent, wanted = split.grids[split.sender], split.grids[split.target]
        same = (sent.sizes == wanted.sizes).all(1).repeat_interleave(wanted.sizes.prod(1))
        guess = torch.where(same, cell_values(Grids(sent.cells, wanted.sizes)), 0)
        return float(percent(guess == cell_values(wanted)))
