"""Selection accuracy averaged over every possible draw of distractors, in closed form."""

from __future__ import annotations

import torch
from torch import Tensor


def _log_choose(n: Tensor, k: Tensor) -> Tensor:
    """Return log C(n, k), minus infinity where n < k."""
    inside = n >= k
    n = torch.where(inside, n, k)
    value = torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)
    return value.masked_fill(~inside, -torch.inf)


def expected_accuracy(
    better: Tensor, tied: Tensor, available: Tensor, num_distractors: int
) -> Tensor:
    """Return the probability that each target wins among ``num_distractors`` others.

    Of the ``available`` other grids (>= num_distractors), ``better`` score above the target
    and ``tied`` equal to it, all int64 [targets]; ties are broken at random. The others are drawn
    uniformly without replacement, so with M available, w better, k tied and N drawn the
    probability is [C(M-w+1, N+1) - C(M-w-k, N+1)] / [(k+1) C(M, N)]: Vandermonde's identity
    applied to the sum over the number of tied grids drawn. Returns float64 [targets].
    """
    w, k, m = better.double(), tied.double(), available.double()
    n = torch.full_like(m, num_distractors)
    draws = _log_choose(m, n)
    not_beaten = (_log_choose(m - w + 1, n + 1) - draws).exp()
    without_ties = (_log_choose(m - w - k, n + 1) - draws).exp()
    return ((not_beaten - without_ties) / (k + 1)).clamp(0.0, 1.0)


def random_code_accuracy(num_messages: int, num_distractors: int) -> float:
    """Return the accuracy of M random equiprobable codes: M (1 - (1 - 1/M)^(N+1)) / (N+1).

    This is a reference, not a bound: balanced codes do better.
    """
    candidates = num_distractors + 1
    codes = float(min(num_messages, 2**53))  # above, the accuracy is 1 in float64
    miss = torch.tensor(-1.0 / codes, dtype=torch.float64)
    hit = -torch.expm1(candidates * torch.log1p(miss.clamp(min=-1 + 1e-15)))
    return float(codes * hit / candidates)
