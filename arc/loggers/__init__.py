"""Loggers record the events of a run, one file each; the console shows them."""

from arc.loggers.base import LOGGERS, Logger, missing_packages
from arc.registry import import_members

import_members(__name__)

__all__ = ["LOGGERS", "Logger", "missing_packages"]
