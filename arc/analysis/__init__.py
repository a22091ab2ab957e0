"""What a figure must be read beside: chance, references, and measures of the language."""

from arc.analysis.chance import expected_accuracy, random_code_accuracy
from arc.analysis.language import language_measures

__all__ = ["expected_accuracy", "language_measures", "random_code_accuracy"]
