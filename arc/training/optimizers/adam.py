"""Adam (Kingma and Ba, 2015); its weight decay is an L2 penalty on the loss."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn
from torch.optim import Adam

from arc.training.optimizers.base import OPTIMIZERS, AdamConfig, without_dynamo


@OPTIMIZERS.register("adam", config=AdamConfig)
def adam(parameters: Iterable[nn.Parameter], learning_rate: float, config: AdamConfig) -> Adam:
    """Build torch's Adam."""
    return without_dynamo(Adam)(parameters, lr=learning_rate, **config.options())
