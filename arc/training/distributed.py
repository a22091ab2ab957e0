"""One run trained by several processes: each takes a part of every batch.

``torchrun`` starts the processes and sets their ranks in the environment. All processes have the
same weights; gradients are averaged, so all take the same step. Rank 0 is the leader: its clock is
used, and only the leader saves, serves and reports.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

LEAVE_SECONDS = 5.0


@dataclass(frozen=True)
class ProcessGroup:
    """The rank of this process and the number of processes; by default a single process."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @classmethod
    def from_environment(cls) -> ProcessGroup:
        """Return the group that torchrun set up, or a single process without torchrun."""
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
        if not all(name in os.environ for name in names):
            return cls()
        return cls(*(int(os.environ[name]) for name in names))

    @property
    def is_leader(self) -> bool:
        """Whether this process saves, serves and reports."""
        return self.rank == 0

    def init(self, device: torch.device) -> torch.device:
        """Join the process group; returns the device of this process, of the given type."""
        if self.size == 1:
            return device
        if device.type == "cuda":
            device = torch.device("cuda", self.local_rank)
            torch.cuda.set_device(device)
        if not dist.is_initialized():
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        return device

    def shutdown(self) -> None:
        """Leave the process group."""
        if dist.is_initialized():
            dist.destroy_process_group()

    def leave_after_fault(self) -> list[int]:
        """Leave the group after an error; returns, to the leader, the ranks that did not.

        A process that was killed does not leave; each is waited for LEAVE_SECONDS.
        """
        if not dist.is_initialized():
            return []
        store = dist.distributed_c10d._get_default_store()
        dist.destroy_process_group()  # lets the processes that still wait for this one fail too
        lost = []
        try:
            store.set(f"left/{self.rank}", "")
            for rank in range(1, self.size) if self.is_leader else ():
                try:
                    store.wait([f"left/{rank}"], timedelta(seconds=LEAVE_SECONDS))
                except RuntimeError:
                    lost.append(rank)
        except RuntimeError:  # the process that holds the store has ended
            return []
        return lost

    def shard(self, examples: Tensor) -> Tensor:
        """Return this process's part of a batch; the whole batch if it is too small to split."""
        return (
            examples if len(examples) < self.size else examples.tensor_split(self.size)[self.rank]
        )

    def weight(self, part: Tensor, batch: Tensor) -> float:
        """Return the weight of the mean over ``part`` when the processes' means are averaged."""
        return len(part) * self.size / len(batch) if len(part) < len(batch) else 1.0

    def generator(self, common: torch.Generator) -> torch.Generator:
        """Return the generator of this process for one step; ``common`` advances equally in all.

        Torch's global generator, used by dropout and noise, is seeded with it, so that the state
        of ``common`` restores the draws of every process.
        """
        if self.size == 1:
            return common
        seed = int(torch.randint(2**62, (1,), generator=common)) + self.rank
        torch.manual_seed(seed)
        return torch.Generator().manual_seed(seed)

    def average(self, tensors: Iterable[Tensor], weight: float) -> None:
        """Replace each tensor by its mean over the processes, weighted by ``weight``."""
        if self.size == 1:
            return
        own = list(tensors)
        flat = torch.cat([tensor.reshape(-1).float() for tensor in own]) * weight
        dist.all_reduce(flat)
        parts = (flat / self.size).split([tensor.numel() for tensor in own])
        for tensor, part in zip(own, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def broadcast_parameters(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by the leader's."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    def sync_stop(self, stop: bool, seconds: float, device: torch.device) -> tuple[bool, float]:
        """Return whether a stop was requested in any process, and the leader's clock."""
        if self.size == 1:
            return stop, seconds
        own = [float(stop), seconds if self.is_leader else 0.0]
        total = torch.tensor(own, dtype=torch.float64, device=device)
        dist.all_reduce(total)
        stops, clock = total.tolist()
        return stops > 0, clock
