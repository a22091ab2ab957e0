"""Which grids may stand beside a target, and how a batch draws them.

Distractors come from the target's own set, uniformly and without replacement, and differ in
content from the target and from each other. A kind of distractor restricts them to a group.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from arc.data.corpus import Split
from arc.data.features import feature_ids

KINDS = ("random", "same_size", "same_colors", "same_puzzle")


@dataclass(frozen=True)
class DistractorGroups:
    """The group that each example's distractors come from.

    ``of_example``: int64 [examples]. ``members``: bool [groups, grids], True for the target
    grids of a group; an example's own target is always in its group.
    """

    of_example: Tensor
    members: Tensor

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
        members = torch.zeros(groups, len(split.grids), dtype=torch.bool)
        members[of_example, split.target] = True
        return cls(of_example, members)

    @property
    def available(self) -> Tensor:
        """How many distractors each example could have: int64 [examples]."""
        return self.members.sum(1)[self.of_example] - 1


@dataclass(frozen=True)
class Lineup:
    """A batch's shared pool of grids, and who stands beside whom.

    ``pool``: grid indices, int64 [P]. ``choices``: positions in the pool, int64
    [batch, num_distractors + 1]. ``answer``: the target's column, int64 [batch].
    """

    pool: Tensor
    choices: Tensor
    answer: Tensor


def draw_lineup(
    split: Split,
    groups: DistractorGroups,
    examples: Tensor,
    num_distractors: int,
    generator: torch.Generator,
) -> Lineup:
    """Draw ``num_distractors`` for each of ``examples`` [batch] out of one shared pool.

    The pool is the batch's targets, filled up at random so that every group among them has
    enough distinct grids. Every example must have that many available.
    """
    target = split.target[examples]
    group = groups.of_example[examples]
    in_pool = torch.zeros(len(split.grids), dtype=torch.bool)
    in_pool[target] = True
    for members in groups.members[group.unique()]:
        lacking = num_distractors + 1 - int((members & in_pool).sum())
        if lacking > 0:
            rest = (members & ~in_pool).nonzero()[:, 0]
            in_pool[rest[torch.randperm(len(rest), generator=generator)[:lacking]]] = True
    pool = in_pool.nonzero()[:, 0]
    allowed = groups.members[group][:, pool] & (pool != target[:, None])
    luck = torch.rand(allowed.shape, generator=generator).masked_fill(~allowed, -1.0)
    others = luck.topk(num_distractors, dim=1).indices
    choices = torch.cat([torch.searchsorted(pool, target)[:, None], others], 1)
    answer = torch.randint(num_distractors + 1, (len(examples),), generator=generator)
    row = torch.arange(len(examples))
    choices[row, 0], choices[row, answer] = choices[row, answer], choices[row, 0].clone()
    return Lineup(pool, choices, answer)
