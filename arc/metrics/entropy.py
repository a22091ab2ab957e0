"""Entropy of messages and of their symbols, with their upper bounds."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from arc.metrics.base import METRICS, Messages, MetricConfig


@METRICS.register("entropy", config=MetricConfig)
def entropy(messages: Messages) -> dict[str, float]:
    """Return plug-in estimates of entropy (Shannon, 1948), in bits.

    - ``message_entropy_bits``: H(M) = -sum p(m) log2 p(m) over whole messages, in
      [0, min(capacity, limit)].
    - ``entropy_limit_bits``: log2(messages), the maximum for this number of messages.
    - ``capacity_bits``: the capacity of a message: max_length * log2(vocab_size), or with a stop
      symbol the logarithm of the number of messages that differ before or at it.
    - ``symbol_entropy_bits``: the entropy of the symbols at one position, averaged over positions,
      in [0, log2(vocab_size)]. With a stop symbol, all positions after the end of a message have
      one more symbol, and the largest value is log2(vocab_size + 1).
    """
    _, counts = messages.with_ends.unique(dim=0, return_counts=True)
    positions = [torch.bincount(column) for column in messages.with_ends.t()]
    capacity = messages.capacity_bits
    if capacity is None:
        capacity = messages.max_length * math.log2(messages.vocab_size)
    return {
        "message_entropy_bits": entropy_bits(counts),
        "entropy_limit_bits": math.log2(len(messages)),
        "capacity_bits": capacity,
        "symbol_entropy_bits": sum(map(entropy_bits, positions)) / len(positions),
    }


def entropy_bits(counts: Tensor | np.ndarray) -> float:
    """Return the entropy H = -sum p log2 p, in bits, of p proportional to ``counts`` [n]."""
    counts = torch.as_tensor(counts)
    share = counts[counts > 0].double() / counts.sum()
    return float(-(share * share.log2()).sum()) + 0.0
