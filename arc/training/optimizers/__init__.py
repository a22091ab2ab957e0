"""Optimizers, one file each."""

from arc.registry import import_members
from arc.training.optimizers.base import OPTIMIZERS, OptimizerConfig

import_members(__name__)

__all__ = ["OPTIMIZERS", "OptimizerConfig"]
