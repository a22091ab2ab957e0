"""Language measures of a run's messages, and the accuracy after changes to the messages."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from arc.data import Split
from arc.models import ARCAutoencoder
from arc.models.bottlenecks.base import Bottleneck
from arc.models.bottlenecks.discrete import STOP
from arc.tasks import Task
from arc.training import Evaluation

Measures = Literal["all", "fast", "none"]
NEARLY = 1.0  # percentage points of accuracy


@torch.no_grad()
def measure_messages(
    model: ARCAutoencoder,
    task: Task,
    split: Split,
    evaluation: Evaluation,
    untrained: ARCAutoencoder,
    measures: Measures,
) -> dict[str, dict[str, float]]:
    """Return each measure's ``value`` and its floors by name; empty for vectors.

    The floors: messages that are ``shuffled`` among the grids, ``random`` messages with the same
    distribution of lengths and of symbols at each position, and those of the
    ``untrained_sender``, compared with its own latent vectors. Concepts and distances are those of
    the grid that the sender sees; in transformation, this is the input.
    """
    symbols, vocab_size = evaluation.messages, model.bottleneck.vocab_size
    if symbols is None or vocab_size is None or len(split) == 0:
        return {}
    from arc.metrics.concepts import split_concepts
    from arc.metrics.language import Language, Measured, measure_language

    task.on_chunk()
    grids, concepts = split.grids[split.sender], split_concepts(split)

    def measured_by(
        sender: ARCAutoencoder, content: Tensor, lengths: Tensor | None
    ) -> dict[str, Measured]:
        latent = None
        if measures == "all":
            generator = torch.Generator().manual_seed(0)
            parts = (task.sender_input(split, part, generator) for part in task.chunks(len(split)))
            latent = torch.cat([sender.latent(part) for part in parts])
        task.on_chunk()
        language = Language(content, lengths, vocab_size, concepts, grids, latent)
        return measure_language(language, measures)

    values = measured_by(model, symbols, evaluation.lengths)
    content, _, lengths = task.send_all(untrained, split)
    floors = measured_by(untrained, content, lengths)
    return {
        name: {
            "value": measured.value,
            "shuffled": measured.shuffled,
            "random": measured.random,
            "untrained_sender": floors[name].value,
        }
        for name, measured in values.items()
    }


@torch.no_grad()
def intervene(
    model: ARCAutoencoder, task: Task, split: Split, evaluation: Evaluation
) -> dict[str, dict[str, Any]]:
    """Return ``interventions`` and ``symbols_needed``; empty for vectors and without targets.

    ``interventions``: the headline accuracy with changed messages, in percent, by the change.
    ``permuted``: the symbols are in random order. ``replaced_2``: the second symbol is replaced by
    that of another message. ``dropped_2``: it is left out. ``first_2``: only the first two are
    kept, as in ``truncated``, with a stop symbol if the bottleneck has one.

    ``symbols_needed``: how many symbols keep the accuracy within NEARLY of that of the whole
    message. ``first``: the number of symbols from the start. ``positions``, 1 to L: those that
    remain when the others are replaced one after the other, the least important by ``replaced_…``
    first, until the accuracy would fall further. ``any``: their number. A smaller set may exist.
    """
    symbols, whole = evaluation.messages, evaluation.task_metrics.accuracy
    if symbols is None or math.isnan(whole):
        return {}
    from arc.metrics.language import dropped, permuted, replaced

    generator, bottleneck = torch.Generator().manual_seed(0), model.bottleneck
    lengths, length = evaluation.lengths, symbols.shape[1]

    def accuracy(content: Tensor) -> float:
        signal = bottleneck.read(content.to(model.device))
        return task.evaluate(model, split, signal).accuracy

    if lengths is not None and bottleneck.stop_token:  # a stop symbol stays in its place
        last = symbols.gather(1, lengths[:, None] - 1)[:, 0]
        lengths = lengths - (last == STOP).long()
    changed = {"permuted": accuracy(permuted(symbols, generator, lengths))}
    for position in range(length):
        changed[f"replaced_{position + 1}"] = accuracy(replaced(symbols, position, generator))
    for position in range(length):
        changed[f"dropped_{position + 1}"] = accuracy(dropped(symbols, position))
    for count in range(length):
        changed[f"first_{count}"] = accuracy(_first(bottleneck, symbols, count, generator))
    changed[f"first_{length}"] = whole
    first = length
    while first > 0 and changed[f"first_{first - 1}"] >= whole - NEARLY:
        first -= 1
    order = sorted(range(length), key=lambda position: -changed[f"replaced_{position + 1}"])
    needed = [position + 1 for position in _needed(symbols, order, whole, accuracy, generator)]
    return {
        "interventions": changed,
        "symbols_needed": {"first": first, "any": len(needed), "positions": needed},
    }


def _first(
    bottleneck: Bottleneck, symbols: Tensor, count: int, generator: torch.Generator
) -> Tensor:
    """Return messages of the first ``count`` symbols, int64 [N, L], for ``bottleneck.read``."""
    from arc.metrics.language import truncated

    content = truncated(symbols, count, generator)
    if not bottleneck.stop_token:
        return content
    palette = getattr(bottleneck, "palette_length", 0)  # it has no stop symbol
    return truncated(content, max(count, palette), generator, STOP)


def _needed(
    symbols: Tensor,
    order: list[int],
    whole: float,
    accuracy: Callable[[Tensor], float],
    generator: torch.Generator,
) -> list[int]:
    """Return the positions that are left after replacing others in ``order``."""
    from arc.metrics.language import replaced

    for number, position in enumerate(order):
        symbols = replaced(symbols, position, generator)
        if accuracy(symbols) < whole - NEARLY:
            return sorted(order[number:])
    return []


def measure_chunks(chunks: int, max_length: int | None, measures: Measures) -> int:
    """Estimate the number of chunks that the functions above process for a split of ``chunks``."""
    if measures == "none" or max_length is None:
        return 0
    own = 3 + chunks
    return own if measures == "fast" else own + (4 * max_length + 3) * chunks
