"""Distractor kinds, and the candidates of a batch.

Distractors are drawn from the target's own split, uniformly and without replacement, and differ
in content from the target and from each other. A distractor kind is a function that maps a split
to group numbers, int64 [examples]; an example's distractors are the targets of its group.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import torch
from pydantic import AfterValidator, WithJsonSchema
from torch import Tensor

from arc.data.corpus import Split
from arc.data.features import feature_ids
from arc.registry import Registry

DISTRACTORS: Registry[Callable[[Split], Tensor]] = Registry("distractor kind")


@DISTRACTORS.register("random")
def any_other(split: Split) -> Tensor:
    """Put all examples into one group."""
    return torch.zeros_like(split.target)


@DISTRACTORS.register("same_size")
def same_size(split: Split) -> Tensor:
    """Group by the target's height and width."""
    return feature_ids("size", split.grids)[split.target]


@DISTRACTORS.register("same_colors")
def same_colors(split: Split) -> Tensor:
    """Group by the target's size and set of colours."""
    return feature_ids("colors", split.grids)[split.target]


@DISTRACTORS.register("same_puzzle")
def same_puzzle(split: Split) -> Tensor:
    """Group by puzzle."""
    return split.puzzle


DistractorKind = Annotated[
    str,
    AfterValidator(DISTRACTORS.check),
    WithJsonSchema({"type": "string", "enum": list(DISTRACTORS)}),
]


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
        """Group ``split`` by a registered kind."""
        names, of_example = DISTRACTORS[kind](split).unique(return_inverse=True)
        counts = torch.zeros(len(names), len(split.grids), dtype=torch.int64)
        one = torch.ones_like(split.target)
        counts.index_put_((of_example, split.target), one, accumulate=True)
        return cls(of_example, counts)

    @cached_property
    def members(self) -> Tensor:
        """The grids of each group: bool [groups, grids]."""
        return self.counts > 0

    @property
    def available(self) -> Tensor:
        """The number of possible distractors of each example: int64 [examples]."""
        return self.members.sum(1)[self.of_example] - 1


@dataclass(frozen=True)
class CandidateSet:
    """The candidates of each example of a batch, out of a shared pool of grids.

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

    The batch's targets serve as distractors of each other, to limit the number of grids to
    encode; random grids are added to the pool until every group has enough distinct ones.
    Every example must have ``num_distractors`` available.
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
    """Select the batch's distinct targets that may serve as distractors: bool, ascending.

    A grid that is the target of m examples occurs in a batch of b out of n more often than a
    grid that is the target of one. It is left out with the probability that compensates for this.
    """
    m = counts[own.unique()].double()
    b, n = len(own), int(counts.sum())
    if b == 1 or b == n:
        return torch.ones_like(m, dtype=torch.bool)
    absent = torch.ones_like(m)  # given another example: C(n-1-m, b-1) / C(n-1, b-1)
    for j in range(int(m.max())):
        absent *= torch.where(j < m, max(n - b - j, 0) / (n - 1 - j), 1.0)
    noise = torch.rand(len(m), generator=generator, dtype=torch.float64)
    return noise < (b - 1) / (n - 1) / (1 - absent)
