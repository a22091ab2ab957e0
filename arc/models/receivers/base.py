"""The interface of receivers.

A receiver reads the signal of a message, float32 [batch, signal_width], and never the grid.
``forward`` works on batches, for training; ``receive`` is the public interface.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from arc.data.grids import MAX_GRID_SIZE, inside_grids
from arc.registry import Registry

RECEIVERS: Registry[type[Receiver]] = Registry("receiver of task")


@dataclass(frozen=True, kw_only=True)
class ReceiverShape:
    """The sizes that a receiver is built from; ``num_classes`` is None for most tasks.

    ``architecture``, ``mixer`` and ``head`` are those of the sender's encoder; ``score`` is
    selection's, ``size`` transformation's. ``signal_unit`` is the number of adjacent values of the
    signal that go to the same patch. With ``palette``, the signal begins with the rank of each
    colour.
    """

    signal_width: int
    num_colors: int
    embedding_dim: int
    hidden_dim: int
    latent_dim: int
    num_conv_layers: int
    num_classes: int | None
    dropout: float
    signal_unit: int = 1
    architecture: str = "patch"
    mixer: str = "attention"
    head: str = "joint"
    score: str = "distance"
    palette: bool = False
    size: str = "given"


class Receiver(nn.Module, ABC):
    """Base of the receivers; a subclass is built from a ReceiverShape alone."""

    def __init__(self, shape: ReceiverShape) -> None:
        super().__init__()

    @abstractmethod
    def receive(self, signal: Tensor, *args: Any, **context: Any) -> Any:
        """Return the prediction for each message; ``context`` is the task's further input."""


def checked_sizes(sizes: Tensor | Sequence[Sequence[int]], signal: Tensor) -> Tensor:
    """Return the ``sizes`` of the grids to build as int64 [batch, 2]; raises ValueError."""
    checked = torch.as_tensor(sizes, dtype=torch.int64, device=signal.device)
    if checked.shape != (len(signal), 2):
        raise ValueError(f"sizes: expected [{len(signal)}, 2], got {list(checked.shape)}")
    if not (checked.min() >= 1 and checked.max() <= MAX_GRID_SIZE):
        raise ValueError(f"sizes: height and width must lie in 1 to {MAX_GRID_SIZE}")
    return checked


def by_grid(logits: Tensor, sizes: Tensor) -> list[Tensor]:
    """Return [cells, num_colors] as a list of [num_colors, height, width], one for each grid.

    ``logits`` may be a dense list (see uses_dense_cells).
    """
    if len(logits) == len(sizes) * MAX_GRID_SIZE**2:
        logits = logits[inside_grids(sizes, MAX_GRID_SIZE).flatten()]
    return [
        cells.t().reshape(-1, height, width)
        for cells, (height, width) in zip(
            logits.split(sizes.prod(1).tolist()), sizes.tolist(), strict=True
        )
    ]
