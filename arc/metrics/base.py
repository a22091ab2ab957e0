"""The interface of message metrics: functions that describe a set of discrete messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from arc.data import Split
from arc.registry import Registry, Settings

METRICS: Registry[Callable[..., dict[str, float]]] = Registry("metric")


class MetricConfig(Settings):
    """Base of a metric's configuration: the keys of conf/metric/NAME.yaml below its name.

    ``in_report``: whether the final report has the metric too, or only each validation.
    """

    in_report: ClassVar[bool] = True


@dataclass(frozen=True)
class Messages:
    """The messages sent for the examples of a split, one per example.

    ``symbols``: int64 [messages, max_length] in 0 to ``vocab_size - 1``. ``lengths``: int64
    [messages], symbols sent including the stop symbol. Both are on the CPU. ``split``: the
    examples, in order; None if they are unknown. ``capacity_bits``: the capacity of a message; by
    default that of ``max_length`` independent symbols.
    """

    symbols: Tensor
    lengths: Tensor
    vocab_size: int
    split: Split | None = None
    capacity_bits: float | None = None

    def __len__(self) -> int:
        return len(self.symbols)

    @property
    def max_length(self) -> int:
        """The number of symbol positions of a message."""
        return self.symbols.shape[1]

    @property
    def with_ends(self) -> Tensor:
        """The symbols, with ``vocab_size`` at every position after the end of a message."""
        is_after = torch.arange(self.max_length) >= self.lengths[:, None]
        return self.symbols.masked_fill(is_after, self.vocab_size)


def language_metrics(
    selected: Mapping[str, Settings],
    symbols: Tensor,
    vocab_size: int,
    lengths: Tensor | None = None,
    split: Split | None = None,
    capacity_bits: float | None = None,
) -> dict[str, float]:
    """Compute the ``selected`` metrics, given by name with their configuration.

    ``symbols``: int64 [messages, max_length], at least one message. ``lengths``: int64
    [messages]; None stands for messages of full length. ``split`` and ``capacity_bits``: see
    ``Messages``. Returns the values of all metrics in one dict, in the order of ``selected``.
    Raises ValueError for a name that is not registered.
    """
    symbols = symbols.cpu()
    if lengths is None:
        lengths = symbols.new_full((len(symbols),), symbols.shape[1])
    messages = Messages(symbols, lengths.cpu(), vocab_size, split, capacity_bits)
    values: dict[str, float] = {}
    for name, config in selected.items():
        values.update(METRICS[name](messages, **config.model_dump()))
    return values
