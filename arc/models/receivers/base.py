"""The interface of receivers.

A receiver reads the signal of a message, float32 [batch, signal_width], and never the grid.
``forward`` works on batches, for training; ``receive`` is the public interface.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from arc.registry import Registry

RECEIVERS: Registry[type[Receiver]] = Registry("receiver of task")


@dataclass(frozen=True, kw_only=True)
class ReceiverShape:
    """The sizes that a receiver is built from; ``num_classes`` is None for most tasks.

    ``architecture``, ``mixer`` and ``head`` are those of the sender's encoder; ``score`` is
    selection's, ``size`` transformation's. With ``palette``, the signal begins with the rank of
    each colour.
    """

    signal_width: int
    num_colors: int
    embedding_dim: int
    hidden_dim: int
    latent_dim: int
    num_conv_layers: int
    num_classes: int | None
    dropout: float
    architecture: str = "patch"
    mixer: str = "attention"
    head: str = "joint"
    score: str = "distance"
    palette: bool = False
    size: str = "told"


class Receiver(nn.Module, ABC):
    """Base of the receivers; a subclass is built from a ReceiverShape alone."""

    def __init__(self, shape: ReceiverShape) -> None:
        super().__init__()

    @abstractmethod
    def receive(self, signal: Tensor, *args: Any, **context: Any) -> Any:
        """Return the prediction for each message; ``context`` is the task's further input."""
