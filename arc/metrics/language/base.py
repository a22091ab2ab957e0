"""What a measure of a language is computed from, and the registry of measures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from torch import Generator, Tensor

from arc.data.grids import Grids, content_key
from arc.metrics.concepts import Array, ConceptTable
from arc.registry import Registry

Speed = Literal["fast", "slow"]


@dataclass(frozen=True, init=False, eq=False)
class Language:
    """The messages sent for N examples, and the concepts of these examples.

    ``messages``: int64 [N, L], symbols 0 to ``vocab_size - 1``. ``lengths``: int64 [N], the number
    of symbols sent, 1 to L, the stop symbol included; later symbols are not part of the message.
    None stands for messages of full length. ``concepts``: a row for each example. ``grids`` and
    ``embeddings`` (float [N, D], such as the encoder's latent vectors) are optional and
    add further distances of meanings.

    Arrays and tensors are accepted; the attributes are NumPy arrays. Raises ValueError, naming the
    argument, if a shape or a value does not fit.
    """

    messages: Array
    lengths: Array
    vocab_size: int
    concepts: ConceptTable
    grids: Grids | None
    embeddings: Array | None

    def __init__(
        self,
        messages: Array | Tensor,
        lengths: Array | Tensor | None,
        vocab_size: int,
        concepts: ConceptTable,
        grids: Grids | None = None,
        embeddings: Array | Tensor | None = None,
    ) -> None:
        symbols = _array(messages)
        if symbols.ndim != 2 or 0 in symbols.shape or symbols.dtype.kind not in "iu":
            got = f"{symbols.dtype} {list(symbols.shape)}"
            raise ValueError(f"messages: integers [examples, symbols] are needed, got {got}")
        number, longest = symbols.shape
        sent = np.full(number, longest) if lengths is None else _array(lengths)
        if sent.shape != (number,) or sent.dtype.kind not in "iu":
            got = f"{sent.dtype} {list(sent.shape)}"
            raise ValueError(f"lengths: integers [{number}] are needed, got {got}")
        if sent.min() < 1 or sent.max() > longest:
            raise ValueError(f"lengths: 1 to {longest} symbols, got {sent.min()} to {sent.max()}")
        inside = symbols[np.arange(longest) < sent[:, None]]
        if inside.min() < 0 or inside.max() >= vocab_size:
            wrong = inside[(inside < 0) | (inside >= vocab_size)][0]
            raise ValueError(f"messages: symbol {wrong} is not one of 0 to {vocab_size - 1}")
        vectors = None if embeddings is None else _array(embeddings).astype(np.float64)
        if vectors is not None and (vectors.ndim != 2 or not np.isfinite(vectors).all()):
            raise ValueError("embeddings: finite numbers [examples, dimensions] are needed")
        rows = {"concepts": concepts, "grids": grids, "embeddings": vectors}
        for name, table in rows.items():
            if table is not None and len(table) != number:
                raise ValueError(f"{name}: {len(table)} rows for {number} messages")
        fields = (symbols.astype(np.int64), sent.astype(np.int64), vocab_size, concepts)
        for name, value in zip(self.__dataclass_fields__, (*fields, grids, vectors), strict=True):
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.messages)

    def __repr__(self) -> str:
        return f"Language({len(self)} messages of {self.max_length} symbols of {self.vocab_size})"

    def __getitem__(self, examples: Array) -> Language:
        """Select examples by an integer array."""
        return Language(
            self.messages[examples],
            self.lengths[examples],
            self.vocab_size,
            self.concepts[examples],
            None if self.grids is None else self.grids[torch.from_numpy(examples)],
            None if self.embeddings is None else self.embeddings[examples],
        )

    def saying(self, messages: Array | Tensor, lengths: Array | Tensor | None) -> Language:
        """Return a language of other messages for the same examples."""
        return Language(
            messages, lengths, self.vocab_size, self.concepts, self.grids, self.embeddings
        )

    @property
    def max_length(self) -> int:
        """The number of symbol positions, L."""
        return self.messages.shape[1]

    @property
    def sent(self) -> Array:
        """Which positions belong to the message: bool [N, L]."""
        return np.arange(self.max_length) < self.lengths[:, None]

    @cached_property
    def symbols(self) -> Array:
        """The messages with ``vocab_size`` at every position after the end: int64 [N, L]."""
        return np.where(self.sent, self.messages, self.vocab_size)

    @cached_property
    def message_ids(self) -> Array:
        """A number for each distinct message, 0 and up: int64 [N]."""
        return _row_ids(self.symbols)

    @cached_property
    def meaning_ids(self) -> Array:
        """A number for each distinct row of the concepts without ``puzzle``: int64 [N]."""
        return _row_ids(self.concepts.attributes.values)

    @cached_property
    def grid_ids(self) -> Array:
        """A number for each distinct grid; without grids, for each example: int64 [N]."""
        if self.grids is None:
            return np.arange(len(self))
        numbers: dict[bytes, int] = {}
        keys = map(content_key, self.grids.arrays())
        return np.array([numbers.setdefault(key, len(numbers)) for key in keys])

    @cached_property
    def different_grids(self) -> Array:
        """The first example of each distinct grid, in the order of ``grid_ids``: int64 [grids]."""
        return np.unique(self.grid_ids, return_index=True)[1]


@dataclass(frozen=True)
class Measure:
    """A registered measure: ``compute(language, generator)`` returns values by name.

    Every value is finite. ``speed``: slow measures are left out of ``measures=fast``.
    """

    speed: Speed
    compute: Callable[[Language, Generator], dict[str, float]]


MEASURES: Registry[Measure] = Registry("measure")


def register(
    name: str, speed: Speed
) -> Callable[
    [Callable[[Language, Generator], dict[str, float]]],
    Callable[[Language, Generator], dict[str, float]],
]:
    """Return a decorator that registers a function as the measure ``name``."""

    def enter(
        function: Callable[[Language, Generator], dict[str, float]],
    ) -> Callable[[Language, Generator], dict[str, float]]:
        MEASURES.register(name)(Measure(speed, function))
        return function

    return enter


def _array(values: Array | Tensor) -> Array:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


def _row_ids(rows: Array) -> Array:
    return np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1)
