"""Evaluation of a model on a split: task metrics, language metrics and controls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from arc.data import Split
from arc.metrics import language_metrics
from arc.models import ARCAutoencoder
from arc.registry import Settings
from arc.tasks import Task, TaskMetrics


@dataclass(frozen=True)
class Evaluation:
    """Results on one split.

    ``signal``: the receiver's input for each example, float32 [examples, signal_width].
    ``messages``: int64 [examples, max_length] on the CPU; None for a continuous bottleneck, whose
    ``language`` is empty, or the capacity of its messages if they are noisy. ``lengths``: int64
    [examples], None if all messages have the same length.
    """

    task_metrics: TaskMetrics
    language: dict[str, float]
    signal: Tensor = field(repr=False)
    messages: Tensor | None = field(default=None, repr=False)
    lengths: Tensor | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Example:
    """An example with the receiver's output.

    ``sent`` is the grid that the sender saw, ``target`` the one that was wanted, ``output`` the one
    that the receiver built or chose, None where it does neither: integers 0 to 9, [height, width].
    """

    name: str
    sent: np.ndarray
    target: np.ndarray
    output: np.ndarray | None


@torch.no_grad()
def evaluate_split(
    model: ARCAutoencoder,
    task: Task,
    split: Split,
    *,
    full: bool = False,
    metrics: Mapping[str, Settings] | None = None,
) -> Evaluation:
    """Evaluate ``model`` on every example of ``split``, in full precision and without noise.

    ``full`` adds the metrics of the final report; ``metrics`` are the language metrics to compute,
    by name.
    """
    model.eval()
    if len(split) == 0:
        signal = torch.zeros(0, model.bottleneck.signal_width, device=model.device)
        return Evaluation(task.evaluate(model, split, signal, full=full), {}, signal)
    content, signal, lengths = task.send_all(model, split)
    task_metrics = task.evaluate(model, split, signal, full=full)
    vocab_size, capacity = model.bottleneck.vocab_size, model.bottleneck.capacity_bits
    if vocab_size is None:
        language = {} if capacity is None else {"capacity_bits": capacity}
        return Evaluation(task_metrics, language, signal)
    language = language_metrics(
        metrics or {}, content, vocab_size, lengths, split, capacity_bits=capacity
    )
    return Evaluation(task_metrics, language, signal, content.cpu(), lengths)


@torch.no_grad()
def some_examples(
    model: ARCAutoencoder, task: Task, split: Split, evaluation: Evaluation, count: int
) -> list[Example]:
    """Return ``count`` examples of an evaluated split, evenly spaced and always the same ones."""
    count = min(count, len(split))
    if count == 0:
        return []
    model.eval()
    chosen = torch.linspace(0, len(split) - 1, count).long()
    outputs = task.predict(model, split, chosen, evaluation.signal[chosen])
    sent = split.grids[split.sender[chosen]].arrays()
    targets = split.grids[split.target[chosen]].arrays()
    return [
        Example(split.example_ids[number], sent[row], targets[row], _output_grid(outputs[row]))
        for row, number in enumerate(chosen.tolist())
    ]


def _output_grid(prediction: dict[str, Any]) -> np.ndarray | None:
    """Return the grid that a prediction of ``Task.predict`` built, or the most likely candidate."""
    if candidates := prediction.get("candidates"):
        return np.array(max(candidates, key=lambda each: each["probability"])["grid"])
    return np.array(prediction["built"]) if "built" in prediction else None


@torch.no_grad()
def evaluate_controls(
    model: ARCAutoencoder,
    task: Task,
    split: Split,
    evaluation: Evaluation,
    untrained: ARCAutoencoder,
    *,
    pair: bool = False,
) -> dict[str, TaskMetrics]:
    """Evaluate the receiver of ``model`` with signals that do not come from its sender.

    The controls: for each example the message of another one (left out for a single example), one
    message for all examples, and the messages of ``untrained``, a model with an untrained sender.
    With ``pair``, also the untrained receiver with these messages. If the task has candidates,
    also a receiver that knows the sender's code.
    """
    if len(split) == 0:
        return {}
    model.eval()
    untrained.eval()
    signal = evaluation.signal
    order = torch.randperm(len(split), generator=torch.Generator().manual_seed(0))
    another = torch.empty_like(order)
    another[order] = order.roll(1)
    signals = {
        "shuffled_messages": signal[another.to(signal.device)],
        "constant_message": signal[:1].expand_as(signal),
        "untrained_sender": task.send_all(untrained, split)[1],
    }
    if len(split) == 1:
        del signals["shuffled_messages"]
    controls = {name: task.evaluate(model, split, other) for name, other in signals.items()}
    if pair:
        controls["untrained_pair"] = task.evaluate(untrained, split, signals["untrained_sender"])
    if evaluation.messages is not None:
        matched = task.match_messages(model, split, evaluation.messages.to(signal.device))
        controls |= {} if matched is None else {"messages_matched_exactly": matched}
    return controls
