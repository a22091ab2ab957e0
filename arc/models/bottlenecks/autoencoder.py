"""Continuous messages: the latent vector, with or without noise."""

from __future__ import annotations

import math
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from arc.models.bottlenecks.base import BOTTLENECKS, Bottleneck, Message
from arc.registry import ComponentConfig


class AutoencoderConfig(ComponentConfig):
    """The keys of conf/bottleneck/autoencoder.yaml."""

    noise: Annotated[float, Field(ge=0)]


@BOTTLENECKS.register("autoencoder", config=AutoencoderConfig)
class ContinuousBottleneck(Bottleneck):
    """The latent vector itself, float32 [batch, latent_dim].

    With ``noise`` > 0 the vector is normalised to mean 0 and variance 1, and Gaussian noise of
    this standard deviation is added. The capacity is then latent_dim / 2 x log2(1 + 1 / noise^2)
    bits (Shannon, 1949). In evaluation every call draws the same noise.
    """

    is_static = True

    def __init__(
        self, latent_dim: int, vocab_size: Any = None, max_length: Any = None, noise: float = 0.0
    ) -> None:
        super().__init__()
        self.signal_width, self.noise = latent_dim, noise
        if noise > 0:
            self.capacity_bits = latent_dim / 2 * math.log2(1 + noise**-2)

    def forward(self, latent: Tensor) -> Message:
        """Send ``latent``, normalised and with noise if ``noise`` > 0."""
        if self.noise > 0:
            latent = F.layer_norm(latent, latent.shape[1:])
            latent = latent + self.noise * self._draw(latent)
        return Message(latent, latent, None, latent.new_zeros(()))

    def _draw(self, latent: Tensor) -> Tensor:
        """Draw standard normal numbers in the shape of ``latent``."""
        if self.training:
            return torch.randn_like(latent)
        generator = torch.Generator().manual_seed(0)
        return torch.randn(latent.shape, generator=generator).to(latent)

    def read(self, content: Tensor) -> Tensor:
        """Return ``content`` unchanged."""
        if content.ndim != 2 or content.shape[1] != self.signal_width:
            expected = f"[batch, {self.signal_width}]"
            raise ValueError(f"message has shape {list(content.shape)}, expected {expected}")
        return content.float()
