"""Entropy of messages, and their mutual information with grids and concepts, in bits."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from torch import Generator

from arc.metrics.concepts import Array, ConceptTable
from arc.metrics.entropy import entropy_bits
from arc.metrics.language.base import Language, register
from arc.metrics.language.changes import shuffle


def conditional_bits(of: Array, given: Array) -> float:
    """Return H(of | given) of two integer arrays [N], at least 0."""
    pairs = np.unique(np.stack([of, given], 1), axis=0, return_counts=True)[1]
    return max(0.0, entropy_bits(pairs) - entropy_bits(np.bincount(given)))


@dataclass(frozen=True)
class InformationTable:
    """The mutual information of P columns with C concepts, in bits.

    ``information``: the plug-in estimate I(x; y) = H(x) + H(y) - H(x, y), float64 [P, C].
    ``column_entropy`` [P] and ``concept_entropy`` [C]: plug-in. ``concepts``: the names.
    ``chance``, [P, C]: the mean of the same estimate over random assignments of the columns to the
    examples; it is large for concepts with many values.
    """

    information: Array
    column_entropy: Array
    concept_entropy: Array
    concepts: tuple[str, ...]
    chance: Array | None = None

    @property
    def corrected(self) -> Array:
        """The information less what is expected by chance, at least 0: [P, C]."""
        assert self.chance is not None
        return np.maximum(0.0, self.information - self.chance)


def information_table(columns: Array, concepts: ConceptTable) -> InformationTable:
    """Compute the information of each column of int [N, P] about each concept; no ``chance``."""
    number = len(columns)
    terms = np.arange(number + 1) * np.log2(np.arange(number + 1).clip(1))  # n log2 n
    starts = np.cumsum([0, *concepts.sizes[:-1]])
    values, total = concepts.codes + starts[:, None], sum(concepts.sizes)  # numbered consecutively

    def entropies(counts: Array, starts: Array) -> Array:
        """Return the entropy of each block of columns of int [rows, columns]; exact at 0."""
        sums = np.add.reduceat(terms[counts].sum(0), starts)
        constant = np.maximum.reduceat(counts.max(0), starts) == number
        return np.where(constant, 0.0, math.log2(number) - sums / number)

    x, both = [], []
    for column in columns.T:
        codes = np.unique(column, return_inverse=True)[1].reshape(-1)
        rows = int(codes.max()) + 1
        counts = np.bincount((codes * total + values).ravel(), minlength=rows * total)
        both.append(entropies(counts.reshape(rows, total), starts))
        x.append(entropies(np.bincount(codes)[:, None], starts[:1])[0])
    y = entropies(np.bincount(values.ravel(), minlength=total)[None], starts)
    information = np.maximum(0.0, np.array(x)[:, None] + y - both)
    return InformationTable(information, np.array(x), y, concepts.names)


def position_concepts(
    language: Language, generator: Generator, repetitions: int = 5
) -> InformationTable:
    """Return the information of each position's symbol about each concept, ``puzzle`` included.

    The end of a message counts as a symbol of its own. ``chance`` is the mean over ``repetitions``
    shuffles of the messages among the grids.
    """
    table = information_table(language.symbols, language.concepts)
    orders = [shuffle(language, generator) for _ in range(repetitions)]
    tables = [information_table(language.symbols[order], language.concepts) for order in orders]
    return replace(table, chance=np.mean([each.information for each in tables], axis=0))


@register("information", "fast")
def information(language: Language, generator: Generator) -> dict[str, float]:
    """Return entropies and mutual information (Shannon, 1948), in bits where not a share.

    - ``message_entropy``: H(message), plug-in; in [0, log2 N].
    - ``message_entropy_corrected``: the same by Miller & Madow (1955), which adds
      (distinct messages - 1) / (2 N ln 2).
    - ``position_entropy``: the entropy of the symbol at a position, mean over positions; in
      [0, log2(V + 1)], or log2 V at full length.
    - ``grid_information``: I(message; grid) = H(message) + H(grid) - H(message, grid). Equal to
      H(message) if equal grids have equal messages.
    - ``capacity_used``: grid_information / (L log2 V), in [0, 1] at full length; 0 if V is 1.
    - ``position_information``: the mutual information of a position and a concept; largest over
      concepts, mean over positions.
    - ``concept_information``: the same as a share of the concept's entropy; largest over positions,
      mean over concepts; in [0, 1].

    The last two leave out ``puzzle``. The information of shuffled messages is subtracted first
    (``InformationTable.corrected``).
    """
    ids = language.message_ids
    counts = np.bincount(ids)
    grid_information = max(0.0, entropy_bits(counts) - conditional_bits(ids, language.grid_ids))
    capacity = language.max_length * math.log2(language.vocab_size)
    table = position_concepts(language, generator)
    described = [name in language.concepts.attributes.names for name in table.concepts]
    corrected, entropy = table.corrected[:, described], table.concept_entropy[described]
    shares = corrected.max(0)[entropy > 0] / entropy[entropy > 0]
    return {
        "message_entropy": entropy_bits(counts),
        "message_entropy_corrected": entropy_bits(counts)
        + (len(counts) - 1) / (2 * len(ids) * math.log(2)),
        "position_entropy": float(table.column_entropy.mean()),
        "grid_information": grid_information,
        "capacity_used": grid_information / capacity if capacity else 0.0,
        "position_information": float(corrected.max(1).mean()),
        "concept_information": min(1.0, float(shares.mean())) if len(shares) else 0.0,
    }


@register("adjusted_mutual_information", "slow")
def adjusted_mutual_information(language: Language, generator: Generator) -> dict[str, float]:
    """Return mutual information adjusted for chance (Vinh et al., 2010), by scikit-learn.

    AMI = (I - E[I]) / (mean(H(x), H(y)) - E[I]), where E[I] is the expectation under random
    permutations. 1: the same partition of the examples; about 0 by chance; 0 if either is constant.

    - ``ami_messages``: of whole messages and a concept, mean over concepts.
    - ``ami_positions``: of the symbol at a position and the concept that fits best, mean over
      positions.
    """
    codes = language.concepts.attributes.codes
    messages = [_adjusted(language.message_ids, code) for code in codes]
    positions = [max(_adjusted(column, code) for code in codes) for column in language.symbols.T]
    return {
        "ami_messages": float(np.mean(messages)),
        "ami_positions": float(np.mean(positions)),
    }


def _adjusted(x: Array, y: Array) -> float:
    """Return the adjusted mutual information of two arrays of codes 0 and up."""
    from sklearn.metrics.cluster import expected_mutual_information  # imported here: it takes 3 s

    shape = (int(x.max()) + 1, int(y.max()) + 1)
    table = np.bincount(x * shape[1] + y, minlength=shape[0] * shape[1]).reshape(shape)
    first, second, both = (
        entropy_bits(counts) * math.log(2) for counts in (table.sum(1), table.sum(0), table)
    )
    if not first or not second:
        return 0.0
    expected = expected_mutual_information(table[table.any(1)], len(x))
    room = (first + second) / 2 - expected
    if room < 1e-9:  # every permutation gives the same information
        return 0.0
    return float(np.clip((first + second - both - expected) / room, -1.0, 1.0))
