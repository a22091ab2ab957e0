"""Linear decay to the end of the run."""

from __future__ import annotations

from arc.training.schedules.base import SCHEDULES, DecayConfig


@SCHEDULES.register("linear", config=DecayConfig)
def linear(progress: float, config: DecayConfig) -> float:
    """Return the factor at ``progress``: 1 at the start, ``final_share`` at the end."""
    return config.final_share + (1 - config.final_share) * (1 - progress)
