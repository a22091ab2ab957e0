"""The encoder: grids to vectors."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from arc.data.grids import MAX_GRID_SIZE, NUM_COLORS, Grids
from arc.models.ragged import LATTICE, CellBlock, CellConv, Layout, activate, cell_values, pool


class ARCEncoder(nn.Module):
    """Encodes grids of any sizes; a grid's encoding does not depend on the rest of the batch.

    Colours are embedded, convolved ``num_conv_layers`` times, averaged around a 4 x 4
    lattice and projected. A linear shortcut adds a coarse image, the mean colour embedding
    around each lattice point; without it a decoder learns no more than the majority colour.
    Embeddings of height and width are added to the cells and given to the head.
    """

    def __init__(
        self,
        num_colors: int = NUM_COLORS,
        embedding_dim: int = 16,
        hidden_dim: int = 128,
        latent_dim: int = 128,
        num_conv_layers: int = 3,
        *,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.architecture = {
            "num_colors": num_colors,
            "embedding_dim": embedding_dim,
            "hidden_dim": hidden_dim,
            "latent_dim": latent_dim,
            "num_conv_layers": num_conv_layers,
        }
        self.latent_dim = latent_dim
        self.color = nn.Embedding(num_colors, embedding_dim)
        self.size = SizeEmbedding(hidden_dim)
        self.stem = CellConv(embedding_dim, hidden_dim)
        self.blocks = nn.ModuleList(
            CellBlock(hidden_dim, dropout) for _ in range(num_conv_layers - 1)
        )
        self.norm = nn.LayerNorm(hidden_dim)
        self.shortcut = nn.Linear(LATTICE**2 * embedding_dim + hidden_dim, latent_dim)
        self.head = nn.Sequential(
            nn.Linear((LATTICE**2 + 1) * hidden_dim, 2 * hidden_dim),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(2 * hidden_dim, latent_dim),
        )

    def forward(self, grids: Grids) -> Tensor:
        """Encode ``grids`` [batch]: float32 [batch, latent_dim]."""
        layout = Layout.of(grids.sizes)
        size = self.size(grids.sizes)
        colors = self.color(cell_values(grids, layout))
        coarse = pool(colors, layout)
        x = self.stem(colors, layout)
        x = x + size.to(x.dtype)[layout.grid]
        for block in self.blocks:
            x = block(x, layout)
        pooled = pool(activate(self.norm, x), layout)
        deep = self.head(torch.cat([pooled, size], 1))
        return (deep + self.shortcut(torch.cat([coarse, size], 1))).float()


class SizeEmbedding(nn.Module):
    """A learned vector for each height plus one for each width."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.height = nn.Embedding(MAX_GRID_SIZE, dim)
        self.width = nn.Embedding(MAX_GRID_SIZE, dim)

    def forward(self, sizes: Tensor) -> Tensor:
        """Embed ``sizes`` int64 [batch, 2]: float32 [batch, dim]."""
        return self.height(sizes[:, 0] - 1) + self.width(sizes[:, 1] - 1)
