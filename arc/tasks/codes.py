"""Baselines that encode grids by a fixed rule, in messages of the size of a bottleneck's."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from arc.data import MAX_GRID_SIZE, NUM_COLORS, Grids, Split
from arc.metrics import Codec, cells_of_messages, right_cells, subsampled
from arc.models import Bottleneck
from arc.models.ragged import cell_values

SIZES = MAX_GRID_SIZE**2


class Budget:
    """What a message of ``bottleneck`` can hold.

    ``messages``: the number of different messages, or None. ``numbers``: the length of a vector
    without noise, or None. ``bits``: the capacity, infinite for a vector without noise. With
    ``with_size``, what is left after the height and width of a grid.
    """

    def __init__(self, bottleneck: Bottleneck, *, with_size: bool = False) -> None:
        capacity, messages = bottleneck.capacity_bits, bottleneck.num_messages
        self.bits = math.inf if capacity is None else capacity
        self.numbers = bottleneck.signal_width if capacity is None else None
        self.messages = messages
        if with_size:
            self.bits -= math.log2(SIZES)
            self.numbers = None if self.numbers is None else max(self.numbers - 2, 0)
            self.messages = None if messages is None else messages // SIZES

    @property
    def cells(self) -> int:
        """The number of cells, of any colours, that a message can hold."""
        if self.numbers is not None:
            return self.numbers
        if self.messages is not None:
            return cells_of_messages(self.messages) if self.messages else 0
        return max(int(self.bits / math.log2(NUM_COLORS)), 0)

    def corrections(self, cells: Tensor) -> Tensor:
        """Return how many cells, each with its place, a message can hold.

        ``cells``: the number of cells of each grid, int64 [batch]; so is the result. In a vector,
        a cell takes two numbers.
        """
        if self.numbers is not None:
            return torch.full_like(cells, self.numbers // 2)
        each = torch.log2(NUM_COLORS * cells.double())
        return (self.bits / each + 1e-9).floor().clamp(min=0).long()


def subsampled_cells(budget: Budget, split: Split) -> dict[str, Tensor]:
    """Return the correct cells, int64 [examples], of ``subsampled``; empty if no cell fits."""
    grids, example = _targets(split)
    if budget.cells == 0:
        return {}
    return {"subsampled": _right(subsampled(grids, budget.cells), grids)[example]}


def codec_cells(
    budget: Budget, split: Split, training: Grids, on_chunk: Callable[[], None]
) -> dict[str, Tensor]:
    """Return the correct cells, int64 [examples], of ``codec``, fitted to ``training``.

    Empty for vectors and if the size of a grid takes the whole message.
    """
    if not budget.messages:
        return {}
    grids, example = _targets(split)
    codec = Codec.fit(training, on_chunk)
    sent = codec.encode(grids, budget.messages, on_chunk)
    built = codec.decode(sent, budget.messages, grids.sizes, on_chunk)
    return {"codec": _right(built, grids)[example]}


def _targets(split: Split) -> tuple[Grids, Tensor]:
    """Return the different targets of a split on the CPU, and the one of each example."""
    used, example = split.target.unique(return_inverse=True)
    return split.grids[used].to("cpu"), example


def _right(built: Grids, wanted: Grids) -> Tensor:
    return right_cells(cell_values(built) == cell_values(wanted), wanted.sizes)
