"""A constant learning rate after the warm-up."""

from __future__ import annotations

from arc.training.schedules.base import SCHEDULES, ScheduleConfig


@SCHEDULES.register("constant", config=ScheduleConfig)
def constant(progress: float, config: ScheduleConfig) -> float:
    """Return 1."""
    return 1.0
