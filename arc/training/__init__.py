"""The loop that trains, and what may be asked of it."""

from arc.training.allocator import Heap
from arc.training.config import TrainingConfig
from arc.training.control import RunControl
from arc.training.device import autocast_dtype, pick_device
from arc.training.distributed import Ranks
from arc.training.evaluation import Judgement, judge_split
from arc.training.random_state import seed_everything
from arc.training.trainer import DivergedError, Step, Trainer, Validated

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
