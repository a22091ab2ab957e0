"""The architecture ``patch``: a small transformer over 4 x 4 patches of a grid."""

from __future__ import annotations

from torch import Tensor, nn

from arc.data.grids import Grids
from arc.models.encoders.base import ENCODERS, ARCEncoder, EncoderShape
from arc.models.patches import PATCHES, PatchBlock, PatchEmbedding, PatchLayout


@ENCODERS.register("patch")
class PatchEncoder(ARCEncoder):
    """Embeds the patches of each grid, mixes them in ``num_conv_layers`` blocks, and projects."""

    def build(self, shape: EncoderShape, dropout: float) -> None:
        """Create the layers."""
        self.embed = PatchEmbedding(shape.num_colors, shape.embedding_dim, shape.hidden_dim)
        self.blocks = nn.ModuleList(
            PatchBlock(shape.hidden_dim, shape.mixer, dropout) for _ in range(shape.num_conv_layers)
        )
        self.norm = nn.LayerNorm(shape.hidden_dim)
        self.head = nn.Linear(PATCHES * shape.hidden_dim, shape.latent_dim)

    def forward(self, grids: Grids) -> Tensor:
        """Encode ``grids`` [batch]: float32 [batch, latent_dim]."""
        x = self.embed(grids, PatchLayout.of(grids.sizes))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).flatten(1)).float()
