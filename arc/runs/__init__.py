"""Runs from their plan to their results."""

from arc.runs.plan import RunPlan, plan_run, stored_group_choices
from arc.runs.run import Run, RunResult, RunStarted, build_run, run_to_end
from arc.training import Outcome, RunEnded, TrainingEnded

__all__ = [
    "Outcome",
    "Run",
    "RunEnded",
    "RunPlan",
    "RunResult",
    "RunStarted",
    "TrainingEnded",
    "build_run",
    "plan_run",
    "run_to_end",
    "stored_group_choices",
]
