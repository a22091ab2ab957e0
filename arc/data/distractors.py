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

    ``of_example``: int64 [examples]. The grids of group g are ``grids[starts[g]:starts[g + 1]]``,
    ascending, and ``counts`` has the number of examples of the group with each of them as their
    target: int64 [members] both. An example's own target is always in its group.
    """

    of_example: Tensor
    starts: Tensor
    grids: Tensor
    counts: Tensor

    @classmethod
    def of(cls, kind: str, split: Split) -> DistractorGroups:
        """Group ``split`` by a registered kind."""
        names, of_example = DISTRACTORS[kind](split).unique(return_inverse=True)
        width = max(len(split.grids), 1)
        members, counts = (of_example * width + split.target).unique(return_counts=True)
        starts = torch.searchsorted(members, torch.arange(len(names) + 1) * width)
        return cls(of_example, starts, members % width, counts)

    def slice(self, group: int) -> slice:
        """Return where the members of a group are in ``grids`` and ``counts``."""
        return slice(int(self.starts[group]), int(self.starts[group + 1]))

    def is_member(self, examples: Tensor, grids: Tensor) -> Tensor:
        """Return whether each grid is in the group of each example: bool [examples, grids].

        ``grids``: int64 [grids], ascending, with every member of these groups.
        """
        present, row = self.of_example[examples].unique(return_inverse=True)
        found = torch.zeros(len(present), len(grids), dtype=torch.bool)
        for number, group in enumerate(present.tolist()):
            found[number, torch.searchsorted(grids, self.grids[self.slice(group)])] = True
        return found[row]

    @cached_property
    def available(self) -> Tensor:
        """The number of possible distractors of each example: int64 [examples]."""
        return self.starts.diff()[self.of_example] - 1


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
    offered = [
        _offered(groups, number, target[group == row], num_distractors, generator)
        for row, number in enumerate(present.tolist())
    ]
    pool = torch.cat([*offered, target]).unique()
    is_offered = torch.zeros(len(present), len(pool), dtype=torch.bool)
    for row, grids in enumerate(offered):
        is_offered[row, torch.searchsorted(pool, grids)] = True
    allowed = is_offered[group] & (pool != target[:, None])
    noise = torch.rand(allowed.shape, generator=generator).masked_fill(~allowed, -1.0)
    others = noise.topk(num_distractors, dim=1).indices
    choices = torch.cat([torch.searchsorted(pool, target)[:, None], others], 1)
    answer = torch.randint(num_distractors + 1, (len(examples),), generator=generator)
    every = torch.arange(len(examples))
    choices[every, 0], choices[every, answer] = choices[every, answer], choices[every, 0].clone()
    return CandidateSet(pool, choices, answer)


def _offered(
    groups: DistractorGroups,
    group: int,
    targets: Tensor,
    num_distractors: int,
    generator: torch.Generator,
) -> Tensor:
    """Return the grids of a group that serve as distractors of its ``targets`` in the batch."""
    members = groups.slice(group)
    grids, counts = groups.grids[members], groups.counts[members]
    own = torch.searchsorted(grids, targets.unique())
    is_offered = torch.zeros(len(grids), dtype=torch.bool)
    is_offered[own] = _as_likely_as_single(counts[own], len(targets), int(counts.sum()), generator)
    lacking = num_distractors + 1 - int(is_offered.sum())
    if lacking > 0:
        rest = (~is_offered).nonzero()[:, 0]
        chosen = rest[torch.randperm(len(rest), generator=generator)[:lacking]]
        is_offered[chosen] = True
    return grids[is_offered]


def _as_likely_as_single(counts: Tensor, b: int, n: int, generator: torch.Generator) -> Tensor:
    """Select the batch's distinct targets that may serve as distractors: bool [targets].

    A grid that is the target of m examples, of which ``counts`` has the number for each target,
    occurs in a batch of ``b`` out of ``n`` more often than a grid that is the target of one. It is
    left out with the probability that compensates for this.
    """
    m = counts.double()
    if b == 1 or b == n:
        return torch.ones_like(m, dtype=torch.bool)
    absent = torch.ones_like(m)  # given another example: C(n-1-m, b-1) / C(n-1, b-1)
    for j in range(int(m.max())):
        absent *= torch.where(j < m, max(n - b - j, 0) / (n - 1 - j), 1.0)
    noise = torch.rand(len(m), generator=generator, dtype=torch.float64)
    return noise < (b - 1) / (n - 1) / (1 - absent)
