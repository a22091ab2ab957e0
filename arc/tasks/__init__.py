"""The tasks, one file each."""

from arc.registry import import_members
from arc.tasks.base import TASKS, Metric, StepOutput, Task, TaskConfig, TaskMetrics

import_members(__name__)

__all__ = ["TASKS", "Metric", "StepOutput", "Task", "TaskConfig", "TaskMetrics"]
