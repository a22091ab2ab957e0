"""One run trained by several processes: each takes a part of every batch.

``torchrun`` starts the processes and sets their ranks in the environment. All processes have the
same weights; DistributedDataParallel averages the gradients, so all take the same step. Rank 0 is
the leader: its clock is used, and only the leader saves, serves and reports.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from arc.tasks import StepOutput
from arc.training.sharing import shared_rows

LEAVE_SECONDS = 5.0
POLL_SECONDS = 0.05
LOST = "lost: killed, or gave no answer"
Step = Callable[[Tensor, torch.Generator], StepOutput]


@dataclass(frozen=True)
class ProcessGroup:
    """The rank of this process and the number of processes; by default a single process.

    An operation that waits longer than ``timeout`` seconds for another process raises an error.
    With ``gather`` all processes compute one batch together; otherwise each computes its part as a
    batch of its own.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    timeout: float = 120.0
    gather: bool = True

    @classmethod
    def from_environment(cls) -> ProcessGroup:
        """Return the group that torchrun set up, or a single process without torchrun."""
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
        if not all(name in os.environ for name in names):
            return cls()
        rank, size, local_rank = (int(os.environ[name]) for name in names)
        return cls(rank, size, local_rank)

    @property
    def is_leader(self) -> bool:
        """Whether this process saves, serves and reports."""
        return self.rank == 0

    def init(self, device: torch.device) -> torch.device:
        """Join the process group; returns the device of this process, of the given type.

        Raises ValueError if the other processes cannot be reached.
        """
        if self.size == 1:
            return device
        if device.type == "cuda":
            device = torch.device("cuda", self.local_rank)
            torch.cuda.set_device(device)
        if not dist.is_initialized():
            backend = "nccl" if device.type == "cuda" else "gloo"
            try:
                dist.init_process_group(
                    backend,
                    store=self._new_store(),
                    rank=self.rank,
                    world_size=self.size,
                    timeout=timedelta(seconds=self.timeout),
                )
            except RuntimeError as error:
                reason = (str(error).splitlines() or [""])[0]
                raise ValueError(f"torchrun: rank {self.rank} cannot connect: {reason}") from None
        return device

    def _new_store(self) -> PrefixStore:
        """Return torchrun's store with a prefix that all processes of this start have agreed on.

        torchrun keeps the store when it restarts the processes, so keys of killed ones are in it
        (https://github.com/pytorch/pytorch/issues/135712). Each process writes a random name. The
        leader's is the prefix; a process accepts it when the leader has read its own.
        """
        wait = timedelta(seconds=self.timeout)
        store, *_ = next(rendezvous("env://", self.rank, self.size, timeout=wait))
        own, end = uuid.uuid4().hex, time.monotonic() + self.timeout
        ranks = range(self.size)

        def read(key: str) -> str:
            return store.get(key).decode() if store.check([key]) else ""

        store.set(f"name/{self.rank}", own)
        while time.monotonic() < end:
            if self.is_leader:
                store.set("names", " ".join(read(f"name/{rank}") or "none" for rank in ranks))
            names = read("names").split()
            if len(names) == self.size and names[self.rank] == own:
                store.set(f"accepted/{self.rank}", names[0])
                if not self.is_leader or all(read(f"accepted/{rank}") == own for rank in ranks):
                    return PrefixStore(names[0], store)
            time.sleep(POLL_SECONDS)
        raise dist.DistStoreError(f"no answer for {self.timeout} s")

    def shutdown(self) -> None:
        """Leave the process group."""
        if dist.is_initialized():
            dist.destroy_process_group()

    def leave_after_fault(self, fault: str | None) -> dict[int, str | None]:
        """Leave the group after an error, whose text is ``fault``; None if another process failed.

        Returns what the other processes report, by rank: their own ``fault``, or that they were
        lost. A process that was killed, or hangs, reports nothing within LEAVE_SECONDS. The leader
        asks all others, and the others ask the leader.
        """
        if not dist.is_initialized():
            return {}
        store = dist.distributed_c10d._get_default_store()
        dist.destroy_process_group()  # lets the processes that still wait for this one fail too
        asked = range(1, self.size) if self.is_leader else (0,)
        reports: dict[int, str | None] = dict.fromkeys(asked, LOST)
        end = time.monotonic() + LEAVE_SECONDS

        def ask() -> None:
            with suppress(RuntimeError):  # the process that holds the store has ended
                store.set(f"left/{self.rank}", fault or "")
                for rank in asked:
                    left = timedelta(seconds=max(end - time.monotonic(), 0.1))
                    with suppress(dist.DistStoreError):
                        store.wait([f"left/{rank}"], left)
                        reports[rank] = store.get(f"left/{rank}").decode() or None

        # in a thread: without a network, no timeout of the store ends a request
        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        thread.join(LEAVE_SECONDS + 1)
        return dict(reports)

    # -- training ------------------------------------------------------------------------

    def part(self, batch: Tensor, common: torch.Generator) -> tuple[Tensor, torch.Generator, float]:
        """Return what this process trains on in one step: examples, generator and weight.

        ``common`` advances equally in all processes. The weight is that of the mean over the
        examples when the processes' means are averaged. With ``gather`` it is the whole batch.
        Otherwise it is a part, unless the batch is too small to split, and the generator is seeded
        for this process, as is torch's global one, used by dropout and noise.
        """
        if self.size == 1 or self.gather:
            return batch, common, 1.0
        seed = int(torch.randint(2**62, (1,), generator=common)) + self.rank
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        if len(batch) < self.size:
            return batch, generator, 1.0
        own = batch.tensor_split(self.size)[self.rank]
        return own, generator, len(own) * self.size / len(batch)

    def shares_rows(self, model: nn.Module) -> AbstractContextManager[None]:
        """Within the context, the processes share each batch that ``model`` computes."""
        if self.size == 1 or not self.gather:
            return nullcontext()
        return shared_rows(model, self.rank, self.size)

    def data_parallel(self, model: nn.Module, step: Step) -> nn.Module | None:
        """Return a module that computes loss and accuracy by ``step``; None for a single process.

        ``backward`` then averages the gradients of the weights of ``model``.
        """
        if self.size == 1:
            return None
        return DistributedDataParallel(_Loss(model, step), static_graph=True)

    def average(self, values: Tensor, weight: float) -> Tensor:
        """Return the mean of ``values`` over the processes, weighted by ``weight``."""
        if self.size == 1 or self.gather:  # they are equal
            return values
        total = values * weight
        dist.all_reduce(total)
        return total / self.size

    # -- agreement -----------------------------------------------------------------------

    def broadcast_parameters(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by the leader's."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    def require_same(self, values: Mapping[str, Any]) -> None:
        """Raise ValueError if ``values`` differ between the processes, naming what differs."""
        if self.size == 1:
            return
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, dict(values))
        for rank, other in enumerate(found):
            for key, value in found[0].items():
                if other.get(key) != value:
                    raise ValueError(
                        f"{key} is {other.get(key)} in rank {rank} and {value} in rank 0: all "
                        "nodes need the same command, data and checkpoint folder"
                    )

    def sync_stop(self, stop: bool, seconds: float, device: torch.device) -> tuple[bool, float]:
        """Return whether a stop was requested in any process, and the leader's clock."""
        if self.size == 1:
            return stop, seconds
        own = [float(stop), seconds if self.is_leader else 0.0]
        total = torch.tensor(own, dtype=torch.float64, device=device)
        dist.all_reduce(total)
        stops, clock = total.tolist()
        return stops > 0, clock


def is_connection_error(error: BaseException) -> bool:
    """Return whether ``error`` says that another process cannot be reached."""
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and "gloo" in str(error)
    )


class _Loss(nn.Module):
    """The loss of a batch as a module of the weights, which DistributedDataParallel wraps."""

    def __init__(self, model: nn.Module, step: Step) -> None:
        super().__init__()
        self.weights, self._step = nn.ParameterList(model.parameters()), step

    def forward(self, examples: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return loss and accuracy of ``examples``."""
        output = self._step(examples, generator)
        return output.loss, output.accuracy
