"""Measures of a set of discrete messages."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def entropy_bits(counts: Tensor) -> float:
    """Return the entropy in bits of the distribution that ``counts`` are proportional to."""
    share = counts[counts > 0].double() / counts.sum()
    return float(-(share * share.log2()).sum()) + 0.0


def language_measures(
    symbols: Tensor, vocab_size: int, lengths: Tensor | None = None
) -> dict[str, float]:
    """Describe messages ``symbols``, int64 [messages, max_length].

    ``unique_messages`` (a count); ``message_entropy_bits``, of the messages as wholes, beside
    ``capacity_bits`` = max_length x log2(vocab_size) and ``entropy_limit_bits`` =
    log2(messages), the most that this many messages can show; ``symbol_entropy_bits``, the
    mean over positions; ``symbols_used``, the share of symbol and position combinations that
    occur, in percent; ``mean_length`` in symbols.
    """
    symbols = symbols.cpu()
    _, counts = symbols.unique(dim=0, return_counts=True)
    use = [torch.bincount(column, minlength=vocab_size) for column in symbols.t()]
    used = torch.stack(use) > 0
    length = symbols.shape[1] if lengths is None else float(lengths.double().mean())
    return {
        "unique_messages": len(counts),
        "message_entropy_bits": entropy_bits(counts),
        "entropy_limit_bits": math.log2(len(symbols)),
        "capacity_bits": symbols.shape[1] * math.log2(vocab_size),
        "symbol_entropy_bits": sum(map(entropy_bits, use)) / len(use),
        "symbols_used": 100 * float(used.double().mean()),
        "mean_length": length,
    }
