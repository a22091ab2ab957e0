"""Message metrics, one file per family, and closed-form selection accuracy."""

from arc.metrics.base import METRICS, Messages, MetricConfig, language_metrics
from arc.metrics.selection import expected_accuracy, random_code_accuracy
from arc.registry import import_members

import_members(__name__)

__all__ = [
    "METRICS",
    "Messages",
    "MetricConfig",
    "expected_accuracy",
    "language_metrics",
    "random_code_accuracy",
]
