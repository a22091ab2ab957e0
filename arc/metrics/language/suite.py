"""All registered measures of a language, beside their floors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator

from arc.metrics.language.base import MEASURES, Language
from arc.metrics.language.changes import random_codes, shuffled
from arc.registry import nearest

SELECTIONS = ("all", "fast", "none")


@dataclass(frozen=True)
class Measured:
    """A value and its floors.

    ``shuffled``: the same measure after the messages were shuffled among the grids. ``random``:
    the same measure of random messages with the same distribution of lengths and of symbols at
    each position. In both, equal grids have equal messages.
    """

    value: float
    shuffled: float
    random: float


def measure_language(
    language: Language,
    measures: Literal["all", "fast", "none"] | list[str] = "all",
    generator: Generator | None = None,
) -> dict[str, Measured]:
    """Compute the measures of ``language``, with their floors, by name.

    ``fast`` leaves out measures that take seconds for thousands of messages; ``none`` gives an
    empty dict; a list selects registered measures by name. The default ``generator`` has seed 0.
    For the floor of an untrained sender, measure its messages as another language. Raises
    ValueError for any other ``measures``.

    In a language whose messages are the digits of 00 to 99, each position determines one concept.
    In shuffled messages it does not:

    >>> import numpy as np
    >>> from arc.metrics.concepts import ConceptTable
    >>> digits = np.array([divmod(number, 10) for number in range(100)])
    >>> table = ConceptTable(("tens", "ones"), digits)
    >>> values = measure_language(Language(digits, None, 10, table), "fast")
    >>> values["posdis"].value, values["topsim_hamming"].value
    (1.0, 1.0)
    >>> values["posdis"].shuffled < 0.2
    True
    """
    selected = _names(measures)
    if not selected:
        return {}
    generator = generator or torch.Generator().manual_seed(0)
    languages = (
        language,
        shuffled(language, generator),
        random_codes(language, generator),
    )
    result: dict[str, Measured] = {}
    for name in selected:
        values = [MEASURES[name].compute(each, generator) for each in languages]
        result.update({key: Measured(*(each[key] for each in values)) for key in values[0]})
    return result


def _names(measures: str | list[str]) -> list[str]:
    if not isinstance(measures, str):
        return [MEASURES.check(name) for name in measures]
    if measures not in SELECTIONS:
        hint = nearest(measures, SELECTIONS)
        raise ValueError(f"measures={measures}: choose one of {', '.join(SELECTIONS)}.{hint}")
    if measures == "none":
        return []
    return [name for name in MEASURES if measures == "all" or MEASURES[name].speed == "fast"]
