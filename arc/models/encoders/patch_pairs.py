"""The architecture ``patch`` for pairs of an input and an output."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from arc.data.features import color_ranks
from arc.data.grids import GridPairs, Grids
from arc.models.encoders.base import PAIR_ENCODERS, ARCEncoder, EncoderShape
from arc.models.patches import (
    PatchBlock,
    PatchEmbedding,
    PatchLayout,
    from_shares,
    share_width,
)


@PAIR_ENCODERS.register("patch")
class PatchPairEncoder(ARCEncoder):
    """Embeds the patches of input and output as one set of tokens, mixes them, and projects.

    Colours are replaced by their rank of frequency in the input, which the receiver sees as well,
    so that what is learned about some colours applies to all. Output cells that equal the resized
    input have a colour of their own, ``unchanged``. Each token gives its own share of the latent
    vector: a linear layer over all tokens at once learns far slower. With the head ``direct``,
    a linear map of the patch's output cells is added to its share.
    """

    def build(self, shape: EncoderShape, dropout: float) -> None:
        """Create the layers."""
        self.unchanged = shape.num_colors
        self.embed = PatchEmbedding(shape.num_colors, shape.embedding_dim, shape.hidden_dim)
        share = share_width(shape.latent_dim)
        self.embed_output = PatchEmbedding(
            *(shape.num_colors + 1, shape.embedding_dim, shape.hidden_dim),
            direct=share if self.is_direct else 0,
        )
        self.blocks = nn.ModuleList(
            PatchBlock(shape.hidden_dim, shape.mixer, dropout) for _ in range(shape.num_conv_layers)
        )
        self.norm = nn.LayerNorm(shape.hidden_dim)
        self.head = nn.Linear(shape.hidden_dim, share)

    def forward(self, grids: Grids) -> Tensor:
        """Encode GridPairs [batch]: float32 [batch, latent_dim]."""
        assert isinstance(grids, GridPairs)
        ranks = color_ranks(grids.inputs)
        inputs, outputs = grids.inputs.recolored(ranks), grids.outputs.recolored(ranks)
        changes = self.changes(inputs, outputs)
        x = self.embed(inputs, PatchLayout.of(inputs.sizes))
        tokens, cell_shares = self.embed_output.with_shares(changes, PatchLayout.of(changes.sizes))
        x = x + tokens
        for block in self.blocks:
            x = block(x)
        shares = self.head(self.norm(x)).float()
        return from_shares(shares + cell_shares if self.is_direct else shares, self.latent_dim)

    def changes(self, inputs: Grids, outputs: Grids) -> Grids:
        """Return the outputs with ``unchanged`` in cells that equal the resized input."""
        copies = inputs.resized(outputs.sizes).cells
        side = copies.shape[1]
        cells = outputs.padded[:, :side, :side]
        return Grids(torch.where(cells == copies, self.unchanged, cells), outputs.sizes)
