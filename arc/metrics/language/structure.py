"""Whether messages are sums of parts, and whether a message has a consistent meaning."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from torch import Generator

from arc.metrics.concepts import Array, ConceptTable
from arc.metrics.language.base import Language, register


@register("tree_reconstruction_error", "slow")
def tree_reconstruction_error(language: Language, generator: Generator) -> dict[str, float]:
    """Return the error of messages as sums of parts, one for each value of a concept.

    - ``tre``: the tree reconstruction error of Andreas (ICLR 2019) with addition as composition
      and squared distance: messages are one-hot vectors of all positions, the end of a message
      included. Each value of each concept has a vector, and these are fitted by least squares to
      give a message as the sum of its values' vectors. The residual sum of squares is divided by
      that of the mean message. In [0, 1]: 0 if every message is such a sum, or all are equal.

    With many values, the fit is close for any messages; compare with the floors. ``puzzle`` is
    left out.
    """
    attributes = language.concepts.attributes
    sizes, number, basis = attributes.sizes, len(language), _basis(attributes)
    total = explained = 0.0
    for column in language.symbols.T:
        used, symbol = np.unique(column, return_inverse=True)
        shares = np.bincount(symbol) / number
        counts = [
            np.bincount(codes * len(used) + symbol, minlength=size * len(used)).reshape(size, -1)
            for codes, size in zip(attributes.codes, sizes, strict=True)
        ]
        squares = (basis.T @ np.concatenate(counts)) ** 2
        total += number * (1 - (shares**2).sum())
        explained += squares.sum() - number * (shares**2).sum()
    return {"tre": float(np.clip(1 - explained / total, 0, 1)) if total > 1e-9 else 0.0}


@register("semantic_consistency", "fast")
def semantic_consistency(language: Language, generator: Generator) -> dict[str, float]:
    """Return how alike the meanings of equal messages are.

    - ``semantic_consistency``: 1 - Var(meaning | message) / Var(meaning), the share of the variance
      of meanings that messages explain. A meaning is the one-hot vector of all concepts but
      ``puzzle``. In [0, 1]; 0 if the meanings are constant. Zion et al. (2024, arXiv:2411.10173)
      call messages consistent if the variance given the message is less than the whole.
    - ``semantic_consistency_adjusted``: (value - e) / (1 - e), where e = (M - 1) / (N - 1) is the
      value of M distinct messages for N grids expected by chance. At most 1; 0 by chance, and if
      every message is distinct.

    Equal grids count once, with the message of the first: copies of a grid have equal messages
    in any language.
    """
    language = language[language.different_grids]
    ids, number = language.message_ids, len(language)
    groups = np.bincount(ids)
    total = within = 0.0
    attributes = language.concepts.attributes
    for codes, size in zip(attributes.codes, attributes.sizes, strict=True):
        cells = np.unique(ids * size + codes, return_counts=True)
        squares = np.bincount(cells[0] // size, cells[1].astype(np.float64) ** 2)
        total += number - _squares(np.bincount(codes)) / number
        within += float((groups - squares / groups).sum())
    value = float(np.clip(1 - within / total, 0, 1)) if total > 1e-9 else 0.0
    expected = (len(groups) - 1) / max(number - 1, 1)
    adjusted = (value - expected) / (1 - expected) if expected < 1 and total > 1e-9 else 0.0
    return {"semantic_consistency": value, "semantic_consistency_adjusted": adjusted}


@lru_cache(maxsize=1)
def _basis(concepts: ConceptTable) -> Array:
    """Return a matrix that makes the one-hot vectors of all values orthonormal: [values, rank]."""
    starts = np.cumsum([0, *concepts.sizes[:-1]])
    design = np.zeros((len(concepts), sum(concepts.sizes)))
    design[np.arange(len(concepts)), concepts.codes + starts[:, None]] = 1
    eigenvalues, vectors = np.linalg.eigh(design.T @ design)
    kept = eigenvalues > 1e-9 * eigenvalues[-1]
    return vectors[:, kept] / np.sqrt(eigenvalues[kept])


def _squares(counts: Array) -> float:
    return float((counts.astype(np.float64) ** 2).sum())
