"""Discrete messages over a lattice: the default bottleneck.

Each symbol stands for one point of a small fixed lattice, as in finite scalar quantization
(Mentzer et al., 2023): 25 symbols are 5 x 5 points of a plane. The sender computes a position
and sends the nearest point; the gradient passes to the position unchanged. Neighbouring points
have similar codes, so that a symbol that is off by one is still nearly correct.
"""

from __future__ import annotations

import itertools
import math
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from arc.models.bottlenecks.base import BOTTLENECKS
from arc.models.bottlenecks.discrete import DiscreteBottleneck, DiscreteConfig

# Under Gumbel noise at temperature 1, a position exactly on a point keeps its symbol against one
# neighbour with odds e^4 to 1: noise rarely changes a symbol, and then to a nearby one.
SHARPNESS = 4.0


@BOTTLENECKS.register("communication", config=DiscreteConfig)
class LatticeBottleneck(DiscreteBottleneck):
    """L symbols out of V, each a lattice point."""

    def __init__(self, latent_dim: int, vocab_size: int, max_length: int, **options: Any) -> None:
        levels = lattice_levels(vocab_size)
        axes = [[(2 * place - n + 1) / n for place in range(n)] for n in levels]
        codes = torch.tensor(list(itertools.product(*axes)))
        super().__init__(latent_dim, vocab_size, max_length, codes=codes, **options)
        self.register_buffer("reach", torch.tensor([n / 2 for n in levels]), persistent=False)

    reach: Tensor

    def score(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Return minus the scaled squared distance to each point, and the position."""
        position = self.project_symbols(latent).tanh()
        distance = (position[:, :, None] - self.codes) * self.reach
        return -SHARPNESS * distance.square().sum(-1), position


@lru_cache
def lattice_levels(vocab_size: int) -> tuple[int, ...]:
    """Return level counts whose product is ``vocab_size``, each as close to 5 as possible."""

    def splits(n: int, least: int) -> list[tuple[int, ...]]:
        whole = [(n,)] if n >= least else []
        return whole + [
            (first, *rest)
            for first in range(least, math.isqrt(n) + 1)
            if n % first == 0
            for rest in splits(n // first, first)
        ]

    return min(splits(vocab_size, 2), key=lambda levels: sum(math.log(n / 5) ** 2 for n in levels))
