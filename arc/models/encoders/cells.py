"""The architecture ``cells``: convolutions over the cells of a grid."""

from __future__ import annotations

from types import MappingProxyType

import torch
from torch import Tensor, nn

from arc.data.grids import Grids
from arc.models.encoders.base import ENCODERS, ARCEncoder, EncoderShape
from arc.models.ragged import (
    LATTICE,
    CellBlock,
    CellConv,
    Layout,
    SizeEmbedding,
    activate,
    pool,
)


@ENCODERS.register("cells")
class CellEncoder(ARCEncoder):
    """Convolutions over cells, without padding.

    Colours are embedded, convolved ``num_conv_layers`` times, averaged around a 4 x 4
    lattice and projected. A linear shortcut adds a coarse image, the mean colour embedding
    around each lattice point; without it a decoder learns no more than the majority colour.
    Embeddings of height and width are added to the cells and given to the head.
    """

    unused = MappingProxyType({"mixer": "attention", "head": "joint"})

    def build(self, shape: EncoderShape, dropout: float) -> None:
        """Create the layers."""
        self.color = nn.Embedding(shape.num_colors, shape.embedding_dim)
        self.size = SizeEmbedding(shape.hidden_dim)
        self.stem = CellConv(shape.embedding_dim, shape.hidden_dim)
        self.blocks = nn.ModuleList(
            CellBlock(shape.hidden_dim, dropout) for _ in range(shape.num_conv_layers - 1)
        )
        self.norm = nn.LayerNorm(shape.hidden_dim)
        self.shortcut = nn.Linear(
            LATTICE**2 * shape.embedding_dim + shape.hidden_dim, shape.latent_dim
        )
        self.head = nn.Sequential(
            nn.Linear((LATTICE**2 + 1) * shape.hidden_dim, 2 * shape.hidden_dim),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(2 * shape.hidden_dim, shape.latent_dim),
        )

    def forward(self, grids: Grids) -> Tensor:
        """Encode ``grids`` [batch]: float32 [batch, latent_dim]."""
        layout = Layout.of(grids.sizes)
        size = self.size(grids.sizes)
        colors = self.color(layout.values(grids))
        coarse = pool(colors, layout)
        x = self.stem(colors, layout)
        x = x + size.to(x.dtype)[layout.grid]
        for block in self.blocks:
            x = block(x, layout)
        pooled = pool(activate(self.norm, x), layout)
        deep = self.head(torch.cat([pooled, size], 1))
        return (deep + self.shortcut(torch.cat([coarse, size], 1))).float()
