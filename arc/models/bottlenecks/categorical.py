"""Discrete messages with independent symbols: one linear head per position, one-hot codes.

Most papers use this bottleneck: all symbols are equally far apart. It is included for comparison
and generalises less well than the lattice of bottleneck=communication.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from arc.models.bottlenecks.base import BOTTLENECKS
from arc.models.bottlenecks.discrete import DiscreteBottleneck, DiscreteConfig


@BOTTLENECKS.register("categorical", config=DiscreteConfig)
class CategoricalBottleneck(DiscreteBottleneck):
    """L symbols out of V, each read as a one-hot vector."""

    def __init__(self, latent_dim: int, vocab_size: int, max_length: int, **options: Any) -> None:
        codes = torch.zeros(vocab_size, vocab_size).fill_diagonal_(1)
        super().__init__(latent_dim, vocab_size, max_length, codes=codes, **options)

    def score(self, latent: Tensor) -> tuple[Tensor, None]:
        """Return the linear head's logits; gradients pass through their softmax."""
        return self.project_symbols(latent), None
