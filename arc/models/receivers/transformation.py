"""The receiver of transformation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from arc.data.features import color_ranks
from arc.data.grids import MAX_GRID_SIZE, Grids
from arc.models.patches import (
    PLACES,
    PatchBlock,
    PatchEmbedding,
    PatchLayout,
    share_width,
    to_shares,
)
from arc.models.ragged import SizeEmbedding, cell_values
from arc.models.receivers.base import (
    RECEIVERS,
    Receiver,
    ReceiverShape,
    by_grid,
    checked_sizes,
)
from arc.models.rows import RowWise

SIZES = ("given", "predicted")
COPY = 3.0  # initial bonus, in nats, of the input's colour and of its size


@dataclass(frozen=True)
class BuiltGrids:
    """The receiver's output for grids of ``sizes``, int64 [batch, 2].

    ``logits``: float32 [cells, num_colors], grid by grid and row by row. ``size_logits``: float32
    [batch, 2, MAX_GRID_SIZE] of height and width minus 1, or None if the sizes are given.
    """

    sizes: Tensor
    logits: Tensor
    size_logits: Tensor | None


@RECEIVERS.register("transformation")
class TransformationReceiver(RowWise, Receiver):
    """Builds the output of a pair from its input and the message.

    The input's patches, the message, and each patch's own share of the message add up to tokens.
    For every place of a token, a linear layer gives the logits of the colours, and another one
    gives a bonus for the input's colour there, so that a copy of the input is the default. If the
    sizes differ, the copy is the input resized. Colours are replaced by their rank of frequency
    in the input, as in the sender.
    """

    def __init__(self, shape: ReceiverShape) -> None:
        super().__init__(shape)
        if shape.size not in SIZES:
            raise ValueError(f"unknown size {shape.size!r}; choose one of: {', '.join(SIZES)}")
        hidden = shape.hidden_dim
        self.num_colors = shape.num_colors
        self.embed = PatchEmbedding(shape.num_colors, shape.embedding_dim, hidden)
        self.unit = shape.signal_unit
        share = share_width(shape.signal_width, self.unit)
        self.own = nn.Linear(share, hidden)
        self.whole = nn.Linear(shape.signal_width, hidden)
        self.predict_size = _SizeHead(hidden) if shape.size == "predicted" else None
        self.output_size = SizeEmbedding(hidden)
        self.blocks = nn.ModuleList(
            PatchBlock(hidden, shape.mixer, shape.dropout) for _ in range(shape.num_conv_layers)
        )
        self.norm = nn.LayerNorm(hidden)
        self.color = nn.Linear(hidden, PLACES * shape.num_colors)
        direct = shape.head == "direct"
        self.direct = nn.Linear(share, PLACES * shape.num_colors, bias=False) if direct else None
        self.copy = nn.Linear(hidden, PLACES)
        nn.init.constant_(self.copy.bias, COPY)

    def forward(self, signal: Tensor, inputs: Grids, sizes: Tensor | None = None) -> BuiltGrids:
        """Build grids of ``sizes``, int64 [batch, 2]; None: of the most likely sizes.

        ``sizes`` is required unless the receiver predicts them.
        """
        ranks = color_ranks(inputs)
        inputs = inputs.recolored(ranks)
        shares = to_shares(signal, self.unit)
        message = self.own(shares) + self.whole(signal)[:, None]
        x = self.embed(inputs, PatchLayout.of(inputs.sizes)) + message.float()
        size_logits = None if self.predict_size is None else self.predict_size(x, inputs.sizes)
        if sizes is None:
            assert size_logits is not None
            sizes = size_logits.argmax(-1) + 1
        x = x + self.output_size(sizes)[:, None]
        for block in self.blocks:
            x = block(x)
        x, layout = self.norm(x), PatchLayout.of(sizes)
        cell = layout.patch * PLACES + layout.place
        colors = self.color(x)
        if self.direct is not None:
            colors = colors + self.direct(shares)
        logits = F.embedding(cell, colors.view(-1, self.num_colors)).float()
        bonus = F.embedding(cell, self.copy(x).view(-1, 1)).float()
        copied = cell_values(inputs.resized(sizes)).clamp(min=0)[:, None]
        logits = logits.scatter_add(1, copied, bonus).gather(1, ranks[layout.grid])
        return BuiltGrids(sizes, logits, size_logits)

    def receive(
        self,
        signal: Tensor,
        *,
        inputs: Grids | Sequence[Any],
        sizes: Tensor | Sequence[Sequence[int]] | None = None,
    ) -> list[Tensor]:
        """Return logits float32 [num_colors, height, width] of the output of each of ``inputs``.

        ``inputs`` are Grids, or 2-D integer arrays. ``sizes`` [batch, 2] are required unless
        the receiver predicts them; without them the grids have the predicted sizes.
        """
        if not isinstance(inputs, Grids):
            inputs = Grids.from_arrays(inputs)
        if len(inputs) != len(signal):
            raise ValueError(f"inputs: expected {len(signal)} grids, got {len(inputs)}")
        if sizes is None and self.predict_size is None:
            raise ValueError("sizes: required with size='given'")
        wanted = None if sizes is None else checked_sizes(sizes, signal)
        built = self(signal, inputs.to(signal.device), wanted)
        return by_grid(built.logits, built.sizes)


class _SizeHead(nn.Module):
    """Predicts height and width from the tokens; the input's size is the default."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(channels),
            nn.Linear(channels, 2 * channels),
            nn.GELU(),
            nn.Linear(2 * channels, 2 * MAX_GRID_SIZE),
        )
        self.same = nn.Parameter(torch.tensor(COPY))

    def forward(self, x: Tensor, sizes: Tensor) -> Tensor:
        """Map [batch, patches, channels] and ``sizes`` [batch, 2] to [batch, 2, MAX_GRID_SIZE]."""
        logits = self.layers(x.mean(1)).view(len(x), 2, MAX_GRID_SIZE).float()
        side = torch.arange(1, MAX_GRID_SIZE + 1, device=sizes.device)
        return logits + self.same * (side == sizes[:, :, None])
