"""Stochastic gradient descent with momentum."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import Field, model_validator
from torch import nn
from torch.optim import SGD

from arc.training.optimizers.base import OPTIMIZERS, OptimizerConfig, without_dynamo


class SgdConfig(OptimizerConfig):
    """Keys of conf/optimizer/sgd.yaml."""

    momentum: Annotated[float, Field(ge=0, lt=1)]
    nesterov: bool

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> SgdConfig:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov=true: needs momentum above 0")
        return self

    def options(self) -> dict[str, Any]:
        """Add the momentum."""
        return {**super().options(), "momentum": self.momentum, "nesterov": self.nesterov}


@OPTIMIZERS.register("sgd", config=SgdConfig)
def sgd(parameters: Iterable[nn.Parameter], learning_rate: float, config: SgdConfig) -> SGD:
    """Build torch's SGD."""
    return without_dynamo(SGD)(parameters, lr=learning_rate, **config.options())
