"""One batch computed by several processes.

Every process draws the same random numbers for the whole batch and prepares the same grids. The
networks, which take nearly all of the time, are RowWise: each process computes its part of their
rows, and the results are gathered. What follows, such as the message and the loss, is computed for
the whole batch in every process, so it is that of a single process.

Each process calls ``backward`` on the same loss, and DistributedDataParallel averages the gradients
of the weights. To make the average the gradient of the loss, the gradients of the rows of a process
are multiplied by the number of processes while they pass through a network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from arc.models.rows import RowWise


@contextmanager
def shared_rows(model: nn.Module, rank: int, size: int) -> Iterator[None]:
    """Within the context, ``size`` processes share the rows of the RowWise networks of ``model``.

    A batch with fewer rows than processes is computed by each of them.
    """
    networks = [module for module in model.modules() if isinstance(module, RowWise)]
    inside = False

    def split_rows(forward: Callable[..., Any], *batches: Any, **named: Any) -> Any:
        nonlocal inside
        count = len(batches[0])
        if inside or count < size:
            return forward(*batches, **named)
        rows = torch.arange(count).tensor_split(size)[rank]
        inside = True
        try:
            with _own_dropout(networks, rank):
                own = forward(
                    *(_rows(batch, rows) for batch in batches),
                    **{name: _rows(batch, rows) for name, batch in named.items()},
                )
        finally:
            inside = False
        return _gathered(own, rank)

    try:
        for network in networks:
            network.split_rows = split_rows
        yield
    finally:
        for network in networks:
            network.split_rows = None


def _rows(batch: Any, rows: Tensor) -> Any:
    if isinstance(batch, Tensor):
        return _Split.apply(batch, rows)
    return None if batch is None else batch[rows]


@contextmanager
def _own_dropout(networks: list[RowWise], rank: int) -> Iterator[None]:
    """Draw dropout from a generator of this process; the common ones advance equally in all."""
    layers = [layer for network in networks for layer in network.modules()]
    dropout = [layer for layer in layers if isinstance(layer, nn.Dropout) and layer.training]
    if not any(layer.p > 0 for layer in dropout):
        yield
        return
    seed = int(torch.randint(2**62, (1,))) + rank
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        yield


def _gathered(own: Any, rank: int) -> Any:
    """Gather a tensor, or the tensors of a dataclass, from all processes."""
    if isinstance(own, Tensor):
        return _Gather.apply(own, rank)
    if not is_dataclass(own) or isinstance(own, type):
        return own
    values = {each.name: getattr(own, each.name) for each in fields(own)}
    return replace(own, **{name: _gathered(value, rank) for name, value in values.items()})


class _Split(torch.autograd.Function):
    """Takes this process's rows; the gradient is gathered from all processes."""

    @staticmethod
    def forward(ctx, whole, rows):  # type: ignore[no-untyped-def]
        return whole[int(rows[0]) : int(rows[-1]) + 1].clone()

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        return torch.cat(_parts(grad)) / dist.get_world_size(), None


class _Gather(torch.autograd.Function):
    """Concatenates the rows of all processes; the gradient is that of this process's rows."""

    @staticmethod
    def forward(ctx, own, rank):  # type: ignore[no-untyped-def]
        parts = _parts(own)
        ctx.start, ctx.count = sum(map(len, parts[:rank])), len(own)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        own = grad[ctx.start : ctx.start + ctx.count]
        return own * dist.get_world_size(), None


def _parts(own: Tensor) -> list[Tensor]:
    """Return the tensor of each process; their lengths may differ."""
    size = dist.get_world_size()
    count = torch.tensor([len(own)], device=own.device)
    counts = [torch.empty_like(count) for _ in range(size)]
    dist.all_gather(counts, count)
    lengths = [int(each) for each in counts]
    padded = own.new_zeros(max(lengths), *own.shape[1:])
    padded[: len(own)] = own
    padded_parts = [torch.empty_like(padded) for _ in range(size)]
    dist.all_gather(padded_parts, padded)
    return [part[:length] for part, length in zip(padded_parts, lengths, strict=True)]
