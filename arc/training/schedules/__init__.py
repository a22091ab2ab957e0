"""Learning-rate schedules, one file each."""

from arc.registry import import_members
from arc.training.schedules.base import SCHEDULES, ScheduleConfig, learning_rate_factor

import_members(__name__)

__all__ = ["SCHEDULES", "ScheduleConfig", "learning_rate_factor"]
