"""The games that the agents play, one file each."""

from arc.registry import import_members
from arc.tasks.base import TASKS, Figure, StepOutput, Task, TaskConfig, Verdict

import_members(__name__)

__all__ = ["TASKS", "Figure", "StepOutput", "Task", "TaskConfig", "Verdict"]
