"""Cosine decay to the end of the run (Loshchilov and Hutter, 2017)."""

from __future__ import annotations

import math

from arc.training.schedules.base import SCHEDULES, DecayConfig


@SCHEDULES.register("cosine", config=DecayConfig)
def cosine(progress: float, config: DecayConfig) -> float:
    """Return the factor at ``progress``: 1 at the start, ``final_share`` at the end."""
    share = 0.5 * (1 + math.cos(math.pi * progress))
    return config.final_share + (1 - config.final_share) * share
