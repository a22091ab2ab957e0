"""Judging a model on a set: its figures, its language, and the controls."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from arc.data import Split
from arc.metrics import METRICS, language_metrics
from arc.models import ARCAutoencoder
from arc.tasks import Task, TaskMetrics


@dataclass(frozen=True)
class Evaluation:
    """``task_metrics`` beside ``language`` (empty for a continuous channel) and ``controls``.

    ``messages``: what was sent for each example, int64 [examples, max_length] on the CPU; None
    for a continuous channel.
    """

    task_metrics: TaskMetrics
    language: dict[str, float]
    controls: dict[str, TaskMetrics] = field(default_factory=dict)
    messages: Tensor | None = None


@torch.no_grad()
def evaluate_split(
    model: ARCAutoencoder,
    task: Task,
    split: Split,
    *,
    full: bool = False,
    untrained: ARCAutoencoder | None = None,
) -> Evaluation:
    """Judge ``model`` on every example of ``split``, in full precision and without noise.

    With ``untrained`` (a model whose sender was never trained) the controls are run too: the
    same receiver hears shuffled messages, one constant message, and the untrained sender's.
    """
    model.eval()
    if len(split) == 0:
        return Evaluation(
            task.evaluate(model, split, torch.zeros(0, model.bottleneck.signal_width)), {}
        )
    content, signal, lengths = task.send_all(model, split)
    vocab_size = model.bottleneck.vocab_size
    metrics = {name: METRICS.config(name).model_validate({}) for name in METRICS}
    language = language_metrics(metrics, content, vocab_size, lengths) if vocab_size else {}
    controls = {}
    if untrained is not None:
        untrained.eval()
        shuffle = torch.randperm(len(split), generator=torch.Generator().manual_seed(0))
        heard = {
            "shuffled_messages": signal[shuffle.to(signal.device)],
            "constant_message": signal[:1].expand_as(signal),
            "untrained_sender": task.send_all(untrained, split)[1],
        }
        controls = {name: task.evaluate(model, split, other) for name, other in heard.items()}
    messages = content.cpu() if vocab_size else None
    task_metrics = task.evaluate(model, split, signal, full=full)
    return Evaluation(task_metrics, language, controls, messages)
