"""What messages say about concepts: a dictionary with examples, and information by position."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from arc.metrics.language import Language, random_codes, shuffled
from arc.metrics.language.dictionary import Entry, best_match
from arc.metrics.language.information import position_concepts

LISTED_ENTRIES = 50
EXAMPLES_PER_ENTRY = 3
FLOORS = {"shuffled": shuffled, "random": random_codes}
NO_CONCEPTS: dict[str, Any] = {"dictionary": [], "information": None}


def concept_tables(language: Language, names: Sequence[str]) -> dict[str, Any]:
    """Return the dictionary of ``language`` and the information of its positions, in plain types.

    ``names``: a name for each example. ``dictionary`` lists at most LISTED_ENTRIES of all
    ``entries``, those with the most matches above chance first; ``position`` counts from 1, and
    ``chance`` is the precision expected of shuffled messages, p(value). ``score`` is the value of
    ``concept_best_match_positions``, with its floors. ``information`` holds, in bits by position
    and concept, the plug-in estimate of the mutual information (``bits``) and its mean for shuffled
    messages (``shuffled``).
    """
    generator = torch.Generator().manual_seed(0)
    score, entries = best_match(language)
    floors = {name: best_match(each(language, generator))[0] for name, each in FLOORS.items()}
    entries.sort(key=lambda entry: -_matches_above_chance(entry, len(language)))
    table = position_concepts(language, generator)
    assert table.chance is not None
    return {
        "examples": len(language),
        "entries": len(entries),
        "score": {"value": score, **floors},
        "dictionary": [_entry(entry, language, names) for entry in entries[:LISTED_ENTRIES]],
        "information": {
            "concepts": list(table.concepts),
            "entropy": table.concept_entropy.tolist(),
            "bits": table.information.tolist(),
            "shuffled": table.chance.tolist(),
        },
    }


def _chance(entry: Entry, examples: int) -> float:
    """Return p(value): the expected precision if messages were assigned at random."""
    return entry.count / entry.recall / examples


def _matches_above_chance(entry: Entry, examples: int) -> float:
    return entry.count * (1 - _chance(entry, examples) / entry.precision)


def _entry(entry: Entry, language: Language, names: Sequence[str]) -> dict[str, Any]:
    """Return an entry with some of the examples in which its symbol and its value match."""
    assert entry.position is not None
    assert language.grids is not None
    concepts = language.concepts
    values = concepts.values[:, concepts.names.index(entry.concept)]
    has_both = (language.symbols[:, entry.position] == entry.symbol) & (values == entry.value)
    some = np.flatnonzero(has_both)[:EXAMPLES_PER_ENTRY]
    grids = language.grids[torch.from_numpy(some)].arrays()
    return {
        **vars(entry),
        "position": entry.position + 1,
        "chance": _chance(entry, len(language)),
        "examples": [
            {"example": names[example], "grid": grid.tolist()}
            for example, grid in zip(some, grids, strict=True)
        ],
    }
