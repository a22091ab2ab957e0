"""Shares of correct examples, and 95 % intervals over puzzles.

A share is float64 [2, examples], or [parts, 2, examples] for the mean of several shares: what each
example adds to the numerator and to the denominator. An example that is not covered adds zeros.
"""

from __future__ import annotations

import torch
from torch import Tensor

LEVEL = 0.95
RESAMPLES = 1000
BLOCK = 2**21  # puzzles drawn at once; bounds the memory

Interval = tuple[float, float]


def share(right: Tensor, counted: Tensor | None = None) -> Tensor:
    """Return the share of ``right`` in ``counted`` [examples]; by default each example counts 1."""
    counted = torch.ones_like(right) if counted is None else counted
    return torch.stack([right, counted]).double().cpu()


def share_percent(share: Tensor) -> float:
    """Return a share in percent; NaN if it covers no example."""
    right, counted = share.sum(-1).unbind(-1)
    return 100 * float((right / counted).mean())


def bootstrap_interval(share: Tensor, puzzle: Tensor) -> Interval | None:
    """Return the 95 % percentile interval of a share in percent, by the bootstrap over puzzles.

    Puzzles are drawn with replacement, with all their examples, because the examples of a puzzle
    resemble each other (Efron and Tibshirani, 1993, chapters 8 and 13). ``puzzle``: int64
    [examples]. The draws are the same in every call. None for fewer than two puzzles.
    """
    covered = (share[..., 1, :] > 0).reshape(-1, len(puzzle)).any(0)
    names, number = puzzle[covered].unique(return_inverse=True)
    if len(names) < 2:
        return None
    totals = share.new_zeros(*share.shape[:-1], len(names))
    totals.index_add_(-1, number, share[..., covered])
    generator = torch.Generator().manual_seed(0)
    resamples = torch.arange(RESAMPLES).split(max(BLOCK // len(names), 1))
    values = torch.cat([_resampled(totals, len(part), generator) for part in resamples])
    low, high = torch.tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2], dtype=torch.float64)
    return 100 * float(values.nanquantile(low)), 100 * float(values.nanquantile(high))


def _resampled(totals: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return the share in ``count`` resamples of its ``totals`` per puzzle [..., 2, puzzles]."""
    puzzles = totals.shape[-1]
    drawn = torch.randint(puzzles, (count, puzzles), generator=generator)
    drawn += puzzles * torch.arange(count)[:, None]
    times = drawn.flatten().bincount(minlength=count * puzzles).view(count, puzzles)
    right, counted = (totals @ times.double().t()).unbind(-2)
    return (right / counted).reshape(-1, count).mean(0)
