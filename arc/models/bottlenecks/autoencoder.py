"""Continuous messages: the latent vector itself."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from arc.models.bottlenecks.base import BOTTLENECKS, Bottleneck, Message
from arc.registry import ComponentConfig


class AutoencoderConfig(ComponentConfig):
    """No keys; the length of the vector is ``model.latent_dim``."""


@BOTTLENECKS.register("autoencoder", config=AutoencoderConfig)
class ContinuousBottleneck(Bottleneck):
    """The latent vector itself, float32 [batch, latent_dim]."""

    def __init__(self, latent_dim: int, vocab_size: Any = None, max_length: Any = None) -> None:
        super().__init__()
        self.signal_width = latent_dim

    def forward(self, latent: Tensor) -> Message:
        """Send ``latent`` unchanged."""
        return Message(latent, latent, None, latent.new_zeros(()))

    def read(self, content: Tensor) -> Tensor:
        """Return ``content`` unchanged."""
        if content.ndim != 2 or content.shape[1] != self.signal_width:
            expected = f"[batch, {self.signal_width}]"
            raise ValueError(f"message has shape {list(content.shape)}, expected {expected}")
        return content.float()
