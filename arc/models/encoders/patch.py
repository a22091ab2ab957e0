"""The architecture ``patch``: a small transformer over 4 x 4 patches of a grid."""

from __future__ import annotations

from torch import Tensor, nn

from arc.data.grids import Grids
from arc.models.encoders.base import ENCODERS, ARCEncoder
from arc.models.patches import PATCHES, PatchBlock, PatchEmbedding, PatchLayout


@ENCODERS.register("patch")
class PatchEncoder(ARCEncoder):
    """Embeds the patches of each grid, mixes them in ``num_conv_layers`` blocks, and projects."""

    def build(
        self,
        num_colors: int,
        embedding_dim: int,
        hidden_dim: int,
        num_layers: int,
        dropout: float,
        mixer: str,
    ) -> None:
        """Create the layers."""
        self.embed = PatchEmbedding(num_colors, embedding_dim, hidden_dim)
        self.blocks = nn.ModuleList(
            PatchBlock(hidden_dim, mixer, dropout) for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(hidden_dim)
        self.head = nn.Linear(PATCHES * hidden_dim, self.latent_dim)

    def forward(self, grids: Grids) -> Tensor:
        """Encode ``grids`` [batch]: float32 [batch, latent_dim]."""
        x = self.embed(grids, PatchLayout.of(grids.sizes))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).flatten(1)).float()
