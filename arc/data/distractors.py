"""Which grids may stand beside a target, and how a batch draws them.

Distractors come from the target's own set, uniformly and without replacement, and differ in
content from the target and from each other. A kind of distractor restricts them to a group.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from arc.data.corpus import Split
from arc.data.features import feature_ids

KINDS = ("random", "same_size", "same_colors", "same_puzzle")


@dataclass(frozen=True)
class DistractorGroups:
    """The group that each example's distractors come from.

    ``of_example``: int64 [examples]. ``counts``: int64 [groups, grids], how many examples of a
    group have each grid as their target; an example's own target is always in its group.
    """

    of_example: Tensor
    counts: Tensor

    @classmethod
    def of(cls, kind: str, split: Split) -> DistractorGroups:
        """Group ``split``: everything, or by size, by size and set of colours, by puzzle."""
        if kind == "random":
            of_example = torch.zeros_like(split.target)
        elif kind == "same_puzzle":
            of_example = split.puzzle
        else:
            feature = {"same_size": "size", "same_colors": "colors"}[kind]
            of_grid = feature_ids(feature, split.grids)
            of_example = of_grid[split.target].unique(return_inverse=True)[1]
        groups = int(of_example.max()) + 1 if len(of_example) else 0
        counts = torch.zeros(groups, len(split.grids), dtype=torch.int64)
        one = torch.ones_like(split.target)
        counts.index_put_((of_example, split.target), one, accumulate=True)
        return cls(of_example, counts)

    @cached_property
    def members(self) -> Tensor:
        """Which grids belong to each group: bool [groups, grids]."""
        return self.counts > 0

    @property
    def available(self) -> Tensor:
        """How many distractors each example could have: int64 [examples]."""
        return self.members.sum(1)[self.of_example] - 1


@dataclass(frozen=True)
class CandidateSet:
    """A batch's shared pool of grids, and who stands beside whom.

    ``pool``: grid indices, int64 [P]. ``choices``: positions in the pool, int64
    [batch, num_distractors + 1]. ``answer``: the target's column, int64 [batch].
    """

    pool: Tensor
    choices: Tensor
    answer: Tensor


def sample_candidates(
    split: Split,
    groups: DistractorGroups,
    examples: Tensor,
    num_distractors: int,
    generator: torch.Generator,
) -> CandidateSet:
    """Draw ``num_distractors`` for each of ``examples`` [batch] out of one shared pool.

    The batch's targets stand beside each other, so that most grids of the pool are encoded
    anyway; the pool is filled up at random so that every group among them has enough distinct
    grids. Every example must have that many available.
    """
    target = split.target[examples]
    present, group = groups.of_example[examples].unique(return_inverse=True)
    offered = torch.zeros(len(present), len(split.grids), dtype=torch.bool)
    for row, number in enumerate(present):
        counts, own = groups.counts[number], target[group == row]
        offered[row, own.unique()] = _as_likely_as_single(counts, own, generator)
        lacking = num_distractors + 1 - int(offered[row].sum())
        if lacking > 0:
            rest = ((counts > 0) & ~offered[row]).nonzero()[:, 0]
            chosen = rest[torch.randperm(len(rest), generator=generator)[:lacking]]
            offered[row, chosen] = True
    in_pool = offered.any(0)
    in_pool[target] = True
    pool = in_pool.nonzero()[:, 0]
    allowed = offered[group][:, pool] & (pool != target[:, None])
    noise = torch.rand(allowed.shape, generator=generator).masked_fill(~allowed, -1.0)
    others = noise.topk(num_distractors, dim=1).indices
    choices = torch.cat([torch.searchsorted(pool, target)[:, None], others], 1)
    answer = torch.randint(num_distractors + 1, (len(examples),), generator=generator)
    every = torch.arange(len(examples))
    choices[every, 0], choices[every, answer] = choices[every, answer], choices[every, 0].clone()
    return CandidateSet(pool, choices, answer)


def _as_likely_as_single(counts: Tensor, own: Tensor, generator: torch.Generator) -> Tensor:
    """Say which of a batch's distinct targets to offer to the others: bool, ascending.

    A grid that is the target of m examples is in a batch of b out of n more often than a grid
    that is of one. It is left out with just the probability that makes up for it.
    """
    m = counts[own.unique()].double()
    b, n = len(own), int(counts.sum())
    if b == 1 or b == n:
        return torch.ones_like(m, dtype=torch.bool)
    absent = torch.ones_like(m)  # beside a given example: C(n-1-m, b-1) / C(n-1, b-1)
    for j in range(int(m.max())):
        absent *= torch.where(j < m, max(n - b - j, 0) / (n - 1 - j), 1.0)
    noise = torch.rand(len(m), generator=generator, dtype=torch.float64)
    return noise < (b - 1) / (n - 1) / (1 - absent)
