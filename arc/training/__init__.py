"""The training loop, its events and its configuration."""

from arc.training.callbacks import Callback, CallbackList
from arc.training.config import TrainingConfig
from arc.training.control import RunControl
from arc.training.device import autocast_dtype, pick_device
from arc.training.distributed import ProcessGroup
from arc.training.evaluation import Evaluation, Example, evaluate_controls, evaluate_split
from arc.training.events import (
    EvaluationEvent,
    Outcome,
    RunEnded,
    StepEvent,
    TrainingEnded,
    ValidationEvent,
)
from arc.training.optimizers import OPTIMIZERS, OptimizerConfig
from arc.training.random_state import seed_everything
from arc.training.schedules import SCHEDULES, ScheduleConfig
from arc.training.trainer import DivergedError, Trainer

__all__ = [
    "OPTIMIZERS",
    "SCHEDULES",
    "Callback",
    "CallbackList",
    "DivergedError",
    "Evaluation",
    "EvaluationEvent",
    "Example",
    "OptimizerConfig",
    "Outcome",
    "ProcessGroup",
    "RunControl",
    "RunEnded",
    "ScheduleConfig",
    "StepEvent",
    "Trainer",
    "TrainingConfig",
    "TrainingEnded",
    "ValidationEvent",
    "autocast_dtype",
    "evaluate_controls",
    "evaluate_split",
    "pick_device",
    "seed_everything",
]
