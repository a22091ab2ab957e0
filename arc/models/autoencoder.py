"""Sender, channel and receiver as one model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from arc.data.grids import MAX_GRID_SIZE, NUM_COLORS, Grids
from arc.models.bottlenecks import BOTTLENECKS, Message
from arc.models.encoder import ARCEncoder
from arc.models.receivers import RECEIVERS, ReceiverShape


class ARCAutoencoder(nn.Module):
    """The whole game: ``encoder`` and ``bottleneck`` are the sender, ``receiver`` the other agent.

    ``bottleneck_type`` and ``task_type`` are registered names. ``vocab_size`` and
    ``max_length`` matter to discrete channels, ``num_classes`` to tasks that name classes.
    ``bottleneck_options`` are a channel's further settings; none of them changes a weight's
    shape, nor does ``dropout``, so that a file's weights fit without them.
    """

    def __init__(
        self,
        encoder: ARCEncoder,
        vocab_size: int | None,
        max_length: int | None,
        num_colors: int = NUM_COLORS,
        embedding_dim: int = 16,
        hidden_dim: int = 128,
        max_grid_size: int = MAX_GRID_SIZE,
        bottleneck_type: str = "communication",
        task_type: str = "reconstruction",
        num_conv_layers: int = 3,
        num_classes: int | None = None,
        *,
        dropout: float = 0.0,
        bottleneck_options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if max_grid_size != MAX_GRID_SIZE:
            raise ValueError(f"max_grid_size is {MAX_GRID_SIZE} for every ARC grid")
        self.encoder = encoder
        self.bottleneck = BOTTLENECKS[bottleneck_type](
            latent_dim=encoder.latent_dim,
            vocab_size=vocab_size,
            max_length=max_length,
            **(bottleneck_options or {}),
        )
        self.receiver = RECEIVERS[task_type](
            ReceiverShape(
                signal_width=self.bottleneck.signal_width,
                num_colors=num_colors,
                embedding_dim=embedding_dim,
                hidden_dim=hidden_dim,
                latent_dim=encoder.latent_dim,
                num_conv_layers=num_conv_layers,
                num_classes=num_classes,
                dropout=dropout,
            )
        )

        self.encoder_is_frozen = False

    def freeze_encoder(self) -> None:
        """Keep the sender's encoder as it is: no gradient, and no dropout in training either."""
        self.encoder_is_frozen = True
        self.encoder.requires_grad_(False)
        self.encoder.eval()

    def train(self, mode: bool = True) -> ARCAutoencoder:
        """Set training mode as usual, except in a frozen encoder."""
        super().train(mode)
        if self.encoder_is_frozen:
            self.encoder.eval()
        return self

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def forward(self, grids: Grids) -> Message:
        """Send ``grids`` [batch]; the task hands the message's signal to ``receiver``."""
        return self.bottleneck(self.encoder(grids))

    @torch.no_grad()
    def send(self, grids: Sequence[Any]) -> Tensor:
        """Return the messages for 2-D integer arrays.

        int64 [batch, max_length] from a discrete channel, float32 [batch, latent_dim] from a
        continuous one. Raises DataError if an array is no ARC grid.
        """
        return self(Grids.from_arrays(grids, self.device)).content

    @torch.no_grad()
    def receive(self, message: Tensor, **context: Any) -> Any:
        """Return what the receiver makes of messages, as its ``receive`` describes.

        ``candidates=`` for selection, ``sizes=`` for reconstruction. Raises ValueError if
        ``message`` is none of this channel's or the context does not fit it, TypeError if the
        context is missing.
        """
        return self.receiver.receive(self.bottleneck.read(message.to(self.device)), **context)
