"""Pretraining by telling real grids from fakes that have what is easily counted in common.

Shapes: B grids, S the padded side, n the number of cells of a grid.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import field_validator
from torch import Tensor, nn

from arc.data import NUM_COLORS, Corpus, Grids, Split, Transform
from arc.models import RECEIVERS, ARCAutoencoder, Receiver, ReceiverShape
from arc.pretraining.base import PRETRAINING, PretrainConfig
from arc.tasks.base import Metric, StepOutput, Task, TaskMetrics, percent

Kind = Literal["shuffled", "resampled", "spliced", "noise"]


class BinaryPretrainConfig(PretrainConfig):
    """Keys of conf/pretrain/binary.yaml."""

    fakes: list[Kind]

    @field_validator("fakes")
    @classmethod
    def _some_and_distinct(cls, fakes: list[Kind]) -> list[Kind]:
        if not fakes or len(set(fakes)) < len(fakes):
            raise ValueError("must name one kind or more, each once")
        return fakes


@RECEIVERS.register("pretrain_binary")
class RealityReceiver(Receiver):
    """Says whether a grid is real."""

    def __init__(self, shape: ReceiverShape) -> None:
        super().__init__(shape)
        self.real = nn.Linear(shape.signal_width, 1)

    def forward(self, signal: Tensor) -> Tensor:
        """Return the logit of being real, float32 [batch]."""
        return self.real(signal).float()[:, 0]

    def receive(self, signal: Tensor) -> Tensor:
        """Return the logit of being real, float32 [batch]."""
        return self(signal)


@PRETRAINING.register("binary", config=BinaryPretrainConfig)
class BinaryPretraining(Task):
    """Each real grid beside one fake that is made from it."""

    def __init__(self, config: BinaryPretrainConfig, corpus: Corpus) -> None:
        super().__init__(config.game(), corpus)
        self.kinds = config.fakes

    def step(
        self,
        model: ARCAutoencoder,
        examples: Tensor,
        generator: torch.Generator,
        transform: Transform | None = None,
    ) -> StepOutput:
        """Cross-entropy over the batch's grids and a fake of each, its kind drawn."""
        real = self.sender_input(self.corpus.training, examples, generator, transform)
        noise = torch.randint(len(self.kinds), (len(real),), generator=generator)
        every = torch.stack([make_fakes(kind, real, generator).cells for kind in self.kinds])
        fake = every[noise.to(every.device), torch.arange(len(real), device=every.device)]
        grids = Grids(torch.cat([real.cells, fake]), real.sizes.repeat(2, 1))
        differs = _differ(real, fake)
        counted = torch.cat([torch.ones_like(differs), differs])
        message = model(grids)
        logits = model.receiver(message.signal)
        wanted = torch.zeros_like(logits)
        wanted[: len(real)] = 1.0
        loss = F.binary_cross_entropy_with_logits(logits[counted], wanted[counted])
        right = ((logits.detach() > 0) == wanted.bool())[counted]
        return StepOutput(loss + message.aux_loss, percent(right), message)

    def evaluate(
        self, model: ARCAutoencoder, split: Split, signal: Tensor, *, full: bool = False
    ) -> TaskMetrics:
        """Return how many real grids are known as such, and how many fakes of each kind.

        ``accuracy`` is the mean of the real grids' and the mean kind's, so that chance is 50.
        """
        names = ("accuracy", "real", *self.kinds)
        if len(split) == 0:
            return TaskMetrics(math.nan, {"binary": Metric(dict.fromkeys(names, math.nan), 0, {})})
        real = model.receiver(signal)
        losses, shares = [F.softplus(-real).mean()], [percent(real > 0)]
        for kind in self.kinds:
            logits = self._fake_logits(model, split, kind)
            losses.append(F.softplus(logits).mean())
            shares.append(percent(logits <= 0))
        accuracy = (shares[0] + torch.stack(shares[1:]).mean()) / 2
        loss = (losses[0] + torch.stack(losses[1:]).mean()) / 2
        values = dict(zip(names, map(float, [accuracy, *shares]), strict=True))
        return TaskMetrics(float(loss), {"binary": Metric(values, len(split), {"chance": 50.0})})

    def _fake_logits(self, model: ARCAutoencoder, split: Split, kind: str) -> Tensor:
        """Return the logits of a fake of each grid, the same at each call; float32 [fakes]."""
        generator = torch.Generator().manual_seed(0)
        logits = []
        for part in self.chunks(len(split)):
            real = self.sender_input(split, part, generator)
            fake = make_fakes(kind, real, generator)
            differs = _differ(real, fake.cells)
            content = model(fake).content
            logits.append(model.receiver(model.bottleneck.read(content))[differs])
        return torch.cat(logits)


def make_fakes(kind: str, grids: Grids, generator: torch.Generator) -> Grids:
    """Make one fake of each grid, of its size; where there is no other, it is the grid itself.

    ``shuffled``: its cells in another order. ``resampled``: each cell a colour drawn from the
    grid's own histogram. ``spliced``: a patch of another grid of the batch laid over it.
    ``noise``: every colour as likely at every cell, which a histogram tells from ARC's grids.
    """
    return Grids(_MAKERS[kind](grids, generator), grids.sizes)


def _differ(grids: Grids, cells: Tensor) -> Tensor:
    """Return whether other ``cells`` differ anywhere inside of each grid, bool [B]."""
    return ((grids.cells != cells) & grids.inside).flatten(1).any(1)


def _cells_first(grids: Grids) -> tuple[Tensor, Tensor]:
    """Return the places of each grid's true cells before all others [B, S*S], and n [B, 1]."""
    flat = grids.inside.flatten(1)
    return (~flat).to(torch.uint8).argsort(dim=1, stable=True), flat.sum(1, keepdim=True)


def _rearranged(grids: Grids, order: Tensor, source: Tensor) -> Tensor:
    """Return [B, S, S]: the true cell number i is what stood at true cell ``source[i]``."""
    flat = grids.cells.flatten(1)
    taken = flat.gather(1, order.gather(1, source))
    return flat.scatter(1, order, taken).view_as(grids.cells)


def _shuffled(grids: Grids, generator: torch.Generator) -> Tensor:
    order, count = _cells_first(grids)
    noise = torch.rand(order.shape, generator=generator).to(order.device)
    number = torch.arange(order.shape[1], device=order.device).expand_as(order)
    source = noise.masked_fill(number >= count, 2.0).argsort(dim=1)  # padding stays padding
    return _rearranged(grids, order, source)


def _resampled(grids: Grids, generator: torch.Generator) -> Tensor:
    order, count = _cells_first(grids)
    noise = torch.rand(order.shape, generator=generator).to(order.device)
    number = torch.arange(order.shape[1], device=order.device).expand_as(order)
    source = torch.where(number < count, (noise * count).long(), number)
    return _rearranged(grids, order, source)


def _spliced(grids: Grids, generator: torch.Generator) -> Tensor:
    """Lay over each grid a rectangle of another, a third to two thirds of what both have."""
    batch, side = grids.cells.shape[:2]
    if batch == 1:
        return grids.cells
    shift = torch.randint(1, batch, (1,), generator=generator)
    other = (torch.arange(batch) + shift) % batch
    shared = torch.minimum(grids.sizes.cpu(), grids.sizes.cpu()[other])
    noise = torch.rand(2, batch, 2, generator=generator)
    extent = (shared * (1 + noise[0]) / 3).ceil().clamp(min=1)
    start = (noise[1] * (shared - extent + 1)).floor()
    line = torch.arange(side)
    rows = (line >= start[:, :1]) & (line < (start + extent)[:, :1])
    columns = (line >= start[:, 1:]) & (line < (start + extent)[:, 1:])
    patch = (rows[:, :, None] & columns[:, None]).to(grids.cells.device)
    return torch.where(patch, grids.cells[other.to(patch.device)], grids.cells)


def _noise(grids: Grids, generator: torch.Generator) -> Tensor:
    order, count = _cells_first(grids)
    colors = torch.randint(NUM_COLORS, order.shape, generator=generator, dtype=torch.uint8)
    number = torch.arange(order.shape[1], device=order.device)
    flat = grids.cells.flatten(1)
    drawn = torch.where(number < count, colors.to(flat.device), flat.gather(1, order))
    return flat.scatter(1, order, drawn).view_as(grids.cells)


_MAKERS = {"shuffled": _shuffled, "resampled": _resampled, "spliced": _spliced, "noise": _noise}
