"""Dictionaries: which word stands for which value of a concept.

A word is a symbol, wherever it occurs in a message, or a symbol at a position. A word and a value
match in an example if the message has the word and the example has the value.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Generator

from arc.metrics.concepts import Array
from arc.metrics.language.base import Language, register


@dataclass(frozen=True)
class Entry:
    """A word and the value of a concept that it is matched with.

    ``position`` is None for a symbol at any position. ``count``: examples in which they match.
    ``precision``: of the examples with the word, the share with the value, p(value | word).
    ``recall``: of the examples with the value, the share with the word, p(word | value).
    """

    symbol: int
    position: int | None
    concept: str
    value: int
    count: int
    precision: float
    recall: float


@dataclass(frozen=True)
class _Matches:
    """``counts``: int64 [words, values]; ``words`` and ``values`` name its rows and columns."""

    counts: Array
    word_counts: Array
    value_counts: Array
    words: list[tuple[int, int | None]]
    values: list[tuple[str, int]]
    pairs: int  # the sum over examples of max(words of the message, concepts)


def best_match(language: Language, *, by_position: bool = True) -> tuple[float, list[Entry]]:
    """Return the concept best match and its dictionary, most frequent entries first.

    Words and values are assigned one to one so that the number of matches is largest (Hungarian
    algorithm, by SciPy). The score is this number, divided by the sum over examples of the larger
    of the number of different words in the message and the number of concepts. In [0, 1]; 1
    if each value has a word of its own and messages have no other words. Carmeli et al. (2024,
    arXiv:2403.14705). ``puzzle`` is left out.
    """
    from scipy.optimize import linear_sum_assignment  # imported here: it takes 1 s

    found = _matches(language, by_position)
    entries = []
    for word, value in zip(*linear_sum_assignment(found.counts, maximize=True), strict=True):
        if count := int(found.counts[word, value]):
            precision, recall = count / found.word_counts[word], count / found.value_counts[value]
            symbol, position = found.words[word]
            concept, level = found.values[value]
            shares = (float(precision), float(recall))
            entries.append(Entry(symbol, position, concept, level, count, *shares))
    entries.sort(key=lambda entry: -entry.count)
    return sum(entry.count for entry in entries) / found.pairs, entries


def context_independence(language: Language, *, by_position: bool = True) -> float:
    """Return how exclusively words and values occur together (Bogin et al., 2018).

    The mean over values c of the largest p(w | c) p(c | w) of any word w. In [0, 1]; 1 if each
    value has a word that always and only occurs with it. ``puzzle`` is left out.

    The paper takes the product for one word only, the arg max of p(w | c). That would be the stop
    symbol, or any other word that every message has.
    """
    found = _matches(language, by_position)
    products = found.counts**2 / (found.word_counts[:, None] * found.value_counts)
    return float(products.max(0).mean())


@register("context_independence", "fast")
def context_independences(language: Language, generator: Generator) -> dict[str, float]:
    """Return ``context_independence`` of both kinds of words.

    - ``context_independence``: a word is a symbol at any position.
    - ``context_independence_positions``: a word is a symbol at a position.
    """
    return {
        "context_independence": context_independence(language, by_position=False),
        "context_independence_positions": context_independence(language),
    }


@register("concept_best_match", "slow")
def concept_best_match(language: Language, generator: Generator) -> dict[str, float]:
    """Return the score of ``best_match`` for both kinds of words.

    - ``concept_best_match``: a word is a symbol at any position, as in the paper.
    - ``concept_best_match_positions``: a word is a symbol at a position.
    """
    return {
        "concept_best_match": best_match(language, by_position=False)[0],
        "concept_best_match_positions": best_match(language)[0],
    }


def _matches(language: Language, by_position: bool) -> _Matches:
    example, position = np.nonzero(language.sent)
    symbol = language.messages[example, position]
    if not by_position:
        example, symbol = np.unique(np.stack([example, symbol], 1), axis=0).T
        position = np.zeros_like(symbol)
    keys, word = np.unique(position * language.vocab_size + symbol, return_inverse=True)
    attributes = language.concepts.attributes
    blocks, values, value_counts = [], [], []
    for name, levels, codes in zip(
        attributes.names, attributes.levels, attributes.codes, strict=True
    ):
        cells = np.bincount(word * len(levels) + codes[example], minlength=len(keys) * len(levels))
        blocks.append(cells.reshape(len(keys), len(levels)))
        values += [(name, int(value)) for value in levels]
        value_counts.append(np.bincount(codes))
    words = np.bincount(example, minlength=len(language)).clip(min=len(attributes.names))
    places = [
        (int(key % language.vocab_size), int(key // language.vocab_size) if by_position else None)
        for key in keys
    ]
    counts = np.concatenate(blocks, 1)
    return _Matches(
        counts, np.bincount(word), np.concatenate(value_counts), places, values, int(words.sum())
    )
