"""Message metrics, one file per family, and the baselines of selection and reconstruction."""

from arc.metrics.base import METRICS, Messages, MetricConfig, language_metrics
from arc.metrics.cells import cell_percentages, cell_shares, right_cells
from arc.metrics.codec import Codec
from arc.metrics.intervals import bootstrap_interval, share, share_percent
from arc.metrics.selection import expected_accuracy, random_code_accuracy
from arc.metrics.subsampling import cells_of_messages, subsampled
from arc.registry import import_members

import_members(__name__)

__all__ = [
    "METRICS",
    "Codec",
    "Messages",
    "MetricConfig",
    "bootstrap_interval",
    "cell_percentages",
    "cell_shares",
    "cells_of_messages",
    "expected_accuracy",
    "language_metrics",
    "random_code_accuracy",
    "right_cells",
    "share",
    "share_percent",
    "subsampled",
]
