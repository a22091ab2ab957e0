"""The loop that trains, and what may be asked of it."""

from arc.training.allocator import Heap
from arc.training.config import TrainingConfig
from arc.training.control import RunControl
from arc.training.device import autocast_dtype, pick_device
from arc.training.distributed import ProcessGroup
from arc.training.evaluation import Evaluation, evaluate_split
from arc.training.events import StepEvent, ValidationEvent
from arc.training.random_state import seed_everything
from arc.training.trainer import DivergedError, Trainer

__all__ = [
    "DivergedError",
    "Evaluation",
    "Heap",
    "ProcessGroup",
    "RunControl",
    "StepEvent",
    "Trainer",
    "TrainingConfig",
    "ValidationEvent",
    "autocast_dtype",
    "evaluate_split",
    "pick_device",
    "seed_everything",
]
