"""The registry of learning-rate schedules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field

from arc.registry import ComponentConfig, Registry

# A registered function maps the progress of the run (0 to 1) and its configuration to a factor.
SCHEDULES: Registry[Callable[[float, Any], float]] = Registry("schedule")


class ScheduleConfig(ComponentConfig):
    """Base of the schedules' configurations."""


class DecayConfig(ScheduleConfig):
    """Keys of the schedules that decrease: the final factor, as a share of the peak."""

    final_share: Annotated[float, Field(ge=0, le=1)]


def learning_rate_factor(
    config: ScheduleConfig, warmup_steps: int, step: int, progress: float | None
) -> float:
    """Return the factor that scales ``training.learning_rate``.

    ``step`` counts completed optimizer steps. The first ``warmup_steps`` increase linearly. A run
    without a length has no ``progress`` and keeps the full rate.
    """
    warmup = min(1.0, (step + 1) / max(1, warmup_steps))
    return warmup if progress is None else warmup * SCHEDULES[config.name](progress, config)
