"""Runs from their plan to their results.

Names are imported on first use (PEP 562), so that comparing runs does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from arc.runs.plan import RunPlan as RunPlan
    from arc.runs.plan import plan_run as plan_run
    from arc.runs.plan import stored_group_choices as stored_group_choices
    from arc.runs.run import Run as Run
    from arc.runs.run import RunResult as RunResult
    from arc.runs.run import RunStarted as RunStarted
    from arc.runs.run import build_run as build_run
    from arc.runs.run import run_to_end as run_to_end
    from arc.training import Outcome as Outcome
    from arc.training import RunEnded as RunEnded
    from arc.training import TrainingEnded as TrainingEnded

_MODULES = {
    "plan": "RunPlan plan_run stored_group_choices",
    "run": "Outcome Run RunEnded RunResult RunStarted TrainingEnded build_run run_to_end",
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
