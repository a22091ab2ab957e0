"""Measures of a language, one file per family, and the floors to compare them with.

``measure_language`` computes all of them. The functions of a family return more: the dictionary
(``best_match``), the information of positions about concepts (``position_concepts``), the interval
and the p-value of a similarity (``similarity_test``), and boundaries in messages (``boundaries``).
"""

from arc.metrics.language.base import MEASURES, Language, Measure
from arc.metrics.language.changes import (
    dropped,
    permuted,
    random_codes,
    replaced,
    shuffled,
    truncated,
)
from arc.metrics.language.suite import Measured, measure_language
from arc.registry import import_members

import_members(__name__)

__all__ = [
    "MEASURES",
    "Language",
    "Measure",
    "Measured",
    "dropped",
    "measure_language",
    "permuted",
    "random_codes",
    "replaced",
    "shuffled",
    "truncated",
]
