"""Transformation: the sender sees a pair, the receiver builds the output from the input.

The message says how the output differs from the input.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import field_validator
from torch import Tensor

from arc.data import Corpus, GridPairs, Split, Transform
from arc.data.features import color_counts
from arc.metrics import cell_percentages, cell_shares, right_cells, share
from arc.models import ARCAutoencoder
from arc.models.ragged import cell_values
from arc.models.receivers.transformation import BuiltGrids
from arc.tasks.base import (
    TASKS,
    Metric,
    StepOutput,
    Task,
    TaskConfig,
    TaskMetrics,
    cell_loss,
    percent,
    transformed,
)
from arc.tasks.codes import Budget, codec_cells, subsampled_cells


class TransformationConfig(TaskConfig):
    """Keys of conf/task/transformation.yaml."""

    size: Literal["given", "predicted"]

    @field_validator("use_input_output_pairs")
    @classmethod
    def _only_pairs(cls, pairs: bool) -> bool:
        if not pairs:
            raise ValueError("must be true: transformation is about pairs")
        return pairs


@TASKS.register("transformation", config=TransformationConfig)
class TransformationTask(Task):
    """The weight of a grid of n cells in the training loss is the square root of n.

    If the size is predicted, its loss is added.
    """

    config: TransformationConfig
    sends_pairs: ClassVar[bool] = True
    presets = ("transformation",)

    def __init__(self, config: TransformationConfig, corpus: Corpus) -> None:
        super().__init__(config, corpus)
        self._baselines: dict[tuple[str, bool], dict[str, float]] = {}

    def sender_input(
        self,
        split: Split,
        examples: Tensor,
        generator: torch.Generator,
        transform: Transform | None = None,
    ) -> GridPairs:
        """Return the pairs that the sender sees for ``examples``, int64 [batch]."""
        return _pairs(split, examples, transform)

    @property
    def step_is_static(self) -> bool:
        """True."""
        return True

    def step(
        self,
        model: ARCAutoencoder,
        examples: Tensor,
        generator: torch.Generator,
        transform: Transform | None = None,
    ) -> StepOutput:
        """Compute the cross-entropy of the outputs; ``accuracy`` counts whole grids."""
        pairs = self.sender_input(self.corpus.training, examples, generator, transform)
        message = model(pairs)
        built = model.receiver(message.signal, pairs.inputs, pairs.outputs.sizes)
        loss = cell_loss(built.logits, pairs.outputs)
        if built.size_logits is not None:
            loss = loss + _size_loss(built)
        return StepOutput(
            loss=loss + message.aux_loss,
            accuracy=percent(_right_cells(built, pairs)[0] == built.sizes.prod(1)),
            message=message,
        )

    def evaluate(
        self, model: ARCAutoencoder, split: Split, signal: Tensor, *, full: bool = False
    ) -> TaskMetrics:
        """Return the share of exact grids and of correct cells, in percent.

        ``exact``: the share of grids without a wrong cell. ``grids``: the share of correct cells
        of a grid, averaged over grids. ``cells``: the share over all cells. If the size is
        predicted, ``sizes`` is the share of correct sizes, and all cells of a grid of another
        size are wrong. ``full`` adds the baseline ``codec``.
        """
        names = ["exact", "grids", "cells", *(["sizes"] if self.config.size == "predicted" else [])]
        if len(split) == 0:
            empty = Metric(dict.fromkeys(names, math.nan), 0, {})
            return TaskMetrics(math.nan, {"transformation": empty})
        cell_loss, size_loss = 0.0, 0.0
        right, right_sizes = [], []
        for part in self.chunks(len(split)):
            pairs = _pairs(split, part)
            built = model.receiver(signal[part], pairs.inputs, pairs.outputs.sizes)
            wanted = cell_values(pairs.outputs)
            cell_loss += float(F.cross_entropy(built.logits, wanted, reduction="sum"))
            if built.size_logits is not None:
                size_loss += len(part) * float(_size_loss(built))
            cells, right_size = _right_cells(built, pairs)
            right.append(cells.cpu())
            right_sizes.append(right_size.cpu())
        sizes = split.grids.sizes[split.target].cpu()
        shares = cell_shares(torch.cat(right), sizes) | {"sizes": share(torch.cat(right_sizes))}
        metric = Metric.of(
            {name: shares[name] for name in names},
            len(split),
            self._baselines_of(model, split, full),
        )
        loss = cell_loss / int(sizes.prod(1).sum()) + size_loss / len(split)
        return TaskMetrics(loss, {"transformation": metric})

    def predict(
        self, model: ARCAutoencoder, split: Split, examples: Tensor, signal: Tensor
    ) -> list[dict[str, Any]]:
        """Return the grid that the receiver ``built``, of the target's size if that is given."""
        pairs = _pairs(split, examples)
        sizes = pairs.outputs.sizes if self.config.size == "given" else None
        logits = model.receiver.receive(signal, inputs=pairs.inputs, sizes=sizes)
        built = [cells.argmax(0).tolist() for cells in logits]
        wanted = [grid.tolist() for grid in pairs.outputs.arrays()]
        return [
            {"built": made, "correct": made == right}
            for made, right in zip(built, wanted, strict=True)
        ]

    def _baselines_of(self, model: ARCAutoencoder, split: Split, full: bool) -> dict[str, float]:
        """Return the shares of a copy of the input, of the majority colour and of codes.

        The codes encode the output in a message of the bottleneck's size: ``subsampled``, with
        ``full`` ``codec``, and ``corrected_copy``, which encodes as many wrong cells of the
        resized copy as fit. If the size is predicted, the codes encode it as well, and a copy of
        another size is wrong.
        """
        key = (split.name, full)
        if key not in self._baselines:
            pairs = _pairs(split, torch.arange(len(split)))
            outputs, sizes = pairs.outputs, pairs.outputs.sizes
            hits = cell_values(pairs.inputs.resized(sizes)) == cell_values(outputs)
            resized, cells = right_cells(hits, sizes).cpu(), sizes.prod(1).cpu()
            is_predicted = self.config.size == "predicted"
            budget = Budget(model.bottleneck, with_size=is_predicted)
            copied = resized
            if is_predicted:
                copied = resized * (pairs.sizes == sizes).all(1).cpu()
            guesses = {
                "copy_of_input": copied,
                "majority_color": color_counts(outputs).max(1).values,
                "corrected_copy": torch.minimum(cells, resized + budget.corrections(cells)),
                **subsampled_cells(budget, split),
            }
            if full:
                training = self.corpus.training.grids
                guesses |= codec_cells(budget, split, training, self.on_chunk)
            self._baselines[key] = {
                name if value == "exact" else f"{name}_{value}": percentage
                for name, right in guesses.items()
                for value, percentage in cell_percentages(right, sizes).items()
            }
        return self._baselines[key]


def _pairs(split: Split, examples: Tensor, transform: Transform | None = None) -> GridPairs:
    """Return the pairs of ``examples``, int64 [batch]."""
    inputs, outputs = split.senders(examples), split.targets(examples)
    return GridPairs.of(transformed(inputs, transform), transformed(outputs, transform))


def _right_cells(built: BuiltGrids, pairs: GridPairs) -> tuple[Tensor, Tensor]:
    """Count each grid's correct cells, int64 [batch]; and whether its size is correct.

    All cells are wrong if the size is. ``built`` has the sizes of the outputs.
    """
    hits = built.logits.detach().argmax(1) == cell_values(pairs.outputs)
    right_size = torch.ones_like(built.sizes[:, 0], dtype=torch.bool)
    if built.size_logits is not None:
        right_size = (built.size_logits.argmax(-1) + 1 == built.sizes).all(1)
    return right_cells(hits, built.sizes) * right_size, right_size


def _size_loss(built: BuiltGrids) -> Tensor:
    """Return the cross-entropy of height plus that of width; ``built`` has the true sizes."""
    assert built.size_logits is not None
    return 2 * F.cross_entropy(built.size_logits.flatten(0, 1), (built.sizes - 1).flatten())
