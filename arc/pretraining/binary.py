"""Pretraining by classifying grids as real or fake; fakes have similar simple statistics.

Shapes: B grids, S the padded side, n the number of cells of a grid.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import AfterValidator, field_validator
from torch import Tensor

from arc.data import NUM_COLORS, Corpus, Grids, Split, Transform
from arc.metrics import share
from arc.models import ARCAutoencoder
from arc.pretraining.base import PRETRAINING, PretrainConfig
from arc.registry import Registry
from arc.tasks.base import Metric, StepOutput, Task, TaskMetrics, percent

FAKES: Registry[Callable[[Grids, torch.Generator], Tensor]] = Registry("kind of fake")
FakeKind = Annotated[str, AfterValidator(FAKES.check)]


class BinaryPretrainConfig(PretrainConfig):
    """Keys of conf/pretrain/binary.yaml."""

    fakes: list[FakeKind]

    @field_validator("fakes")
    @classmethod
    def _some_and_distinct(cls, fakes: list[FakeKind]) -> list[str]:
        if not fakes or len(set(fakes)) < len(fakes):
            raise ValueError("must list one or more kinds without repetition")
        return fakes


@PRETRAINING.register("binary", config=BinaryPretrainConfig)
class BinaryPretraining(Task):
    """Classify each real grid and one fake made from it."""

    def __init__(self, config: BinaryPretrainConfig, corpus: Corpus) -> None:
        super().__init__(config.task_config(), corpus)
        self.kinds = config.fakes

    def step(
        self,
        model: ARCAutoencoder,
        examples: Tensor,
        generator: torch.Generator,
        transform: Transform | None = None,
    ) -> StepOutput:
        """Compute the cross-entropy over the batch's grids and one fake of each, of random kind."""
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
        """Return the accuracy on real grids and on fakes of each kind.

        ``accuracy`` is the mean of the real grids' and the fakes', so that chance is 50.
        """
        names = ("accuracy", "real", *self.kinds)
        if len(split) == 0:
            return TaskMetrics(math.nan, {"binary": Metric(dict.fromkeys(names, math.nan), 0, {})})
        real = model.receiver(signal)
        losses, shares = [F.softplus(-real).mean()], [share(real > 0)]
        for kind in self.kinds:
            logits, differs = self._fake_logits(model, split, kind)
            losses.append(F.softplus(logits[differs]).mean())
            shares.append(share((logits <= 0) & differs, differs))
        accuracy = torch.stack(len(self.kinds) * shares[:1] + shares[1:])
        loss = (losses[0] + torch.stack(losses[1:]).mean()) / 2
        found = dict(zip(names, [accuracy, *shares], strict=True))
        metric = Metric.of(found, len(split), {"chance": 50.0})
        return TaskMetrics(float(loss), {"binary": metric})

    def _fake_logits(self, model: ARCAutoencoder, split: Split, kind: str) -> tuple[Tensor, Tensor]:
        """Return the logits of one fake of each grid, deterministic, and whether it is changed.

        float32 [examples] and bool [examples].
        """
        generator = torch.Generator().manual_seed(0)
        logits, differs = [], []
        for part in self.chunks(len(split)):
            real = self.sender_input(split, part, generator)
            fake = make_fakes(kind, real, generator)
            content = model(fake).content
            logits.append(model.receiver(model.bottleneck.read(content)))
            differs.append(_differ(real, fake.cells))
        return torch.cat(logits), torch.cat(differs)


def make_fakes(kind: str, grids: Grids, generator: torch.Generator) -> Grids:
    """Return one fake of a registered kind for each grid, of its size.

    A fake equals its grid where no other arrangement exists.
    """
    return Grids(FAKES[kind](grids, generator), grids.sizes)


def _differ(grids: Grids, cells: Tensor) -> Tensor:
    """Return whether ``cells`` differ from the grid anywhere inside it, bool [B]."""
    return ((grids.cells != cells) & grids.inside).flatten(1).any(1)


def _cells_first(grids: Grids) -> tuple[Tensor, Tensor]:
    """Return cell positions, those inside the grid first: int64 [B, S*S]; and n, [B, 1]."""
    flat = grids.inside.flatten(1)
    return (~flat).to(torch.uint8).argsort(dim=1, stable=True), flat.sum(1, keepdim=True)


def _rearranged(grids: Grids, order: Tensor, source: Tensor) -> Tensor:
    """Return [B, S, S]: cell i of the grid is replaced by its cell ``source[i]``."""
    flat = grids.cells.flatten(1)
    taken = flat.gather(1, order.gather(1, source))
    return flat.scatter(1, order, taken).view_as(grids.cells)


@FAKES.register("shuffled")
def shuffled(grids: Grids, generator: torch.Generator) -> Tensor:
    """Shuffle the cells of each grid."""
    order, count = _cells_first(grids)
    noise = torch.rand(order.shape, generator=generator).to(order.device)
    number = torch.arange(order.shape[1], device=order.device).expand_as(order)
    source = noise.masked_fill(number >= count, 2.0).argsort(dim=1)  # padding stays padding
    return _rearranged(grids, order, source)


@FAKES.register("resampled")
def resampled(grids: Grids, generator: torch.Generator) -> Tensor:
    """Draw each cell from the colour histogram of its grid."""
    order, count = _cells_first(grids)
    noise = torch.rand(order.shape, generator=generator).to(order.device)
    number = torch.arange(order.shape[1], device=order.device).expand_as(order)
    source = torch.where(number < count, (noise * count).long(), number)
    return _rearranged(grids, order, source)


@FAKES.register("spliced")
def spliced(grids: Grids, generator: torch.Generator) -> Tensor:
    """Paste a rectangle of another grid over each, a third to two thirds of their overlap."""
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


@FAKES.register("noise")
def uniform(grids: Grids, generator: torch.Generator) -> Tensor:
    """Draw each cell uniformly from all colours; the colour histogram reveals such fakes."""
    order, count = _cells_first(grids)
    colors = torch.randint(NUM_COLORS, order.shape, generator=generator, dtype=torch.uint8)
    number = torch.arange(order.shape[1], device=order.device)
    flat = grids.cells.flatten(1)
    drawn = torch.where(number < count, colors.to(flat.device), flat.gather(1, order))
    return flat.scatter(1, order, drawn).view_as(grids.cells)
