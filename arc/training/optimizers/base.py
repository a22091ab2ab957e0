"""The registry of optimizers."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import torch
from pydantic import Field
from torch.optim import Optimizer

from arc.registry import ComponentConfig, Registry

# A registered function takes the parameters, the learning rate and its configuration. It puts all
# parameters into one group, in the order of ``model.parameters()``: checkpoints rely on it.
OPTIMIZERS: Registry[Callable[..., Optimizer]] = Registry("optimizer")

AnyOptimizer = TypeVar("AnyOptimizer", bound=Optimizer)
DYNAMO_WRAPPED = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
Beta = Annotated[float, Field(ge=0, lt=1)]


class OptimizerConfig(ComponentConfig):
    """Keys of every optimizer; the learning rate is ``training.learning_rate``."""

    weight_decay: Annotated[float, Field(ge=0, le=1)]

    def options(self) -> dict[str, Any]:
        """Return the keyword arguments of torch's optimizer, without the learning rate."""
        return {"weight_decay": self.weight_decay}


class AdamConfig(OptimizerConfig):
    """Keys of conf/optimizer/adam.yaml and adamw.yaml."""

    betas: Annotated[list[Beta], Field(min_length=2, max_length=2)]

    def options(self) -> dict[str, Any]:
        """Add the decay rates of the moments."""
        return {**super().options(), "betas": tuple(self.betas)}


@functools.cache
def without_dynamo(kind: type[AnyOptimizer]) -> type[AnyOptimizer]:
    """Return an optimizer class like ``kind`` that does not import torch._dynamo.

    torch wraps these methods for torch.compile, which is not used here, and the wrappers import
    torch._dynamo when they are first called, a third of the time to the first step of a run.
    """
    step = inspect.unwrap(kind.step)

    @torch.no_grad()
    def plain_step(self: AnyOptimizer, closure: Callable[[], float] | None = None) -> float | None:
        return step(self, closure)

    methods = {name: inspect.unwrap(getattr(kind, name)) for name in DYNAMO_WRAPPED}
    return type(kind.__name__, (kind,), {**methods, "step": plain_step})
