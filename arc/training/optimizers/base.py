"""The registry of optimizers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field
from torch.optim import Optimizer

from arc.registry import ComponentConfig, Registry

# A registered function takes the parameters, the learning rate and its configuration. It puts all
# parameters into one group, in the order of ``model.parameters()``: checkpoints rely on it.
OPTIMIZERS: Registry[Callable[..., Optimizer]] = Registry("optimizer")

Beta = Annotated[float, Field(ge=0, lt=1)]


class OptimizerConfig(ComponentConfig):
    """Keys of every optimizer; the learning rate is ``training.learning_rate``."""

    weight_decay: Annotated[float, Field(ge=0, le=1)]


class AdamConfig(OptimizerConfig):
    """Keys of conf/optimizer/adam.yaml and adamw.yaml."""

    betas: list[Beta]

    def options(self) -> dict[str, Any]:
        """Return the keyword arguments of torch's optimizer."""
        return {"weight_decay": self.weight_decay, "betas": tuple(self.betas)}
