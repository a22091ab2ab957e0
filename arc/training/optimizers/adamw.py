"""AdamW: Adam with decoupled weight decay (Loshchilov and Hutter, 2019)."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn
from torch.optim import AdamW

from arc.training.optimizers.base import OPTIMIZERS, AdamConfig, without_dynamo


@OPTIMIZERS.register("adamw", config=AdamConfig)
def adamw(parameters: Iterable[nn.Parameter], learning_rate: float, config: AdamConfig) -> AdamW:
    """Build torch's AdamW."""
    return without_dynamo(AdamW)(parameters, lr=learning_rate, **config.options())
