"""Reconstruction: the receiver builds the target grid, given its size."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from arc.data import Corpus, Grids, Split, Transform
from arc.data.features import color_counts
from arc.data.grids import grids_of_cells
from arc.metrics import cell_percentages, cell_shares, right_cells
from arc.models import ARCAutoencoder
from arc.models.ragged import cell_values
from arc.tasks.base import (
    TASKS,
    Metric,
    StepOutput,
    Task,
    TaskConfig,
    TaskMetrics,
    cell_accuracy,
    cell_loss,
)
from arc.tasks.codes import Budget, codec_cells, subsampled_cells

VALUES = ("grids", "cells", "exact")  # the headline first


class ReconstructionConfig(TaskConfig):
    """Keys of conf/task/reconstruction.yaml."""

    palette: Literal["rank", "none"]
    grid_weight: Literal["sqrt", "linear"]


@TASKS.register("reconstruction", config=ReconstructionConfig)
class ReconstructionTask(Task):
    """All sizes of a batch are decoded in one pass."""

    config: ReconstructionConfig
    presets = ("reconstruction_vector", "reconstruction_20", "reconstruction_125")

    def __init__(self, config: ReconstructionConfig, corpus: Corpus) -> None:
        super().__init__(config, corpus)
        self._baselines: dict[tuple[str, bool], dict[str, float]] = {}

    @property
    def uses_training_grids(self) -> bool:
        """True without input-output pairs."""
        return not self.config.use_input_output_pairs

    @property
    def step_is_static(self) -> bool:
        """True if no grid is synthetic."""
        return self.corpus.synthetic == 0

    def step(
        self,
        model: ARCAutoencoder,
        examples: Tensor,
        generator: torch.Generator,
        transform: Transform | None = None,
    ) -> StepOutput:
        """Compute the cross-entropy of the batch's targets, weighted by ``grid_weight``."""
        target = self.training_grids(examples, generator, transform)
        sent = target
        if self.config.use_input_output_pairs:
            sent = self.sender_input(self.corpus.training, examples, generator, transform)
        message = model(sent)
        logits = model.receiver(message.signal, target.sizes)
        return StepOutput(
            loss=cell_loss(logits, target, self.config.grid_weight) + message.aux_loss,
            accuracy=cell_accuracy(logits, target),
            message=message,
        )

    def evaluate(
        self, model: ARCAutoencoder, split: Split, signal: Tensor, *, full: bool = False
    ) -> TaskMetrics:
        """Return the share of correct cells and of exact grids, in percent.

        ``grids``: the share of correct cells of a grid, averaged over grids. ``cells``: the share
        over all cells. ``exact``: the share of grids without a wrong cell. ``full`` adds the
        baseline ``codec`` and the values of all baselines for ``cells`` and ``exact``, under
        names such as ``codec_exact``.
        """
        if len(split) == 0:
            empty = Metric(dict.fromkeys(VALUES, math.nan), 0, {})
            return TaskMetrics(math.nan, {"reconstruction": empty})
        loss, right = 0.0, []
        for part in self.chunks(len(split)):
            target = split.grids[split.target[part]]
            logits, wanted = model.receiver(signal[part], target.sizes), cell_values(target)
            loss += float(F.cross_entropy(logits, wanted, reduction="sum"))
            right.append(right_cells(logits.argmax(1) == wanted, target.sizes).cpu())
        sizes = split.grids.sizes[split.target].cpu()
        shares = cell_shares(torch.cat(right), sizes)
        baselines = self._baselines_of(model, split, full)
        metric = Metric.of({name: shares[name] for name in VALUES}, len(split), baselines)
        return TaskMetrics(loss / int(sizes.prod(1).sum()), {"reconstruction": metric})

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

    def _baselines_of(self, model: ARCAutoencoder, split: Split, full: bool) -> dict[str, float]:
        """Return the baselines of ``grids``, and with ``full`` also those of the other values.

        The latter have names such as ``codec_exact``. The baselines know the size of the grid.
        """
        key = (split.name, full)
        if key not in self._baselines:
            counts = color_counts(split.grids)[split.target]
            right = {"background": counts[:, 0], "majority_color": counts.max(1).values}
            if self.config.use_input_output_pairs:
                right["copy_of_input"] = self._copying(split)
            else:
                budget = Budget(model.bottleneck)
                right |= subsampled_cells(budget, split)
                if full:
                    training = self.corpus.training.grids
                    right |= codec_cells(budget, split, training, self.on_chunk)
            sizes = split.grids.sizes[split.target].cpu()
            baselines = {}
            for name, cells in right.items():
                shares = cell_percentages(cells, sizes)
                baselines[name] = shares.pop("grids")
                if full:
                    baselines |= {f"{name}_{value}": share for value, share in shares.items()}
            self._baselines[key] = baselines
        return self._baselines[key]

    def _copying(self, split: Split) -> Tensor:
        """Return the correct cells of copying the input, or of zeros if the sizes differ."""
        sent, wanted = split.grids[split.sender], split.grids[split.target]
        copied = cell_values(Grids(sent.cells, wanted.sizes))
        same = (sent.sizes == wanted.sizes).all(1)[grids_of_cells(wanted.sizes, len(copied))]
        guess = torch.where(same, copied, 0)
        return right_cells(guess == cell_values(wanted), wanted.sizes)
