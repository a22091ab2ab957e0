"""The receiver of selection pretraining."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from arc.models.receivers.base import RECEIVERS, Receiver, ReceiverShape


@RECEIVERS.register("pretrain_selection")
class EmbeddingReceiver(Receiver):
    """Compares two embeddings by their cosine; its only parameter is the temperature."""

    def __init__(self, shape: ReceiverShape) -> None:
        super().__init__(shape)
        self.log_scale = nn.Parameter(torch.tensor(math.log(10.0)))

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        """Return the scaled cosines of [batch, dim] with [pool, dim]: float32 [batch, pool]."""
        with torch.autocast(one.device.type, enabled=False):  # bf16 would make ties
            cosine = F.normalize(one.float(), dim=-1) @ F.normalize(other.float(), dim=-1).t()
            return cosine * self.log_scale.exp().clamp(max=100.0)

    def receive(self, signal: Tensor, *, embedded: Tensor) -> Tensor:
        """Return the logits of embedded candidates [pool, dim] for each message."""
        return self(signal, embedded)
