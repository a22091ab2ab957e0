"""A codec of grids: a context model with arithmetic coding, the reference for discrete messages.

The colours of a grid of known size are coded cell by cell, in reading order. Each cell's
distribution mixes the counts of several contexts: patterns of earlier neighbours, the position,
and copies of earlier cells (repeated, mirrored). Some counts are fitted on training grids, the
others are made within the grid. The mixture is geometric, with fitted weights, as in PAQ
(Mahoney, 2005).

A message is one of N messages; V symbols at L positions give N = V^L. Message m stands for the
point m / N of arithmetic coding. A grid is decoded exactly if its interval contains such a point,
which is certain if its code has at most log2 N bits. If N is too small, the decoder follows the
point until log2 N bits are spent, and then takes the most probable colour of each cell.

Colours are coded as ranks: the most frequent colour so far, the colours of the neighbours, other
colours by how recently they occurred, and colours that have not occurred. All probabilities come
from integers and from floating-point operations that IEEE 754 defines exactly, so that encoder
and decoder agree.

Shapes: B grids, S contexts with fitted counts, A contexts with counts of the grid, F = S + A,
P earlier cells that may be copied.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from arc.data.grids import MAX_GRID_SIZE, NUM_COLORS, Grids, content_key

Array = np.ndarray[Any, Any]

BATCH = 256  # grids that are coded side by side
BITS = 16  # of a cell's frequencies, whose sum is TOTAL
TOTAL = 1 << BITS
OUTSIDE = NUM_COLORS  # the colour of cells outside the grid and of cells that are not coded yet
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
# Copies: shifted, mirrored left to right, mirrored top to bottom, transposed.
COPIES = np.cumsum([0, len(SHIFTS), len(AXES), len(AXES), 1])
PARENT = (0, 0, 1, 2, 3, 1, 1, 1, 1, 1, 1, 1, 1)  # the context that a fitted context refines
BASE = 4  # the fitted context that the contexts within the grid refine
PRIOR = (4.0, 2.0, 1.0, 0.5, 0.3, 1.0)  # cells that BASE counts for, for each of them
BUCKETS = np.array([min(count.bit_length(), 7) for count in range(256)])  # of scores
SELECTORS = np.array([0, 16, 24])  # the first row of weights of each selector
ROWS = 32
# 256 log2(p) of a probability in units of 1 / TOTAL, and the inverse for 256 log2(1 / p).
LOG = np.array([round(256 * math.log2((p + 1) / (TOTAL + 1))) for p in range(TOTAL + 1)])
EXP = np.array([round(2 ** (22 - d / 256)) for d in range(22 * 256)] + [0])
WEIGHT = 12  # bits of the fraction of a weight
FOLDS, SAMPLE, EPOCHS, MINIBATCH, RATE = 4, 120_000, 12, 2048, 0.02  # of fitting the weights


@dataclass(frozen=True)
class _Cells:
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


Choose = Callable[[Array, int, _Cells], Array]


class _Canvas:
    """The state of B grids that are coded side by side; ``sizes`` [B, 2], largest first."""

    def __init__(self, sizes: Array, order: Array) -> None:
        grids = len(sizes)
        self.height, self.width = sizes.T
        self.order = order
        self.colors = np.full((grids, STRIDE * STRIDE + MARGIN), OUTSIDE, np.uint8)
        self.counts = np.zeros((grids, len(PRIOR), OWN_SLOTS, NUM_COLORS), np.uint16)
        self.seen = np.zeros((grids, NUM_COLORS), np.int64)
        self.last = np.zeros((grids, NUM_COLORS), np.int64)  # the step of the last occurrence
        self.scores = np.zeros((grids, COPIES[-1]), np.int16)  # how well each copy predicted
        self.run = np.zeros(grids, np.int64)  # equal cells up to the left neighbour
        self.agreeing = np.zeros(grids, np.int64)  # cells since the row differed from that above

    def cells(self, grids: int, step: int) -> _Cells:
        """Return what is known of cell ``step`` of the first ``grids`` grids."""
        height, width, every = self.height[:grids], self.width[:grids], np.arange(grids)[:, None]
        row, column = step // width, step % width
        place = (row + MARGIN) * STRIDE + column + MARGIN
        near = self.colors[every, place[:, None] - _steps(NEIGHBORS)]
        copies = self.colors[every, self._copied(height, width, row, column, place)]
        colors, labels = self._ranks(near[:, :NAMED], step)
        run = np.where(column > 0, self.run[:grids], 0)
        agreeing = np.where(column > 0, self.agreeing[:grids], 1)
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
            _key(np.minimum(agreeing, 7), n, w, ne, row > 0),
            _key(np.minimum(run, 15), np.minimum(width - column, 15), w, n, ne),
            *(_key(copied[kind], score[kind], w, n) for kind in range(4)),
            _key(*copied[:3], *score[:3]),
        ]
        near_colors = near.T.astype(np.int64)
        own = [_key(near_colors[0] * 0), *(_key(*near_colors[:k]) for k in (2, 4, 6, 10))]
        slots = np.stack([_slot(key, OWN_SLOTS) for key in [*own, _key(w, n, nw, ne)]], 1)
        index = np.repeat(colors[:, None], len(PRIOR), 1)
        index[:, -1] = np.arange(NUM_COLORS)  # the last context counts ranks
        contexts = np.arange(len(PRIOR))[None, :, None]
        counts = self.counts[every[:, :, None], contexts, slots[:, :, None], index]
        total, most = counts[:, 3].sum(1), counts[:, 3].max(1)
        trust = 4 * np.minimum(total, 3) + 2 * (most == total) + (counts[:, 4].any(1))
        rows = np.stack([trust, score[0], np.maximum(score[1], score[2])], 1) + SELECTORS
        fitted = np.stack([_slot(key, FITTED_SLOTS) for key in keys], 1)
        fitted += np.arange(len(PARENT)) * FITTED_SLOTS
        return _Cells(place, colors, fitted, slots, counts, rows.astype(np.int64), copies)

    def _copied(
        self, height: Array, width: Array, row: Array, column: Array, place: Array
    ) -> Array:
        """Return the indices of the cells that may be copied, 0 for none: [B, P]."""
        start, top = (place - column)[:, None], (MARGIN * STRIDE + MARGIN + column)[:, None]
        across, down = AXES - column[:, None], AXES - row[:, None]
        inside = (across >= 0) & (across < width[:, None])
        flipped = (column + MARGIN) * STRIDE + row + MARGIN
        return np.concatenate(
            [
                place[:, None] - _steps(SHIFTS),
                np.where(inside, start + across, 0),
                np.where((down >= 0) & (down < height[:, None]), top + down * STRIDE, 0),
                np.where((column < height) & (row < width), flipped, 0)[:, None],
            ],
            1,
        )

    def _best_copies(self, copies: Array) -> tuple[Array, Array]:
        """Return the colour of the best copy of each kind [B, 4] and its score [4, B]."""
        every = np.arange(len(copies))
        scores = np.where(copies == OUTSIDE, -1, self.scores[: len(copies)])
        colors, best = [], []
        for start, stop in zip(COPIES, COPIES[1:], strict=False):
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

    def put(self, cells: _Cells, ranks: Array, step: int) -> None:
        """Set the colours of ``cells`` and update the counts."""
        grids, every = len(ranks), np.arange(len(ranks))
        colors = cells.colors[every, ranks]
        left, up = (self.colors[every, cells.place - back] for back in (1, STRIDE))
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
        start = step % self.width[:grids] == 0
        self.run[:grids] = np.where((colors == left) & ~start, self.run[:grids] + 1, 1)
        before = np.where(start, 1, self.agreeing[:grids])
        self.agreeing[:grids] = np.where(colors == up, before + 1, 0)


class Codec:
    """A context model of grids; ``Codec.fit`` makes one.

    ``counts`` [S x slots, 10]: how often each rank followed a context. ``weights`` [ROWS, F]:
    weights of the mixture, in units of 2^-WEIGHT. ``order`` [10]: position of each colour among
    the colours by frequency.
    """

    _fitted: ClassVar[dict[bytes, Codec]] = {}

    def __init__(self, counts: Array, weights: Array, order: Array) -> None:
        self._counts, self._weights, self._order = counts, weights, order

    @classmethod
    def fit(cls, grids: Grids, on_chunk: Callable[[], None] = lambda: None) -> Codec:
        """Fit a codec to training grids, or return the one fitted to the same grids before.

        ``on_chunk`` is called before each batch of grids; it may raise to end the fit.
        """
        key = hashlib.sha256(b"".join(map(content_key, grids.arrays()))).digest()
        if key not in cls._fitted:
            cls._fitted[key] = cls(*_fit(grids, on_chunk))
        return cls._fitted[key]

    def bits(self, grids: Grids, on_chunk: Callable[[], None] = lambda: None) -> Tensor:
        """Return the length of each grid's code, -log2 of its probability: float64 [B]."""
        wanted, bits = _reading_order(grids), np.zeros(len(grids))

        def choose(index: Array, step: int, cells: _Cells) -> Array:
            ranks = cells.rank(wanted[index, step])
            frequencies = self._frequencies(cells)[np.arange(len(ranks)), ranks]
            bits[index] += BITS - np.log2(frequencies)
            return ranks

        _walk(grids.sizes.cpu().numpy(), self._order, choose, on_chunk)
        return torch.from_numpy(bits)

    def encode(
        self, grids: Grids, num_messages: int, on_chunk: Callable[[], None] = lambda: None
    ) -> list[int]:
        """Return a message for each grid, 0 to ``num_messages - 1``.

        A grid whose code has at most log2(num_messages) bits is decoded exactly.
        """
        wanted, points = _reading_order(grids), [_Interval(num_messages) for _ in range(len(grids))]

        def choose(index: Array, step: int, cells: _Cells) -> Array:
            ranks, every = cells.rank(wanted[index, step]), np.arange(len(index))
            if any(points[grid].is_open for grid in index):
                frequencies = self._frequencies(cells)
                ends = frequencies.cumsum(1)[every, ranks].tolist()
                widths = frequencies[every, ranks].tolist()
                for grid, end, width in zip(index.tolist(), ends, widths, strict=True):
                    if points[grid].is_open:
                        points[grid].narrow(end - width, width)
            return ranks

        _walk(grids.sizes.cpu().numpy(), self._order, choose, on_chunk)
        return [point.message for point in points]

    def decode(
        self,
        messages: list[int],
        num_messages: int,
        sizes: Tensor,
        on_chunk: Callable[[], None] = lambda: None,
    ) -> Grids:
        """Return the grids of ``sizes`` [B, 2] that ``messages`` stand for.

        Raises ValueError if a message does not lie in 0 to ``num_messages - 1``.
        """
        if not all(0 <= message < num_messages for message in messages):
            raise ValueError(f"messages must lie in 0 to {num_messages - 1}")
        shapes = sizes.cpu().numpy()
        built = np.zeros((len(shapes), MAX_GRID_SIZE**2), np.uint8)
        points = [_Point(message, num_messages) for message in messages]

        def choose(index: Array, step: int, cells: _Cells) -> Array:
            frequencies = self._frequencies(cells)
            ranks = frequencies.argmax(1)
            open_ = [k for k, grid in enumerate(index.tolist()) if points[grid].is_open]
            for k in open_:
                ranks[k] = points[index[k]].next(frequencies[k].tolist())
            built[index, step] = cells.colors[np.arange(len(ranks)), ranks]
            return ranks

        _walk(shapes, self._order, choose, on_chunk)
        arrays = [
            cells[: height * width].reshape(height, width)
            for cells, (height, width) in zip(built, shapes.tolist(), strict=True)
        ]
        return Grids.from_arrays(arrays)

    def _frequencies(self, cells: _Cells) -> Array:
        """Return the frequencies of the ranks, int64 [B, 10] with sums of TOTAL."""
        logs = _log_probabilities(self._counts[cells.fitted], cells.counts)
        weights = self._weights[cells.rows].sum(1)
        logits = np.einsum("bf,bfk->bk", weights, logs) >> WEIGHT
        gaps = logits.max(1, keepdims=True) - logits
        shares = EXP[np.minimum(gaps, len(EXP) - 1)]
        frequencies = 1 + shares * (TOTAL - NUM_COLORS) // shares.sum(1, keepdims=True)
        best = frequencies.argmax(1)
        frequencies[np.arange(len(best)), best] += TOTAL - frequencies.sum(1)
        return frequencies


class _Interval:
    """The encoder's interval of [0, 1), as integers over 2^shift, and the message chosen in it."""

    def __init__(self, num_messages: int) -> None:
        self._messages = num_messages
        self._low, self._width, self._shift = 0, 1, 0
        self.message, self.is_open = 0, True

    def narrow(self, start: int, width: int) -> None:
        """Take the part of ``width`` from ``start`` on, in units of 1 / TOTAL.

        If it contains no message, the message next to it, in the whole, is kept and the interval
        is closed.
        """
        low, high = self._low << BITS, (self._low + self._width) << BITS
        self._low, self._width = low + self._width * start, self._width * width
        self._shift += BITS
        first = -((-self._low * self._messages) >> self._shift)
        stop = self._low + self._width
        self.is_open = first << self._shift < stop * self._messages
        in_whole = first << self._shift < high * self._messages
        self.message = first if in_whole else first - 1


class _Point:
    """The decoder's position in its interval, as integers over num_messages x 2^shift."""

    def __init__(self, message: int, num_messages: int) -> None:
        self._messages, self._offset = num_messages, message
        self._width, self._shift = 1, 0

    @property
    def is_open(self) -> bool:
        """Whether the bits are not spent: the interval is at least 1 / num_messages wide."""
        return self._width * self._messages >= 1 << self._shift

    def next(self, frequencies: list[int]) -> int:
        """Return the rank whose part of the interval contains the point, and go on with it."""
        scale = self._width * self._messages
        target, start = (self._offset << BITS) // scale, 0
        for rank, width in enumerate(frequencies):
            if target < start + width:
                break
            start += width
        self._offset = (self._offset << BITS) - scale * start
        self._width, self._shift = self._width * width, self._shift + BITS
        return rank


def _walk(
    sizes: Array, order: Array, choose: Choose, on_chunk: Callable[[], None] = lambda: None
) -> None:
    """Code grids of ``sizes`` [B, 2] cell by cell.

    ``choose`` gets the indices of the grids, the step and their cells, and returns their ranks.
    """
    cells = sizes.prod(1)
    largest_first = np.argsort(-cells, kind="stable")
    for first in range(0, len(sizes), BATCH):
        on_chunk()
        index = largest_first[first : first + BATCH]
        canvas = _Canvas(sizes[index], order)
        for step in range(cells[index[0]]):
            grids = int((cells[index] > step).sum())
            known = canvas.cells(grids, step)
            canvas.put(known, choose(index[:grids], step, known), step)


def _log_probabilities(fitted: Array, own: Array) -> Array:
    """Return 256 log2 of each context's probabilities: int64 [B, F, 10].

    ``fitted`` [B, S, 10] and ``own`` [B, A, 10] are counts.
    """
    contexts = len(PARENT)
    p = np.empty((len(fitted), contexts + len(PRIOR), NUM_COLORS))
    totals = fitted.sum(2, keepdims=True) + 1.0
    p[:, 0] = (fitted[:, 0] + 0.1) / totals[:, 0]
    for context in range(1, contexts):
        p[:, context] = (fitted[:, context] + p[:, PARENT[context]]) / totals[:, context]
    prior = np.array(PRIOR)[:, None]
    counted = own.sum(2, keepdims=True) + prior
    p[:, contexts:] = (own + prior * p[:, BASE, None]) / counted
    return LOG[(p * TOTAL).astype(np.int64)]


def _fit(grids: Grids, on_chunk: Callable[[], None]) -> tuple[Array, Array, Array]:
    """Return the counts, weights and order of a Codec; see there."""
    wanted, sizes = _reading_order(grids), grids.sizes.cpu().numpy()
    inside = np.arange(wanted.shape[1]) < sizes.prod(1)[:, None]
    order = np.bincount(wanted[inside], minlength=NUM_COLORS).argsort(kind="stable")[::-1].argsort()
    parts: dict[str, list[Array]] = {name: [] for name in ("grid", "rank", "fitted", "own", "rows")}

    def choose(index: Array, step: int, cells: _Cells) -> Array:
        ranks = cells.rank(wanted[index, step])
        found = (index, ranks, cells.fitted, cells.counts, cells.rows)
        for part, values in zip(parts.values(), found, strict=True):
            part.append(values.astype(np.int32))
        return ranks

    _walk(sizes, order, choose, on_chunk)
    grid, rank, fitted, own, rows = (np.concatenate(part) for part in parts.values())
    size = len(PARENT) * FITTED_SLOTS

    def count(chosen: Array) -> Array:
        slots = fitted[chosen].astype(np.int64) * NUM_COLORS + rank[chosen, None]
        return np.bincount(slots.ravel(), minlength=size * NUM_COLORS).reshape(size, NUM_COLORS)

    counts = count(np.ones(len(rank), bool)).astype(np.int32)
    # Weights are fitted to counts of other grids; puzzles are contiguous, and so are the folds.
    generator = np.random.default_rng(0)
    chosen = generator.permutation(len(rank))[:SAMPLE]
    fold = grid[chosen] * FOLDS // len(grids)
    logs = np.empty((len(chosen), len(PARENT) + len(PRIOR), NUM_COLORS), np.float32)
    for number in range(FOLDS):
        on_chunk()
        those = chosen[fold == number]
        others = counts - count(grid * FOLDS // len(grids) == number)
        logs[fold == number] = _log_probabilities(others[fitted[those]], own[those])
    weights = _fit_weights(logs, rows[chosen], rank[chosen], generator)
    return counts, np.round(weights * (1 << WEIGHT)).astype(np.int64), order


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
        gradient = np.zeros_like(weights)
        for selector in range(selectors):
            np.add.at(gradient, row[:, selector], by_cell)
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.99 * square + 0.01 * gradient**2
        rate = RATE * (1 - step / steps)
        scale = np.sqrt(square / (1 - 0.99 ** (step + 1))) + 1e-8
        weights -= rate * mean / (1 - 0.9 ** (step + 1)) / scale
    return weights


def _reading_order(grids: Grids) -> Array:
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
    """Hash keys [B] to 0 .. slots - 1, a power of two."""
    mixed = (key.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    return (mixed >> np.uint64(65 - slots.bit_length())).astype(np.int64)
