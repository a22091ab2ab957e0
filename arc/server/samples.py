"""Examples, messages and the language of a run, in plain types.

A ``SampleViewer`` uses the model in place, so its ``samples`` and ``sample`` are called from the
training thread, between two steps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from arc.data import Split
from arc.metrics.over_time import sample
from arc.models import ARCAutoencoder
from arc.server.concepts import NO_CONCEPTS, concept_tables
from arc.server.requests import displayed
from arc.tasks import Task

SAMPLES = 6
MEASURED_EXAMPLES = 1000
LISTED_MESSAGES = 100
EXAMPLES_PER_MESSAGE = 4
NO_LANGUAGE: dict[str, Any] = {"messages": [], "positions": []}


class SampleViewer:
    """Shows examples of one run's validation set (of the training or test set without one)."""

    def __init__(self, model: ARCAutoencoder, task: Task) -> None:
        self.model, self.task = model, task
        corpus = task.corpus
        splits = {name: getattr(corpus, name) for name in ("validation", "training", "test")}
        self.split_name, self.split = next(each for each in splits.items() if len(each[1]))
        self._index = {displayed(name): index for index, name in enumerate(self.split.example_ids)}

    def examples(self) -> list[str]:
        """Return the names of the examples, such as ``0a938d79 train 0 input``."""
        return list(self.split.example_ids)

    def samples(self) -> dict[str, Any]:
        """Return some examples, evenly spaced over the set and the same in each call."""
        count = min(SAMPLES, len(self.split))
        bottleneck = self.model.bottleneck
        return {
            "task_type": self.task.config.name,
            "split": self.split_name,
            "vocab_size": bottleneck.vocab_size,
            "max_message_length": bottleneck.max_length,
            "samples": self._view(torch.linspace(0, len(self.split) - 1, count).long(), None),
        }

    def sample(self, example: str, message: Sequence[int] | None = None) -> dict[str, Any]:
        """Return one example with the receiver's output for its own message or for ``message``.

        With ``message``, ``as_sent`` holds the output for the example's own message. Raises
        ValueError for an unknown example or an invalid message.
        """
        if example not in self._index:
            raise ValueError(f"example={example}: no such example")
        return self._view(torch.tensor([self._index[example]]), message)[0]

    def language(self, messages: Tensor | None) -> dict[str, Any]:
        """Return the usage of ``messages``, int64 [examples, max_length] of the validation set.

        Without messages (no validation yet, or a continuous bottleneck) the tables are empty.
        Does not use the model, so any thread may call it.
        """
        vocab_size = self.model.bottleneck.vocab_size
        if messages is None or vocab_size is None:
            return NO_LANGUAGE
        return {
            "vocab_size": vocab_size,
            "max_length": self.model.bottleneck.max_length,
            **language_table(self.task.corpus.validation, messages.tolist(), vocab_size),
        }

    def concepts(self, messages: Tensor | None, lengths: Tensor | None) -> dict[str, Any]:
        """Return the tables of ``concept_tables`` for the messages of the validation set.

        ``messages`` as in ``language``; ``lengths``: int64 [examples], or None. Of a large set, a
        fixed sample is used. Without messages the tables are empty. Raises ValueError if messages
        are vectors or there is no validation set. Does not use the model.
        """
        split, vocab_size = self.task.corpus.validation, self.model.bottleneck.vocab_size
        if vocab_size is None:
            raise ValueError("messages are vectors: there are no symbols to match with concepts")
        if len(split) == 0:
            raise ValueError("no validation set: set data.validation_fraction above 0")
        if messages is None:
            return NO_CONCEPTS
        chosen = sample(split, MEASURED_EXAMPLES)
        examples = chosen.examples
        spoken = chosen.language(
            messages[examples], None if lengths is None else lengths[examples], vocab_size
        )
        return concept_tables(spoken, [split.example_ids[i] for i in examples.tolist()])

    @torch.no_grad()
    def _view(self, examples: Tensor, message: Sequence[int] | None) -> list[dict[str, Any]]:
        self.model.eval()
        sent = self.model(
            self.task.sender_input(self.split, examples, torch.Generator().manual_seed(0))
        )
        outputs = self._predict(examples, sent.content)
        content, edited = sent.content, message is not None
        if message is not None:
            if self.model.bottleneck.vocab_size is None:
                raise ValueError("message: a vector cannot be changed symbol by symbol")
            content = torch.tensor([list(message)], dtype=torch.int64, device=content.device)
            changed = self._predict(examples, content)
            outputs = [
                {**output, "as_sent": as_sent}
                for output, as_sent in zip(changed, outputs, strict=True)
            ]
        has_length = sent.lengths is not None and not edited
        return [
            {
                **self._example_fields(int(example)),
                **self._message_fields(content[row], sent.content[row]),
                "length": int(sent.lengths[row]) if has_length else None,
                "edited": edited,
                **output,
            }
            for row, (example, output) in enumerate(zip(examples, outputs, strict=True))
        ]

    def _predict(self, examples: Tensor, content: Tensor) -> list[dict[str, Any]]:
        signal = self.model.bottleneck.read(content)
        return self.task.predict(self.model, self.split, examples, signal)

    def _example_fields(self, example: int) -> dict[str, Any]:
        split, name = self.split, self.split.example_ids[example]
        source, target = int(split.sender[example]), int(split.target[example])
        grids = split.grids[torch.tensor([source, target])].arrays()
        return {
            "example": name,
            "puzzle": split.puzzle_ids[int(split.puzzle[example])],
            "grid": grids[0].tolist(),
            "target": None if source == target else grids[1].tolist(),
        }

    def _message_fields(self, received: Tensor, sent: Tensor) -> dict[str, Any]:
        if self.model.bottleneck.vocab_size is None:
            return {"message": None, "sent": None, "vector": received.tolist()}
        return {"message": received.tolist(), "sent": sent.tolist(), "vector": None}


def language_table(
    split: Split, messages: Sequence[Sequence[int]], vocab_size: int
) -> dict[str, Any]:
    """Return how often each message and each symbol was sent for the examples of ``split``.

    ``messages`` holds one message per example, in order. The most frequent messages come first,
    each with some of the grids that it was sent for; ``positions`` counts symbols by position.
    """
    sent = [tuple(message) for message in messages]
    counts = Counter(sent)
    examples_of: dict[tuple[int, ...], list[int]] = {}
    for example, message in enumerate(sent):
        examples_of.setdefault(message, []).append(example)
    rows = []
    for message, count in counts.most_common(LISTED_MESSAGES):
        some = examples_of[message][:EXAMPLES_PER_MESSAGE]
        grids = split.grids[split.sender[torch.tensor(some)]].arrays()
        examples = [
            {"example": split.example_ids[example], "grid": grid.tolist()}
            for example, grid in zip(some, grids, strict=True)
        ]
        rows.append({"message": list(message), "count": count, "examples": examples})
    positions = [Counter(column) for column in zip(*sent, strict=True)]
    return {
        "messages": rows,
        "distinct": len(counts),
        "total": len(sent),
        "positions": [[column[symbol] for symbol in range(vocab_size)] for column in positions],
    }
