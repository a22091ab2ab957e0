"""Language measures of a run's messages, and the accuracy after changes to the messages."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from arc.data import Split
from arc.models import ARCAutoencoder
from arc.models.bottlenecks.discrete import STOP
from arc.tasks import Task
from arc.training import Evaluation

Measures = Literal["all", "fast", "none"]


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

    The floors: messages that are ``shuffled`` among the examples, ``random`` messages with the
    same distribution of lengths and of symbols at each position, and those of the
    ``untrained_sender``. Concepts and distances are those of the grid that the sender sees; in
    transformation, this is the input.
    """
    symbols, vocab_size = evaluation.messages, model.bottleneck.vocab_size
    if symbols is None or vocab_size is None or len(split) == 0:
        return {}
    from arc.metrics.concepts import split_concepts
    from arc.metrics.language import Language, measure_language

    task.on_chunk()
    grids, embeddings = split.grids[split.sender], None
    if measures == "all":
        generator = torch.Generator().manual_seed(0)
        parts = (task.sender_input(split, part, generator) for part in task.chunks(len(split)))
        embeddings = torch.cat([model.latent(part) for part in parts])
    language = Language(
        symbols, evaluation.lengths, vocab_size, split_concepts(split), grids, embeddings
    )
    content, _, lengths = task.send_all(untrained, split)
    task.on_chunk()
    values = measure_language(language, measures)
    task.on_chunk()
    floors = measure_language(language.saying(content, lengths), measures)
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
) -> dict[str, float]:
    """Return the headline accuracy with changed messages, in percent, by the change.

    ``replaced_2``: the second symbol is replaced by that of another message. ``dropped_2``: it is
    left out. ``permuted``: the symbols are in random order. Empty for vectors.
    """
    symbols = evaluation.messages
    if symbols is None or len(split) == 0:
        return {}
    from arc.metrics.language import dropped, permuted, replaced

    generator = torch.Generator().manual_seed(0)
    lengths = evaluation.lengths
    if lengths is not None and model.bottleneck.stop_token:  # a stop symbol stays in its place
        last = symbols.gather(1, lengths[:, None] - 1)[:, 0]
        lengths = lengths - (last == STOP).long()
    changed = {"permuted": permuted(symbols, generator, lengths)}
    for position in range(symbols.shape[1]):
        changed[f"replaced_{position + 1}"] = replaced(symbols, position, generator)
    for position in range(symbols.shape[1]):
        changed[f"dropped_{position + 1}"] = dropped(symbols, position)
    return {name: _accuracy(model, task, split, content) for name, content in changed.items()}


def _accuracy(model: ARCAutoencoder, task: Task, split: Split, content: Tensor) -> float:
    signal = model.bottleneck.read(content.to(model.device))
    return task.evaluate(model, split, signal).accuracy


def measure_chunks(chunks: int, max_length: int | None, measures: Measures) -> int:
    """Estimate the number of chunks that the functions above process for a split of ``chunks``."""
    if measures == "none" or max_length is None:
        return 0
    own = 3 + chunks
    return own if measures == "fast" else own + chunks + (2 * max_length + 1) * chunks
