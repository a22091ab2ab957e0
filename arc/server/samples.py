"""Looking at what the agents say: examples, messages changed by hand, the language's use.

Everything returned is of plain types. A SampleViewer works on the model as it is at the moment, so
it is asked between two training steps, by the thread that trains.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from arc.data import Split
from arc.models import ARCAutoencoder
from arc.tasks import Task

SAMPLES = 6
TOLD_MESSAGES = 100
EXAMPLES_OF_A_MESSAGE = 4


class SampleViewer:
    """Shows the held-out examples of one run: those of validation, or of test without them."""

    def __init__(self, model: ARCAutoencoder, task: Task) -> None:
        self.model, self.task = model, task
        corpus = task.corpus
        self.split = next(
            split for split in (corpus.validation, corpus.test, corpus.training) if len(split)
        )
        self._number = {place: number for number, place in enumerate(self.split.example_ids)}

    def examples(self) -> list[str]:
        """Return the examples' names, such as ``0a938d79 train 0 input``."""
        return list(self.split.example_ids)

    def samples(self) -> list[dict[str, Any]]:
        """Return some examples, spread over the set; always the same ones."""
        count = min(SAMPLES, len(self.split))
        return self._show(torch.linspace(0, len(self.split) - 1, count).long(), None)

    def sample(self, example: str, message: Sequence[int] | None = None) -> dict[str, Any]:
        """Return one example, as its own message or ``message`` is heard.

        Beside what comes of another message stands what comes of its own, ``as_sent``.
        Raises ValueError if there is no such example, or if it is no message of the channel.
        """
        if example not in self._number:
            raise ValueError(f"example={example}: no held-out example has that name")
        return self._show(torch.tensor([self._number[example]]), message)[0]

    @torch.no_grad()
    def _show(self, examples: Tensor, message: Sequence[int] | None) -> list[dict[str, Any]]:
        self.model.eval()
        sent = self.model(
            self.task.sender_input(self.split, examples, torch.Generator().manual_seed(0))
        )
        content = sent.content
        if message is not None:
            if self.model.bottleneck.vocab_size is None:
                raise ValueError("message: a vector cannot be changed symbol by symbol")
            content = torch.tensor([list(message)], dtype=torch.int64, device=content.device)
        signal = self.model.bottleneck.read(content)
        answers = self.task.predict(self.model, self.split, examples, signal)
        edited = message is not None
        if edited:
            own = self.model.bottleneck.read(sent.content)
            before = self.task.predict(self.model, self.split, examples, own)
            both = zip(answers, before, strict=True)
            answers = [{**answer, "as_sent": as_sent} for answer, as_sent in both]
        known = sent.lengths is not None and not edited
        return [
            {
                **self._example_fields(int(example)),
                **self._message_fields(content[row], sent.content[row]),
                "length": int(sent.lengths[row]) if known else None,
                "edited": edited,
                **answer,
            }
            for row, (example, answer) in enumerate(zip(examples, answers, strict=True))
        ]

    def _example_fields(self, example: int) -> dict[str, Any]:
        split, place = self.split, self.split.example_ids[example]
        shown, wanted = int(split.sender[example]), int(split.target[example])
        grids = split.grids[torch.tensor([shown, wanted])].arrays()
        return {
            "example": place,
            "puzzle": place.split()[0],
            "grid": grids[0].tolist(),
            "target": None if shown == wanted else grids[1].tolist(),
        }

    def _message_fields(self, heard: Tensor, sent: Tensor) -> dict[str, Any]:
        if self.model.bottleneck.vocab_size is None:
            return {"message": None, "sent": None, "vector": heard.tolist()}
        return {"message": heard.tolist(), "sent": sent.tolist(), "vector": None}


def language_table(
    split: Split, messages: Sequence[Sequence[int]], vocab_size: int
) -> dict[str, Any]:
    """Return how often each message was sent for the examples of ``split``, and each symbol.

    ``messages`` are those of every example, in order. The commonest come first, each with some
    of the grids that it was said of; ``positions`` counts the symbols at each place.
    """
    said = [tuple(message) for message in messages]
    counts = Counter(said)
    speakers: dict[tuple[int, ...], list[int]] = {}
    for example, message in enumerate(said):
        speakers.setdefault(message, []).append(example)
    rows = []
    for message, count in counts.most_common(TOLD_MESSAGES):
        some = speakers[message][:EXAMPLES_OF_A_MESSAGE]
        grids = split.grids[split.sender[torch.tensor(some)]].arrays()
        examples = [
            {"example": split.example_ids[example], "grid": grid.tolist()}
            for example, grid in zip(some, grids, strict=True)
        ]
        rows.append({"message": list(message), "count": count, "examples": examples})
    positions = [Counter(column) for column in zip(*said, strict=True)]
    return {
        "messages": rows,
        "distinct": len(counts),
        "total": len(said),
        "positions": [[column[symbol] for symbol in range(vocab_size)] for column in positions],
    }
