"""A codec of grids: a context model with arithmetic coding, the baseline for discrete messages.

A message is one of N messages; V symbols at L positions give N = V^L. Message m stands for the
point m / N of arithmetic coding (Rissanen & Langdon, 1979). A grid is decoded exactly if its
interval contains such a point, which is certain if its code has at most log2 N bits. If N is too
small, the decoder follows the point until log2 N bits are spent, and then takes the most probable
colour of each cell. The size of a grid is known to the decoder and costs nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from arc.data.grids import MAX_GRID_SIZE, Grids, content_key
from arc.metrics.context_model import (
    BITS,
    Array,
    ContextModel,
    NextCells,
    reading_order,
)


class Codec:
    """Encodes grids with a context model; create it with ``Codec.fit``."""

    _fitted: ClassVar[dict[bytes, Codec]] = {}  # the latest, by a hash of its training grids

    def __init__(self, model: ContextModel) -> None:
        self._model = model

    @classmethod
    def fit(cls, grids: Grids, on_chunk: Callable[[], None] = lambda: None) -> Codec:
        """Return a codec fitted to ``grids``; the latest one is cached.

        ``on_chunk``, here and in the other methods, is called at least every few seconds; it may
        raise to stop.
        """
        key = hashlib.sha256(b"".join(map(content_key, grids.arrays()))).digest()
        if key not in cls._fitted:
            cls._fitted = {key: cls(ContextModel.fit(grids, on_chunk))}
        return cls._fitted[key]

    def bits(self, grids: Grids, on_chunk: Callable[[], None] = lambda: None) -> Tensor:
        """Return the length of each grid's code, -log2 of its probability: float64 [B]."""
        wanted, bits = reading_order(grids), np.zeros(len(grids))

        def choose(index: Array, step: int, cells: NextCells) -> Array:
            ranks = cells.rank(wanted[index, step])
            frequencies = self._model.frequencies(cells)[np.arange(len(ranks)), ranks]
            bits[index] += BITS - np.log2(frequencies)
            return ranks

        self._model.walk(grids.sizes.cpu().numpy(), choose, on_chunk)
        return torch.from_numpy(bits)

    def encode(
        self, grids: Grids, num_messages: int, on_chunk: Callable[[], None] = lambda: None
    ) -> list[int]:
        """Return a message for each grid, 0 to ``num_messages - 1``.

        A grid whose code has at most log2(num_messages) bits is decoded exactly.
        """
        wanted = reading_order(grids)
        intervals = [_Interval(num_messages) for _ in range(len(grids))]

        def choose(index: Array, step: int, cells: NextCells) -> Array | None:
            if not any(intervals[grid].is_open for grid in index):
                return None
            ranks, every = cells.rank(wanted[index, step]), np.arange(len(index))
            frequencies = self._model.frequencies(cells)
            ends = frequencies.cumsum(1)[every, ranks].tolist()
            widths = frequencies[every, ranks].tolist()
            for grid, end, width in zip(index.tolist(), ends, widths, strict=True):
                if intervals[grid].is_open:
                    intervals[grid].narrow(end - width, width)
            return ranks

        self._model.walk(grids.sizes.cpu().numpy(), choose, on_chunk)
        return [interval.message for interval in intervals]

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

        def choose(index: Array, step: int, cells: NextCells) -> Array:
            frequencies = self._model.frequencies(cells)
            ranks = frequencies.argmax(1)
            open_ = [k for k, grid in enumerate(index.tolist()) if points[grid].is_open]
            for k in open_:
                ranks[k] = points[index[k]].next(frequencies[k].tolist())
            built[index, step] = cells.colors[np.arange(len(ranks)), ranks]
            return ranks

        self._model.walk(shapes, choose, on_chunk)
        arrays = [
            cells[: height * width].reshape(height, width)
            for cells, (height, width) in zip(built, shapes.tolist(), strict=True)
        ]
        return Grids.from_arrays(arrays)


class _Interval:
    """The encoder's interval of [0, 1), as integers over 2^shift, and the message chosen in it."""

    def __init__(self, num_messages: int) -> None:
        self._messages = num_messages
        self._low, self._width, self._shift = 0, 1, 0
        self.message, self.is_open = 0, True

    def narrow(self, start: int, width: int) -> None:
        """Take the part of ``width`` from ``start`` on, in units of 1 / TOTAL.

        If the part contains no message, the interval is closed, and the next message in the whole
        interval is kept.
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
        """Whether bits are left: the interval is at least 1 / num_messages wide."""
        return self._width * self._messages >= 1 << self._shift

    def next(self, frequencies: list[int]) -> int:
        """Return the rank whose part of the interval contains the point; narrow to that part."""
        scale = self._width * self._messages
        target, start = (self._offset << BITS) // scale, 0
        rank = 0
        while target >= start + frequencies[rank]:
            start, rank = start + frequencies[rank], rank + 1
        self._offset = (self._offset << BITS) - scale * start
        self._width, self._shift = self._width * frequencies[rank], self._shift + BITS
        return rank
