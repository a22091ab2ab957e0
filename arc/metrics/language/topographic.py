"""Topographic similarity: do similar messages have similar meanings?

The distance of two messages is the number of positions where they differ (Hamming; the end
of a message differs from any symbol), their edit distance (Levenshtein), or their edit distance
divided by their mean length. The distance of two meanings is the number of concepts that differ,
the number of cells by which the colour histograms differ, the number of different cells of two
grids of equal size, or the cosine distance of embeddings, rounded to 0.0001.

All distances are integers, or indices of sorted values, of a small range. A table that counts the
pairs of each combination of the two distances gives Spearman's correlation exactly, ties included,
without sorting the pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Generator

from arc.data.features import color_counts
from arc.metrics.concepts import Array
from arc.metrics.language.base import Language, register

TILE = 256  # examples on each side of a block of pairs; its distances stay in the cache
MAX_EXAMPLES = 5_000  # more are sampled
MAX_STEPS = 6e9  # of the edit distances of all pairs; long messages: fewer examples are sampled
COSINE_STEP = 1e-4

# The distances between examples [rows] and [columns]: integers [rows, columns], 0 to size - 1.
Block = Callable[[Array, Array], Array]


@dataclass(frozen=True)
class Distance:
    """A distance of all pairs of examples; ``groups``: only pairs within a group count."""

    size: int
    block: Block
    groups: list[Array] | None = None


def hamming(columns: Array) -> Distance:
    """Return the number of columns in which two rows of int [N, K] differ."""
    lines = [np.ascontiguousarray(column) for column in _compact(columns.T)]
    kind = np.uint8 if len(lines) < 256 else np.uint16

    def block(rows: Array, others: Array) -> Array:
        total = np.zeros((len(rows), len(others)), kind)
        for line in lines:
            total += line[rows, None] != line[others]
        return total

    return Distance(len(lines) + 1, block)


def concepts(language: Language) -> Distance:
    """Return the number of concepts that differ; ``puzzle`` is left out."""
    return hamming(language.concepts.attributes.codes.T)


def edit(language: Language) -> Distance:
    """Return the smallest number of insertions, deletions and replacements (Levenshtein, 1966)."""
    symbols = _compact(language.symbols)
    order = np.argsort(language.lengths, kind="stable")  # blocks have messages of similar length
    kind = np.uint8 if language.max_length < 255 else np.uint16
    distances = np.zeros((len(order), len(order)), kind)
    for rows, others in _tiles([order]):
        part = _edits(
            symbols[rows], language.lengths[rows], symbols[others], language.lengths[others], kind
        )
        distances[rows[:, None], others] = part
        distances[others[:, None], rows] = part.T
    return Distance(language.max_length + 1, lambda rows, others: distances[rows[:, None], others])


def _edits(left: Array, heights: Array, right: Array, widths: Array, kind: Any) -> Array:
    """Return the edit distances between the messages of two arrays, by dynamic programming."""
    shape = (len(left), len(right))
    result = np.zeros(shape, kind)
    lines = np.empty((int(widths.max()) + 1, *shape), kind)  # the table's row, for every pair
    lines[:] = np.arange(len(lines))[:, None, None]
    best, corner, above = np.empty((3, *shape), kind)
    for row in range(int(heights.max())):
        corner[:] = lines[0]
        lines[0] = row + 1
        for column in range(len(lines) - 1):
            above[:] = lines[column + 1]
            np.minimum(above, lines[column], out=best)
            best += 1
            corner += left[:, row, None] != right[:, column]
            np.minimum(best, corner, out=lines[column + 1])
            corner, above = above, corner
        ended = np.flatnonzero(heights == row + 1)
        result[ended] = lines[widths, ended[:, None], np.arange(len(right))]
    return result


def edit_by_length(language: Language, edits: Distance) -> Distance:
    """Return ``edits`` divided by the mean length of both messages, as an index of the quotient."""
    used = np.unique(language.lengths)
    sums = np.unique(used[:, None] + used)
    quotients = np.arange(edits.size) / (sums[:, None] / 2)
    values = np.unique(quotients)
    index = np.zeros((int(sums[-1]) + 1, edits.size), np.int64)  # [sum of lengths, edit distance]
    index[sums] = np.searchsorted(values, quotients)

    def block(rows: Array, others: Array) -> Array:
        lengths = language.lengths[rows, None] + language.lengths[others]
        return index[lengths, edits.block(rows, others)]

    return Distance(len(values), block)


def colors(language: Language) -> Distance:
    """Return the sum over colours of the difference in the number of cells, 0 to 1800."""
    assert language.grids is not None
    counts = color_counts(language.grids).numpy().astype(np.int16)

    def block(rows: Array, others: Array) -> Array:
        total = np.zeros((len(rows), len(others)), np.int16)
        for column in counts.T:
            total += np.abs(column[rows, None] - column[others])
        return total

    return Distance(2 * int(counts.sum(1).max()) + 1, block)


def cells(language: Language) -> Distance:
    """Return the number of different cells, 0 to 900, for pairs of grids of equal size."""
    assert language.grids is not None
    grids = [grid.ravel() for grid in language.grids.arrays()]
    sizes = language.grids.sizes.cpu().numpy()
    kinds, number = np.unique(sizes, axis=0, return_inverse=True)
    groups = [np.flatnonzero(number.reshape(-1) == kind) for kind in range(len(kinds))]

    def block(rows: Array, others: Array) -> Array:
        left, right = (np.stack([grids[example] for example in part]) for part in (rows, others))
        same = np.zeros((len(rows), len(others)), np.float32)
        for color in np.intersect1d(left, right):
            same += (left == color).astype(np.float32) @ (right == color).astype(np.float32).T
        return left.shape[1] - same.astype(np.int64)

    return Distance(int(kinds.prod(1).max()) + 1, block, groups)


def cosine(language: Language) -> Distance:
    """Return the cosine distance of embeddings in steps of 0.0001; a zero vector has 1 to all."""
    assert language.embeddings is not None
    norms = np.linalg.norm(language.embeddings, axis=1, keepdims=True)
    unit = language.embeddings / np.where(norms > 0, norms, 1)
    steps = round(2 / COSINE_STEP)

    def block(rows: Array, others: Array) -> Array:
        distance = (1 - unit[rows] @ unit[others].T) / COSINE_STEP
        return distance.round().astype(np.int64).clip(0, steps)

    return Distance(steps + 1, block)


def joint_counts(language: Language, left: Distance, right: Distance) -> Array:
    """Count the pairs of examples with each combination of distances: int64 [left, right]."""
    total = np.zeros(left.size * right.size, np.int64)
    for rows, others in _tiles(right.groups or [np.arange(len(language))]):
        codes = _codes(left, right, rows, others)
        counts = np.bincount(codes, minlength=len(total))
        if rows is others:  # each pair is counted twice, and each example with itself
            counts -= np.bincount(codes[:: len(rows) + 1], minlength=len(total))
            counts //= 2
        total += counts
    return total.reshape(left.size, right.size)


def spearman(joint: Array) -> Array:
    """Return Spearman's rank correlation from counts of pairs of values: float64 [...].

    ``joint``: numbers [..., left, right]. Tied values share their mean rank. 0 if a side is
    constant.
    """
    joint = joint.astype(np.float64)
    total = joint.sum((-2, -1), keepdims=True)
    first, second = joint.sum(-1, keepdims=True), joint.sum(-2, keepdims=True)
    x = first.cumsum(-2) - (first + total) / 2
    y = second.cumsum(-1) - (second + total) / 2
    scale = np.sqrt((first * x**2).sum((-2, -1)) * (second * y**2).sum((-2, -1)))
    product = (joint * y).sum(-1, keepdims=True)
    covariance = (product * x).sum((-2, -1))
    return np.clip(covariance / np.where(scale > 0, scale, 1), -1.0, 1.0)


@register("topographic_similarity", "fast")
def topographic_similarity(language: Language, generator: Generator) -> dict[str, float]:
    """Return Spearman's correlation of the distances of messages and of meanings, over all pairs.

    - ``topsim_hamming``: positions that differ, against concepts that differ.

    In [-1, 1]; 1: more different messages have more different meanings; 0 if all pairs have the
    same distance. Of more than 5,000 examples, 5,000 are drawn. Brighton & Kirby (2006); the rank
    correlation is that of Lazaridou et al. (2018).
    """
    part = _sample(language, generator)
    value = spearman(joint_counts(part, hamming(part.symbols), concepts(part)))
    return {"topsim_hamming": float(value)}


@register("edit_similarity", "slow")
def edit_similarity(language: Language, generator: Generator) -> dict[str, float]:
    """Return topographic similarity by edit distance, against every distance of meanings.

    - ``topsim_edit``: against concepts that differ. A language that names three attributes by one
      symbol each has 0.942149 if they have 5 values, and 0.948490 if they have 6.
    - ``topsim_edit_length``: the same, the edit distance divided by the mean length.
    - ``topsim_edit_colors``, ``topsim_edit_cells``: against the colour histogram, and against the
      cells of grids of equal size, if the language has grids.
    - ``topsim_edit_embeddings``: against the cosine distance of embeddings, if it has them.

    In [-1, 1], as ``topsim_hamming``. The number of examples drawn is less than 5,000 for messages
    of more than 15 symbols.
    """
    part = _sample(language, generator, language.max_length)
    edits = edit(part)
    meanings = {"topsim_edit": concepts(part)}
    if part.grids is not None:
        meanings |= {"topsim_edit_colors": colors(part), "topsim_edit_cells": cells(part)}
    if part.embeddings is not None:
        meanings["topsim_edit_embeddings"] = cosine(part)
    values = {
        name: float(spearman(joint_counts(part, edits, meaning)))
        for name, meaning in meanings.items()
    }
    values["topsim_edit_length"] = values["topsim_edit"]
    if len(np.unique(part.lengths)) > 1:
        ratios = joint_counts(part, edit_by_length(part, edits), concepts(part))
        values["topsim_edit_length"] = float(spearman(ratios))
    return values


@dataclass(frozen=True)
class SimilarityTest:
    """A topographic similarity with its interval and its p-value.

    ``low`` and ``high``: the 2.5 and 97.5 percentiles over bootstrap resamples of the examples, or
    of the groups. ``p_value``: the share of random assignments of messages to examples, the
    actual one included, with at least the same value; for more than 500 examples, in a sample of
    500.
    """

    value: float
    low: float
    high: float
    p_value: float


def similarity_test(
    language: Language,
    generator: Generator,
    *,
    message: Distance | None = None,
    meaning: Distance | None = None,
    groups: Array | None = None,
    resamples: int = 200,
    permutations: int = 499,
) -> SimilarityTest:
    """Return a topographic similarity with a bootstrap interval and a p-value.

    ``message`` and ``meaning`` are distances of this module, such as ``edit(language)`` and
    ``cosine(language)``; the default is the one of ``topsim_hamming``. ``groups``: int [N], such
    as the puzzle of each example; whole groups are then resampled. Pairs of an example with itself
    are left out of resamples. Takes about ten seconds for 3,500 examples.
    """
    message, meaning = message or hamming(language.symbols), meaning or concepts(language)
    value = float(spearman(joint_counts(language, message, meaning)))
    names = (
        np.arange(len(language)) if groups is None else np.unique(groups, return_inverse=True)[1]
    )
    number = int(names.max()) + 1
    draws = torch.randint(number, (resamples, number), generator=generator).numpy()
    weights = np.stack([np.bincount(draw, minlength=number)[names] for draw in draws])
    low, high = np.quantile(_resampled(language, message, meaning, weights), [0.025, 0.975])
    p_value = _permuted(language, message, meaning, permutations, generator)
    return SimilarityTest(value, float(low), float(high), p_value)


def _resampled(language: Language, left: Distance, right: Distance, weights: Array) -> Array:
    """Return the correlation with each row of ``weights``, int [resamples, N]: [resamples]."""
    totals = np.zeros((len(weights), left.size * right.size))
    for rows, others in _tiles(right.groups or [np.arange(len(language))]):
        codes = _codes(left, right, rows, others)
        for total, weight in zip(totals, weights.astype(np.float64), strict=True):
            pairs = weight[rows, None] * weight[others]
            if rows is others:
                np.fill_diagonal(pairs, 0)
                pairs /= 2
            total += np.bincount(codes, pairs.ravel(), len(total))
    return spearman(totals.reshape(-1, left.size, right.size))


def _permuted(
    language: Language, left: Distance, right: Distance, permutations: int, generator: Generator
) -> float:
    """Return the one-sided p-value of a permutation test (Mantel, 1967)."""
    chosen = torch.randperm(len(language), generator=generator)[:500].numpy()
    group = np.zeros(len(language))
    for number, members in enumerate(right.groups or []):
        group[members] = number
    one, valid = left.block(chosen, chosen).astype(np.int64), group[chosen, None] == group[chosen]
    np.fill_diagonal(valid, False)
    place = np.nonzero(valid)
    keys = np.zeros(len(place[0]), np.int64)
    for number in np.unique(group[chosen]):
        members = group[chosen] == number
        inside = members[place[0]]
        part = right.block(chosen[members], chosen[members])
        keys[inside] = part[~np.eye(len(part), dtype=bool)]

    def value(order: Array) -> float:
        codes = one[np.ix_(order, order)][valid] * right.size + keys
        joint = np.bincount(codes, minlength=left.size * right.size)
        return float(spearman(joint.reshape(left.size, right.size)))

    observed = value(np.arange(len(chosen)))
    orders = (torch.randperm(len(chosen), generator=generator).numpy() for _ in range(permutations))
    at_least = sum(value(order) >= observed - 1e-12 for order in orders)
    return (1 + at_least) / (1 + permutations)


def _sample(language: Language, generator: Generator, steps_per_side: int = 1) -> Language:
    limit = min(MAX_EXAMPLES, int(MAX_STEPS**0.5 / steps_per_side))
    if len(language) <= limit:
        return language
    return language[torch.randperm(len(language), generator=generator)[:limit].numpy()]


def _tiles(groups: list[Array]) -> Iterator[tuple[Array, Array]]:
    """Yield blocks of examples (rows, columns) that cover each pair of a group once.

    Where the pairs are those within a block, the two are one object.
    """
    for group in groups:
        parts = [group[start : start + TILE] for start in range(0, len(group), TILE)]
        for number, rows in enumerate(parts):
            yield from ((rows, others) for others in parts[number:])


def _codes(left: Distance, right: Distance, rows: Array, others: Array) -> Array:
    """Return the two distances of each pair as one integer: int64 [pairs]."""
    codes = left.block(rows, others).astype(np.int64)
    codes *= right.size
    codes += right.block(rows, others)
    return codes.ravel()


def _compact(values: Array) -> Array:
    """Return non-negative integers in the smallest type."""
    return values.astype(np.min_scalar_type(int(values.max())))
