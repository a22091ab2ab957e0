"""The loop that trains, and what may be asked of it."""

from arc.training.config import TrainingConfig
from arc.training.control import RunControl
from arc.training.judging import Judgement, judge_split
from arc.training.loop import DivergedError, Step, Trainer, Validated, seed_everything
from arc.training.machine import Heap, autocast_dtype, pick_device
from arc.training.ranks import Ranks

__all__ = [
    "DivergedError",
    "Heap",
    "Judgement",
    "Ranks",
    "RunControl",
    "Step",
    "Trainer",
    "TrainingConfig",
    "Validated",
    "autocast_dtype",
    "judge_split",
    "pick_device",
    "seed_everything",
]
