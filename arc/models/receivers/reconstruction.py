"""The receivers of reconstruction, one for each architecture."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace

import torch.nn.functional as F
from torch import Tensor, nn

from arc.data.grids import MAX_GRID_SIZE, grids_of_cells
from arc.models.patches import (
    PATCHES,
    PLACES,
    PatchBlock,
    PatchLayout,
    PatchPosition,
    share_width,
    to_shares,
)
from arc.models.ragged import LATTICE, CellBlock, Layout, SizeEmbedding, activate, spread
from arc.models.receivers.base import (
    RECEIVERS,
    Receiver,
    ReceiverShape,
    by_grid,
    checked_sizes,
)
from arc.models.rows import RowWise


@RECEIVERS.register("reconstruction")
class ReconstructionReceiver(RowWise, Receiver):
    """Decodes a grid of a given size.

    Lists of cells may be dense (see uses_dense_cells); rows outside of a grid have no meaning.

    ``ReconstructionReceiver(shape)`` builds a subclass: CellReconstruction for the architecture
    ``cells``, else PatchReconstruction.
    """

    def __new__(cls, shape: ReceiverShape | None = None) -> ReconstructionReceiver:
        """Return an instance of the subclass for ``shape.architecture``."""
        if cls is not ReconstructionReceiver or shape is None:
            return super().__new__(cls)
        by_cells = shape.architecture == "cells"
        return super().__new__(CellReconstruction if by_cells else PatchReconstruction)

    def __init__(self, shape: ReceiverShape) -> None:
        super().__init__(shape)
        self.palette_width = shape.num_colors if shape.palette else 0
        self.build(replace(shape, signal_width=shape.signal_width - self.palette_width))

    @abstractmethod
    def build(self, shape: ReceiverShape) -> None:
        """Create the layers; ``shape.signal_width`` is without the palette."""

    @abstractmethod
    def decode(self, signal: Tensor, sizes: Tensor) -> Tensor:
        """Return the logits of every cell of grids of ``sizes`` [batch, 2].

        float32 [cells, num_colors], grid by grid and row by row. ``signal`` is without the
        palette; with a palette, the logits are those of ranks.
        """

    def forward(self, signal: Tensor, sizes: Tensor) -> Tensor:
        """Return the logits of every cell of grids of ``sizes`` [batch, 2].

        float32 [cells, num_colors], grid by grid and row by row.
        """
        palette, rest = signal.tensor_split([self.palette_width], 1)
        logits = self.decode(rest, sizes)
        if self.palette_width == 0:
            return logits
        ranks = palette.round().long()[grids_of_cells(sizes, len(logits))]
        return logits.gather(1, ranks)

    def receive(self, signal: Tensor, *, sizes: Tensor | Sequence[Sequence[int]]) -> list[Tensor]:
        """Return logits float32 [num_colors, height, width] for each of ``sizes`` [batch, 2]."""
        checked = checked_sizes(sizes, signal)
        return by_grid(self(signal, checked), checked)


class CellReconstruction(ReconstructionReceiver):
    """Spreads the message over the cells and convolves them.

    A coarse image, linear in the message, is added to the logits (see CellEncoder).
    """

    def build(self, shape: ReceiverShape) -> None:
        """Create the layers."""
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

    def decode(self, signal: Tensor, sizes: Tensor) -> Tensor:
        """Return the logits of every cell, float32 [cells, num_colors]."""
        layout = Layout.of(sizes)
        meaning = self.message(signal) + self.size(layout.sizes)
        rows = self.rows(meaning).view(len(signal) * MAX_GRID_SIZE, -1)
        columns = self.columns(meaning).view(len(signal) * MAX_GRID_SIZE, -1)
        start = layout.grid * MAX_GRID_SIZE
        x = spread(self.lattice(meaning), layout).to(rows.dtype)
        x = x + F.embedding(start + layout.row, rows) + F.embedding(start + layout.column, columns)
        for block in self.blocks:
            x = block(x, layout)
        coarse = spread(self.coarse(signal).float(), layout)
        return layout.rows(self.color(activate(self.norm, x)).float() + coarse)


class PatchReconstruction(ReconstructionReceiver):
    """Gives each patch its share of the signal, mixes the patches, and decodes their cells.

    A linear layer gives each token the logits of every place and colour, of which the cells of
    the grid are read. The whole signal is added to every token, for what concerns the whole grid.
    With the head ``direct``, a linear map of a patch's share is added to its logits.
    """

    def build(self, shape: ReceiverShape) -> None:
        """Create the layers."""
        hidden = shape.hidden_dim
        self.num_colors = shape.num_colors
        self.unit = shape.signal_unit
        self.share = share_width(shape.signal_width, self.unit)
        self.interleaved = shape.head != "joint"
        self.own = nn.Linear(self.share, hidden)
        self.whole = nn.Linear(shape.signal_width, hidden)
        self.position = PatchPosition(hidden)
        self.blocks = nn.ModuleList(
            PatchBlock(hidden, shape.mixer, shape.dropout) for _ in range(shape.num_conv_layers)
        )
        self.norm = nn.LayerNorm(hidden)
        self.color = nn.Linear(hidden, PLACES * shape.num_colors)
        direct = shape.head == "direct"
        places = PLACES * shape.num_colors
        self.direct = nn.Linear(self.share, places, bias=False) if direct else None

    def decode(self, signal: Tensor, sizes: Tensor) -> Tensor:
        """Return the logits of every cell, float32 [cells, num_colors]."""
        layout = PatchLayout.of(sizes)
        if self.interleaved:
            shares = to_shares(signal, self.unit)
        else:
            padded = F.pad(signal, (0, self.share * PATCHES - signal.shape[1]))
            shares = padded.view(-1, PATCHES, self.share)
        x = self.own(shares) + self.whole(signal)[:, None]
        x = x.float() + self.position(sizes)
        for block in self.blocks:
            x = block(x)
        logits = self.color(self.norm(x))
        if self.direct is not None:
            logits = logits + self.direct(shares)
        cells = layout.patch * PLACES + layout.place
        return F.embedding(cells, logits.view(-1, self.num_colors)).float()
