"""A context model of grids: the probability of each cell's colour, given the cells before it.

The cells of a grid of known size come in reading order. Each cell's distribution mixes the counts
of several contexts: patterns of earlier neighbours, the position, and copies of earlier cells
(shifted or mirrored). Some counts are fitted on training grids, the others are made within the
grid. The mixture is geometric, with fitted weights, as in PAQ (Mahoney, 2005).

Colours are modelled as ranks: the most frequent colour so far, the colours of the neighbours, other
colours by how recently they occurred, and colours that have not occurred. A fitted model computes
probabilities from integers and by floating-point operations that IEEE 754 defines exactly, so that
they do not depend on how many grids are modelled side by side or on the machine.

Shapes: B grids, S contexts with fitted counts, A contexts with counts of the grid, F = S + A,
P earlier cells that may be copied.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np

from arc.data.grids import MAX_GRID_SIZE, NUM_COLORS, Grids

Array = np.ndarray[Any, Any]

BATCH, CHUNK = 256, 64  # grids that are modelled side by side; cells between calls of on_chunk
BITS = 16  # of a cell's frequencies, whose sum is TOTAL
TOTAL = 1 << BITS
OUTSIDE = NUM_COLORS  # the colour of cells outside the grid and of cells that are still to come
MARGIN = 12  # cells around a grid
STRIDE = MAX_GRID_SIZE + MARGIN
FITTED_SLOTS, OWN_SLOTS = 1 << 16, 1 << 10  # of the hash tables of counts
# Rows up and columns left of the neighbours, nearest first.
NEIGHBORS = (
    *((0, 1), (1, 0), (1, 1), (1, -1), (0, 2), (2, 0)),
    *((1, -2), (1, 2), (2, -1), (2, 1), (0, 3), (3, 0)),
)
NAMED = 6  # neighbours whose colours have ranks of their own
SHIFTS = (
    *((0, left) for left in range(1, MARGIN + 1)),
    *((up, left) for up in range(1, MARGIN + 1) for left in range(-MARGIN, MARGIN + 1)),
)
AXES = np.arange(2 * MAX_GRID_SIZE - 1)  # twice the middle between a cell and its mirror image
COPIES = np.cumsum([0, len(SHIFTS), len(AXES), len(AXES)])  # shifts, and mirrored columns and rows
PARENT = (0, 0, 1, 2, 3, 1, 1, 1, 1, 1)  # the context that a fitted context refines
BASE = 4  # the fitted context that the contexts within the grid refine
PRIOR = np.array([4.0, 2.0, 1.0, 0.5, 0.3, 1.0])[:, None]  # cells that BASE counts for in them
BUCKETS = np.array([min(score.bit_length(), 7) for score in range(256)])
SELECTORS, ROWS = np.array([0, 16, 24]), 32  # the first row of weights of each selector; all rows
# 256 log2(p) of probabilities in units of 1 / TOTAL; 2^22 p of distances of 256 log2(p) from 0.
LOG = np.array([round(256 * math.log2((p + 1) / (TOTAL + 1))) for p in range(TOTAL + 1)])
EXP = np.array([round(2 ** (22 - distance / 256)) for distance in range(22 * 256)] + [0])
WEIGHT = 12  # bits of the fraction of a weight
FOLDS, SAMPLE, EPOCHS, MINIBATCH, RATE = 4, 100_000, 6, 2048, 0.03  # of fitting the weights


@dataclass(frozen=True)
class NextCells:
    """The next cells of B grids, before their colours are known.

    ``place`` [B]: index on the canvas. ``colors`` [B, 10]: the colour of each rank. ``fitted``
    [B, S] and ``own`` [B, A]: slots of the contexts. ``counts`` [B, A, 10]: counts of the grid,
    by rank. ``rows`` [B, 3]: rows of weights. ``copies`` [B, P]: colours that may be copied.
    """

    place: Array
    colors: Array
    fitted: Array
    own: Array
    counts: Array
    rows: Array
    copies: Array

    def rank(self, colors: Array) -> Array:
        """Return the ranks of ``colors`` [B]."""
        return (self.colors == colors[:, None]).argmax(1)


# Gets the indices of the grids, the step and their cells; returns the ranks of their colours, or
# None to end the batch.
Choose = Callable[[Array, int, NextCells], Array | None]


class ContextModel:
    """A fitted model.

    ``counts`` int32 [S x FITTED_SLOTS, 10]: how often each rank followed a context. ``weights``
    int64 [ROWS, F]: weights of the mixture, in units of 2^-WEIGHT. ``order`` [10]: the position of
    each colour among the colours by frequency.
    """

    def __init__(self, counts: Array, weights: Array, order: Array) -> None:
        self._counts, self._weights, self._order = counts, weights, order

    @classmethod
    def fit(cls, grids: Grids, on_chunk: Callable[[], None]) -> ContextModel:
        """Fit a model to ``grids``, at least one; see ``walk`` for ``on_chunk``.

        All cells are counted as they pass, and the contexts of SAMPLE cells are kept for the
        weights. So memory grows by 8 bytes a cell, beside the colours of the grids.
        """
        wanted, sizes = reading_order(grids), grids.sizes.cpu().numpy()
        inside = np.arange(wanted.shape[1]) < sizes.prod(1)[:, None]
        frequency = np.bincount(wanted[inside], minlength=NUM_COLORS)
        order = (-frequency).argsort(kind="stable").argsort()
        # The weights of a fold's cells are fitted to counts of the other folds. Folds are
        # contiguous, so that most puzzles lie in one fold.
        folds = np.arange(len(grids)) * FOLDS // len(grids)
        counts = np.zeros((FOLDS, len(PARENT) * FITTED_SLOTS, NUM_COLORS), np.int32)
        generator = np.random.default_rng(0)
        sample = _Sample(int(frequency.sum()), generator)

        def choose(index: Array, step: int, cells: NextCells) -> Array:
            ranks = cells.rank(wanted[index, step])
            _count(counts, folds[index], cells.fitted, ranks)
            sample.take(folds[index], ranks, cells.fitted, cells.counts, cells.rows)
            return ranks

        walk(sizes, order, choose, on_chunk)
        fold, ranks, fitted, own, rows = sample.taken()
        total = counts.sum(0, dtype=np.int32)
        logs = np.empty((len(ranks), len(PARENT) + len(PRIOR), NUM_COLORS), np.float32)
        for number, counted in enumerate(counts):
            on_chunk()
            chosen = fold == number
            contexts = fitted[chosen]
            others = total[contexts] - counted[contexts]
            logs[chosen] = _log_probabilities(others, own[chosen])
        weights = _fit_weights(logs, rows, ranks, generator)
        return cls(total, np.round(weights * (1 << WEIGHT)).astype(np.int64), order)

    def walk(self, sizes: Array, choose: Choose, on_chunk: Callable[[], None]) -> None:
        """Pass through grids of ``sizes`` [B, 2] cell by cell; see the function ``walk``."""
        walk(sizes, self._order, choose, on_chunk)

    def frequencies(self, cells: NextCells) -> Array:
        """Return the frequencies of the ranks: positive int64 [B, 10] with sums of TOTAL."""
        logs = _log_probabilities(self._counts[cells.fitted], cells.counts)
        weights = self._weights[cells.rows].sum(1)
        logits = np.einsum("bf,bfk->bk", weights, logs) >> WEIGHT
        distances = logits.max(1, keepdims=True) - logits
        shares = EXP[np.minimum(distances, len(EXP) - 1)]
        frequencies = 1 + shares * (TOTAL - NUM_COLORS) // shares.sum(1, keepdims=True)
        best = frequencies.argmax(1)
        frequencies[np.arange(len(best)), best] += TOTAL - frequencies.sum(1)
        return frequencies


def walk(sizes: Array, order: Array, choose: Choose, on_chunk: Callable[[], None]) -> None:
    """Pass through grids of ``sizes`` [B, 2] cell by cell; ``choose`` gives the colours.

    ``on_chunk`` is called every CHUNK cells of a batch; it may raise to stop.
    """
    cells = sizes.prod(1)
    largest_first = np.argsort(-cells, kind="stable")
    for first in range(0, len(sizes), BATCH):
        index = largest_first[first : first + BATCH]
        canvas = _Canvas(sizes[index], order)
        for step in range(cells[index[0]]):
            if step % CHUNK == 0:
                on_chunk()
            grids = int((cells[index] > step).sum())
            known = canvas.cells(grids, step)
            ranks = choose(index[:grids], step, known)
            if ranks is None:
                break
            canvas.put(known, ranks, step)


class _Canvas:
    """The state of B grids that are modelled side by side; ``sizes`` [B, 2], largest first."""

    def __init__(self, sizes: Array, order: Array) -> None:
        grids = len(sizes)
        self.height, self.width = sizes.T
        self.order = order
        self.colors = np.full((grids, STRIDE * STRIDE + MARGIN), OUTSIDE, np.uint8)
        self.counts = np.zeros((grids, len(PRIOR), OWN_SLOTS, NUM_COLORS), np.uint16)
        self.seen = np.zeros((grids, NUM_COLORS), np.int64)
        self.last = np.zeros((grids, NUM_COLORS), np.int64)  # the step of the last occurrence
        self.scores = np.zeros((grids, COPIES[-1]), np.int16)  # how well each copy predicted

    def cells(self, grids: int, step: int) -> NextCells:
        """Return what is known of cell ``step`` of the first ``grids`` grids."""
        height, width, every = self.height[:grids], self.width[:grids], np.arange(grids)[:, None]
        row, column = step // width, step % width
        place = (row + MARGIN) * STRIDE + column + MARGIN
        near = self.colors[every, place[:, None] - _steps(NEIGHBORS)]
        copies = self.colors[every, self._copied(height, width, row, column, place)]
        colors, labels = self._ranks(near[:, :NAMED], step)
        near_labels = labels[every, near].T
        w, n, nw, ne = near_labels[:4]
        number = np.minimum((self.seen[:grids] > 0).sum(1), 7)
        copied, score = self._best_copies(copies)
        copied = labels[every, copied].T
        edges = [np.minimum(row, 3), np.minimum(column, 3)]
        edges += [np.minimum(height - 1 - row, 3), np.minimum(width - 1 - column, 3)]
        keys = [
            _key(number, row == 0, column == 0),
            _key(number, *near_labels[:4]),
            _key(number, *near_labels[:6]),
            _key(number, *near_labels[:10]),
            _key(number, *near_labels),
            _key(*edges, w, n, nw, ne),
            *(_key(copied[kind], score[kind], w, n) for kind in range(3)),
            _key(*copied, *score),
        ]
        near = near.T.astype(np.int64)
        own_keys = [0 * place, *(_key(*near[:k]) for k in (2, 4, 6, 10)), _key(w, n, nw, ne)]
        own = _slot(np.stack(own_keys, 1), OWN_SLOTS)
        index = np.repeat(colors[:, None], len(PRIOR), 1)
        index[:, -1] = np.arange(NUM_COLORS)  # the last context counts ranks
        contexts = np.arange(len(PRIOR))[:, None]
        counts = self.counts[every[:, :, None], contexts, own[:, :, None], index]
        total, most = counts[:, 3].sum(1), counts[:, 3].max(1)
        trust = 4 * np.minimum(total, 3) + 2 * (most == total) + counts[:, 4].any(1)
        rows = np.stack([trust, score[0], np.maximum(score[1], score[2])], 1).astype(np.int64)
        fitted = _slot(np.stack(keys, 1), FITTED_SLOTS) + np.arange(len(keys)) * FITTED_SLOTS
        return NextCells(place, colors, fitted, own, counts, rows + SELECTORS, copies)

    def _copied(
        self, height: Array, width: Array, row: Array, column: Array, place: Array
    ) -> Array:
        """Return the indices of the cells that may be copied, 0 for none: [B, P]."""
        start, top = (place - column)[:, None], (MARGIN * STRIDE + MARGIN + column)[:, None]
        across, down = AXES - column[:, None], AXES - row[:, None]
        inside = (across >= 0) & (across < width[:, None])
        return np.concatenate(
            [
                place[:, None] - _steps(SHIFTS),
                np.where(inside, start + across, 0),
                np.where((down >= 0) & (down < height[:, None]), top + down * STRIDE, 0),
            ],
            1,
        )

    def _best_copies(self, copies: Array) -> tuple[Array, Array]:
        """Return the colour of the best copy of each kind [B, 3] and its score [3, B]."""
        every = np.arange(len(copies))
        scores = np.where(copies == OUTSIDE, -1, self.scores[: len(copies)])
        colors, best = [], []
        for start, stop in pairwise(COPIES):
            chosen = start + scores[:, start:stop].argmax(1)
            colors.append(copies[every, chosen])
            best.append(BUCKETS[np.maximum(scores[every, chosen], 0)])
        return np.stack(colors, 1), np.stack(best)

    def _ranks(self, near: Array, step: int) -> tuple[Array, Array]:
        """Return the colour of each rank [B, 10] and a label of each colour [B, 11].

        Labels are ranks up to 6; 7 is the label of OUTSIDE.
        """
        every = np.arange(len(near))
        seen, last = self.seen[: len(near)], self.last[: len(near)]
        keys = np.zeros((len(near), NUM_COLORS + 1), np.int64)
        keys[:, :NUM_COLORS] = np.where(seen > 0, 1000 + step - last, 4000 + self.order)
        for position in reversed(range(NAMED)):
            keys[every, near[:, position]] = 1 + position
        keys[every, (2 * seen + (self.order == 0)).argmax(1)] = 0
        colors = keys[:, :NUM_COLORS].argsort(1, kind="stable")
        labels = np.full_like(keys, 7)
        labels[every[:, None], colors] = np.minimum(np.arange(NUM_COLORS), 6)
        return colors, labels

    def put(self, cells: NextCells, ranks: Array, step: int) -> None:
        """Set the colours of ``cells`` and update the counts."""
        grids, every = len(ranks), np.arange(len(ranks))
        colors = cells.colors[every, ranks]
        left = self.colors[every, cells.place - 1]
        self.colors[every, cells.place] = colors
        self.seen[every, colors] += 1
        self.last[every, colors] = step
        index = np.repeat(colors[:, None], len(PRIOR), 1)
        index[:, -1] = ranks
        self.counts[every[:, None], np.arange(len(PRIOR)), cells.own, index] += 1
        scores, gain = self.scores[:grids], np.where(colors == left, 1, 4).astype(np.int16)
        grown = np.minimum(scores + gain[:, None], 255)
        right, known = cells.copies == colors[:, None], cells.copies != OUTSIDE
        self.scores[:grids] = np.where(right, grown, np.where(known, scores >> 2, scores))


def _log_probabilities(fitted: Array, own: Array) -> Array:
    """Return 256 log2 of each context's probabilities: int64 [B, F, 10].

    ``fitted`` [B, S, 10] and ``own`` [B, A, 10] are counts.
    """
    contexts = len(PARENT)
    p = np.empty((len(fitted), contexts + len(PRIOR), NUM_COLORS))
    totals = fitted.sum(2, keepdims=True) + 1.0
    p[:, 0] = (fitted[:, 0] + 1 / NUM_COLORS) / totals[:, 0]
    for context in range(1, contexts):
        p[:, context] = (fitted[:, context] + p[:, PARENT[context]]) / totals[:, context]
    counted = own.sum(2, keepdims=True) + PRIOR
    p[:, contexts:] = (own + PRIOR * p[:, BASE, None]) / counted
    return LOG[(p * TOTAL).astype(np.int64)]


def _count(counts: Array, folds: Array, fitted: Array, ranks: Array) -> None:
    """Add cells to ``counts`` int32 [FOLDS, S x FITTED_SLOTS, 10].

    ``folds`` and ``ranks`` [cells]; ``fitted`` [cells, S]: the contexts that ranks are counted for.
    """
    slots = (folds[:, None] * counts.shape[1] + fitted) * NUM_COLORS + ranks[:, None]
    np.add.at(counts.reshape(-1), slots.ravel(), np.int32(1))


class _Sample:
    """SAMPLE of ``cells`` cells, drawn at random, taken from them as they pass."""

    def __init__(self, cells: int, generator: np.random.Generator) -> None:
        self._drawn = generator.permutation(cells)[:SAMPLE].copy()  # without the rest
        self._ordered = np.sort(self._drawn)
        self._passed = 0
        self._parts: list[tuple[Array, ...]] = []

    def take(self, *values: Array) -> None:
        """Keep the drawn ones of the next cells; each of ``values`` has a row for each cell."""
        stop = self._passed + len(values[0])
        first, last = np.searchsorted(self._ordered, (self._passed, stop))
        if first < last:
            chosen = self._ordered[first:last] - self._passed
            self._parts.append(tuple(each[chosen].astype(np.int32) for each in values))
        self._passed = stop

    def taken(self) -> list[Array]:
        """Return the values of the drawn cells, in the order in which they were drawn."""
        place = np.searchsorted(self._ordered, self._drawn)
        return [np.concatenate(part)[place] for part in zip(*self._parts, strict=True)]


def _fit_weights(logs: Array, rows: Array, ranks: Array, generator: np.random.Generator) -> Array:
    """Return weights [ROWS, F] that minimise the bits of cells, by Adam (Kingma & Ba, 2015).

    ``logs`` float32 [cells, F, 10], ``rows`` [cells, 3], ``ranks`` [cells].
    """
    logs *= np.float32(math.log(2) / 256)
    features, selectors = logs.shape[1], rows.shape[1]
    weights = np.full((ROWS, features), 1.3 / features / selectors)
    mean, square = np.zeros_like(weights), np.zeros_like(weights)
    steps = EPOCHS * -(-len(ranks) // MINIBATCH)
    order = np.concatenate([generator.permutation(len(ranks)) for _ in range(EPOCHS)])
    for step, part in enumerate(np.array_split(order, max(steps, 1))):
        x, row = logs[part], rows[part]
        logits = np.einsum("bf,bfk->bk", weights[row].sum(1).astype(np.float32), x)
        errors = np.exp(logits - logits.max(1, keepdims=True))
        errors /= errors.sum(1, keepdims=True)
        errors[np.arange(len(part)), ranks[part]] -= 1
        by_cell = np.einsum("bk,bfk->bf", errors, x) / len(part)
        chosen = (row[:, :, None] == np.arange(ROWS)).any(1).astype(np.float32)
        gradient = np.einsum("br,bf->rf", chosen, by_cell)
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.99 * square + 0.01 * gradient**2
        rate = RATE * (1 - step / steps)
        scale = np.sqrt(square / (1 - 0.99 ** (step + 1))) + 1e-8
        weights -= rate * mean / (1 - 0.9 ** (step + 1)) / scale
    return weights


def reading_order(grids: Grids) -> Array:
    """Return the colours of each grid row by row, padded with zeros at the end: [B, 900]."""
    colors = np.zeros((len(grids), MAX_GRID_SIZE**2), np.uint8)
    for row, grid in zip(colors, grids.arrays(), strict=True):
        row[: grid.size] = grid.ravel()
    return colors


@cache
def _steps(moves: tuple[tuple[int, int], ...]) -> Array:
    """Return how far back on the canvas rows up and columns left are."""
    return np.array([up * STRIDE + left for up, left in moves])


def _key(*parts: Array) -> Array:
    """Join integers 0 to 15 to one: int64 [B]."""
    key = np.zeros(len(parts[0]), np.int64)
    for part in parts:
        key = key << 4 | part
    return key


def _slot(key: Array, slots: int) -> Array:
    """Hash keys to 0 .. slots - 1, a power of two."""
    mixed = (key.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    return (mixed >> np.uint64(65 - slots.bit_length())).astype(np.int64)
