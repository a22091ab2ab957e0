"""The three receivers: pick the grid out, build it, or name its puzzle.

A receiver reads the signal of a message, float32 [batch, signal_width], and never the grid.
``forward`` works on whole batches for training; ``receive`` is for people, one list per grid.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from arc.data.grids import MAX_GRID_SIZE, Grids
from arc.models.encoder import ARCEncoder, SizeEmbedding
from arc.models.ragged import LATTICE, CellBlock, Layout, activate, spread
from arc.registry import Registry

RECEIVERS: Registry[type[Receiver]] = Registry("receiver of task")


@dataclass(frozen=True, kw_only=True)
class ReceiverShape:
    """The sizes that a receiver is built from; ``num_classes`` is None but for naming tasks."""

    signal_width: int
    num_colors: int
    embedding_dim: int
    hidden_dim: int
    latent_dim: int
    num_conv_layers: int
    num_classes: int | None
    dropout: float


class Receiver(nn.Module, ABC):
    """Base of the receivers; a subclass is built from a ReceiverShape alone."""

    def __init__(self, shape: ReceiverShape) -> None:
        super().__init__()

    @abstractmethod
    def receive(self, signal: Tensor, *args: Any, **context: Any) -> Any:
        """Answer for each message; ``context`` is what the task gives besides the message."""


@RECEIVERS.register("selection")
class SelectionReceiver(Receiver):
    """Scores candidates by the cosine between the message and the candidate's own encoding."""

    def __init__(self, shape: ReceiverShape) -> None:
        super().__init__(shape)
        self.encoder = ARCEncoder(
            shape.num_colors,
            shape.embedding_dim,
            shape.hidden_dim,
            shape.latent_dim,
            shape.num_conv_layers,
            dropout=shape.dropout,
        )
        self.message = nn.Linear(shape.signal_width, shape.latent_dim)
        self.log_scale = nn.Parameter(torch.tensor(math.log(10.0)))

    def embed(self, candidates: Grids) -> Tensor:
        """Encode ``candidates`` [pool]: unit vectors, float32 [pool, latent_dim]."""
        return F.normalize(self.encoder(candidates), dim=-1)

    def score(self, signal: Tensor, embedded: Tensor) -> Tensor:
        """Return the logit of each embedded candidate for each message: [batch, pool]."""
        wanted = F.normalize(self.message(signal).float(), dim=-1)
        with torch.autocast(signal.device.type, enabled=False):  # bf16 would make ties
            return wanted @ embedded.t() * self.log_scale.exp().clamp(max=100.0)

    def forward(self, signal: Tensor, pool: Grids) -> Tensor:
        """Score every grid of a shared ``pool`` for every message: float32 [batch, pool]."""
        return self.score(signal, self.embed(pool))

    def receive(self, signal: Tensor, *, candidates: Sequence[Sequence[Any]]) -> Tensor:
        """Return float32 [batch, k], the logits of each message's own k candidate grids."""
        counts = {len(row) for row in candidates}
        if len(candidates) != len(signal) or len(counts) != 1:
            raise ValueError(
                f"candidates: expected {len(signal)} lists of one length, "
                f"got {len(candidates)} of lengths {sorted(counts)}"
            )
        flat = Grids.from_arrays([grid for row in candidates for grid in row], signal.device)
        scores = self(signal, flat).view(len(signal), len(signal), -1)
        own = torch.arange(len(signal), device=signal.device)
        return scores[own, own]


@RECEIVERS.register("reconstruction")
class ReconstructionReceiver(Receiver):
    """Builds a grid of a given size: the message spread over its cells, then convolutions.

    A coarse picture, linear in the message, is added to the logits (see ARCEncoder).
    """

    def __init__(self, shape: ReceiverShape) -> None:
        super().__init__(shape)
        hidden = shape.hidden_dim
        self.message = nn.Sequential(nn.Linear(shape.signal_width, 2 * hidden), nn.GELU())
        self.coarse = nn.Linear(shape.signal_width, LATTICE**2 * shape.num_colors)
        self.lattice = nn.Linear(2 * hidden, LATTICE**2 * hidden)
        self.rows = nn.Linear(2 * hidden, MAX_GRID_SIZE * hidden)
        self.columns = nn.Linear(2 * hidden, MAX_GRID_SIZE * hidden)
        self.size = SizeEmbedding(2 * hidden)
        self.blocks = nn.ModuleList(
            CellBlock(hidden, shape.dropout) for _ in range(shape.num_conv_layers)
        )
        self.norm = nn.LayerNorm(hidden)
        self.color = nn.Linear(hidden, shape.num_colors)

    def forward(self, signal: Tensor, layout: Layout) -> Tensor:
        """Return the logits of every cell of ``layout``: float32 [cells, num_colors]."""
        meaning = self.message(signal) + self.size(layout.sizes)
        rows = self.rows(meaning).view(len(signal) * MAX_GRID_SIZE, -1)
        columns = self.columns(meaning).view(len(signal) * MAX_GRID_SIZE, -1)
        start = layout.grid * MAX_GRID_SIZE
        x = spread(self.lattice(meaning), layout).to(rows.dtype)
        x = x + F.embedding(start + layout.row, rows) + F.embedding(start + layout.column, columns)
        for block in self.blocks:
            x = block(x, layout)
        coarse = spread(self.coarse(signal).float(), layout)
        return self.color(activate(self.norm, x)).float() + coarse

    def receive(self, signal: Tensor, *, sizes: Tensor | Sequence[Sequence[int]]) -> list[Tensor]:
        """Return logits float32 [num_colors, height, width] for each of ``sizes`` [batch, 2]."""
        shape = torch.as_tensor(sizes, dtype=torch.int64, device=signal.device)
        if shape.shape != (len(signal), 2):
            raise ValueError(f"sizes: expected [{len(signal)}, 2], got {list(shape.shape)}")
        if not (shape.min() >= 1 and shape.max() <= MAX_GRID_SIZE):
            raise ValueError(f"sizes: height and width must lie in 1 to {MAX_GRID_SIZE}")
        logits = self(signal, Layout.of(shape)).split(shape.prod(1).tolist())
        return [
            cells.t().reshape(-1, height, width)
            for cells, (height, width) in zip(logits, shape.tolist(), strict=True)
        ]


@RECEIVERS.register("puzzle_classification")
class ClassificationReceiver(Receiver):
    """Names the class of the grid that the message is about."""

    def __init__(self, shape: ReceiverShape) -> None:
        super().__init__(shape)
        if shape.num_classes is None:
            raise ValueError("a receiver that names classes needs num_classes")
        self.classify = nn.Sequential(
            nn.Linear(shape.signal_width, 4 * shape.hidden_dim),
            nn.GELU(),
            nn.Dropout(shape.dropout),
            nn.Linear(4 * shape.hidden_dim, shape.num_classes),
        )

    def forward(self, signal: Tensor) -> Tensor:
        """Return logits float32 [batch, num_classes]."""
        return self.classify(signal).float()

    def receive(self, signal: Tensor) -> Tensor:
        """Return logits float32 [batch, num_classes]."""
        return self(signal)
