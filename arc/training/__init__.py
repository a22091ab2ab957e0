"""The training loop, its events and its configuration."""

from arc.training.callbacks import Callback, CallbackList
from arc.training.config import TrainingConfig
from arc.training.control import RunControl
from arc.training.device import autocast_dtype, pick_device
from arc.training.distributed import ProcessGroup
from arc.training.evaluation import Evaluation, evaluate_controls, evaluate_split
from arc.training.events import EvaluationEvent, StepEvent, ValidationEvent
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
    "OptimizerConfig",
    "ProcessGroup",
    "RunControl",
    "ScheduleConfig",
    "StepEvent",
    "Trainer",
    "TrainingConfig",
    "ValidationEvent",
    "autocast_dtype",
    "evaluate_controls",
    "evaluate_split",
    "pick_device",
    "seed_everything",
]
