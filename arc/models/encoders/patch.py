"""The architecture ``patch``: a small transformer over 4 x 4 patches of a grid."""

from __future__ import annotations

from torch import Tensor, nn

from arc.data.grids import Grids
from arc.models.encoders.base import ENCODERS, ARCEncoder, EncoderShape
from arc.models.patches import (
    HEADS,
    PATCHES,
    PatchBlock,
    PatchEmbedding,
    PatchLayout,
    from_shares,
    share_width,
)


@ENCODERS.register("patch")
class PatchEncoder(ARCEncoder):
    """Embeds the patches of each grid, mixes them in ``num_conv_layers`` blocks, and projects."""

    def build(self, shape: EncoderShape, dropout: float) -> None:
        """Create the layers."""
        if shape.head not in HEADS:
            raise ValueError(f"unknown head {shape.head!r}; choose one of: {', '.join(HEADS)}")
        share = share_width(shape.latent_dim)
        direct = share if self.is_direct else 0
        self.embed = PatchEmbedding(shape.num_colors, shape.embedding_dim, shape.hidden_dim, direct)
        self.blocks = nn.ModuleList(
            PatchBlock(shape.hidden_dim, shape.mixer, dropout) for _ in range(shape.num_conv_layers)
        )
        self.norm = nn.LayerNorm(shape.hidden_dim)
        self.is_joint = shape.head == "joint"
        if self.is_joint:
            self.head = nn.Linear(PATCHES * shape.hidden_dim, shape.latent_dim)
        else:
            self.head = nn.Linear(shape.hidden_dim, share)

    def forward(self, grids: Grids) -> Tensor:
        """Encode ``grids`` [batch]: float32 [batch, latent_dim]."""
        x, cell_shares = self.embed.with_shares(grids, PatchLayout.of(grids.sizes))
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        if self.is_joint:
            return self.head(x.flatten(1)).float()
        shares = self.head(x).float()
        if self.is_direct:
            shares = shares + cell_shares
        return from_shares(shares, self.latent_dim)
