"""The order of training examples: shuffled each epoch, resumable at any batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class BatchSampler:
    """Endless batches of example indices; owns its generator and its position.

    Each epoch holds every example once. ``groups`` (int64 [examples]) keeps ``block_size`` examples
    of one group together, so that examples which draw distractors from the same group can
    share them; without groups all examples are shuffled. Draws that belong to a batch (distractors,
    augmentation) use the same ``generator``, so one state restores them all.
    """

    def __init__(
        self,
        examples: Tensor,
        batch_size: int,
        *,
        seed: int,
        groups: Tensor | None = None,
        block_size: int = 1,
    ) -> None:
        self.examples = examples
        self.batch_size = batch_size
        self.groups = groups
        self.block_size = block_size
        self.generator = torch.Generator().manual_seed(seed)
        self.epoch = 1
        self.batch = 0
        self._order = self._shuffle()

    @property
    def batches_per_epoch(self) -> int:
        """The number of batches in an epoch; the last may be smaller."""
        return -(-len(self.examples) // self.batch_size)

    def next(self) -> Tensor:
        """Return the next batch's example indices, int64 [<= batch_size]."""
        if self.batch == self.batches_per_epoch:
            self.begin_epoch(self.epoch + 1)
        start = self.batch * self.batch_size
        self.batch += 1
        return self.examples[self._order[start : start + self.batch_size]]

    def begin_epoch(self, epoch: int) -> None:
        """Start ``epoch`` in a new order."""
        self.epoch, self.batch, self._order = epoch, 0, self._shuffle()

    @property
    def epoch_is_complete(self) -> bool:
        """Whether the latest batch was the last of its epoch."""
        return self.batch == self.batches_per_epoch

    def position(self) -> tuple[Any, ...]:
        """Return the position for ``restore``; cheap, since orders are never changed in place."""
        return self.epoch, self.batch, self._order, self.generator.get_state()

    def restore(self, position: tuple[Any, ...]) -> None:
        """Return to a position of this sampler."""
        self.epoch, self.batch, self._order, state = position
        self.generator.set_state(state)

    def state_dict(self) -> dict[str, Any]:
        """Return the order, the position in it and the generator's state."""
        return {
            "epoch": self.epoch,
            "batch": self.batch,
            "complete": self.epoch_is_complete,
            "order": self._order.clone(),
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore ``state``."""
        if len(state["order"]) != len(self.examples):
            raise ValueError(
                f"the saved order has {len(state['order'])} examples, "
                f"the training set {len(self.examples)}"
            )
        self.epoch, self.batch = state["epoch"], state["batch"]
        self._order = state["order"].clone()
        self.generator.set_state(state["generator"])

    def _shuffle(self) -> Tensor:
        order = torch.randperm(len(self.examples), generator=self.generator)
        if self.groups is None:
            return order
        order = order[self.groups[order].argsort(stable=True)]
        grouped = self.groups[order]
        fresh = torch.cat([torch.ones(1, dtype=torch.bool), grouped[1:] != grouped[:-1]])
        start = torch.arange(len(order)).masked_fill(~fresh, 0).cummax(0).values
        block = fresh.cumsum(0) * len(order) + (torch.arange(len(order)) - start) // self.block_size
        _, block = block.unique(return_inverse=True)
        shuffled = torch.randperm(int(block.max()) + 1, generator=self.generator)
        return order[shuffled[block].argsort(stable=True)]
