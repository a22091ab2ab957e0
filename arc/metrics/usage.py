"""How much of the message space is used."""

from __future__ import annotations

import torch

from arc.metrics.base import METRICS, Messages, MetricConfig


@METRICS.register("usage", config=MetricConfig)
def usage(messages: Messages) -> dict[str, float]:
    """Return how many messages and symbols occur.

    - ``unique_messages``: the number of distinct messages, 1 to the number of messages.
    - ``symbols_used``: the share of the max_length * vocab_size combinations of position and
      symbol that are sent, in percent.
    - ``mean_length``: the mean number of symbols sent, the stop symbol included, 1 to max_length.
    """
    columns = [column.unique() for column in messages.with_ends.t()]
    used = [int((column < messages.vocab_size).sum()) for column in columns]
    return {
        "unique_messages": len(messages.with_ends.unique(dim=0)),
        "symbols_used": 100 * sum(used) / (messages.max_length * messages.vocab_size),
        "mean_length": float(messages.lengths.to(torch.float64).mean()),
    }
