"""What a figure must be read beside: chance, references, and measures of the language."""

from arc.metrics.language import language_measures
from arc.metrics.selection import expected_accuracy, random_code_accuracy

__all__ = ["expected_accuracy", "language_measures", "random_code_accuracy"]
