"""What a task is: how it is learned, and how it is judged."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from arc.data import Corpus, Grids, Split, Transform
from arc.data.corpus import HoldOut
from arc.models import ARCAutoencoder, Message
from arc.registry import ComponentConfig, Registry

TASKS: Registry[type[Task]] = Registry("task")
CHUNK = 256


class TaskConfig(ComponentConfig):
    """The key that every task has; pair mode shows the sender an input, and asks for its output."""

    use_input_output_pairs: bool


@dataclass(frozen=True)
class StepOutput:
    """One training batch: scalar ``loss`` with its gradient, ``accuracy`` in percent."""

    loss: Tensor
    accuracy: Tensor
    message: Message


@dataclass(frozen=True)
class Metric:
    """A result, in percent, over ``targets`` examples, beside what it must be read against."""

    values: dict[str, float]
    targets: int
    baselines: dict[str, float]


@dataclass(frozen=True)
class TaskMetrics:
    """How the receiver did with some signals: ``metrics`` by name, the headline first."""

    loss: float
    metrics: dict[str, Metric] = field(default_factory=dict)

    @property
    def headline(self) -> Metric:
        """The figure that validation and the choice of the best checkpoint go by."""
        return next(iter(self.metrics.values()))

    @property
    def accuracy(self) -> float:
        """The headline's first value, in percent; NaN where it covers no target."""
        return next(iter(self.headline.values.values()))


class Task(ABC):
    """Base of the tasks; one is made for a corpus and keeps what it derives from it."""

    held_out: ClassVar[HoldOut] = "puzzles"
    shared_transform: ClassVar[bool] = False  # augmentation takes one transform for a batch

    def __init__(self, config: TaskConfig, corpus: Corpus) -> None:
        self.config = config
        self.corpus = corpus
        self.notes: list[str] = []

    @property
    def num_classes(self) -> int | None:
        """How many classes the receiver tells apart, where the corpus decides it."""
        return None

    def training_order(self) -> tuple[Tensor, Tensor | None, int]:
        """Return which examples to train on, their groups, and how many of one to keep together.

        int64 [examples], int64 [examples] or None, and a count; see BatchSampler.
        """
        return torch.arange(len(self.corpus.training)), None, 1

    def sender_input(
        self,
        split: Split,
        examples: Tensor,
        generator: torch.Generator,
        transform: Transform | None = None,
    ) -> Grids:
        """Return what the sender sees of ``examples``, int64 [batch]: their grids, transformed."""
        return transformed(split.grids[split.sender[examples]], transform)

    def send_all(self, model: ARCAutoencoder, split: Split) -> tuple[Tensor, Tensor, Tensor | None]:
        """Send every example of ``split``, in order: contents, signals, and lengths or None.

        The signals are read from the contents, as a receiver would that got nothing else.
        """
        generator = torch.Generator().manual_seed(0)
        messages = [model(self.sender_input(split, part, generator)) for part in chunks(len(split))]
        lengths = [message.lengths for message in messages if message.lengths is not None]
        return (
            torch.cat([message.content for message in messages]),
            torch.cat([model.bottleneck.read(message.content) for message in messages]),
            torch.cat(lengths) if lengths else None,
        )

    @abstractmethod
    def step(
        self,
        model: ARCAutoencoder,
        examples: Tensor,
        generator: torch.Generator,
        transform: Transform | None = None,
    ) -> StepOutput:
        """Play one round with training ``examples`` int64 [batch]; ``generator`` draws."""

    @abstractmethod
    def evaluate(
        self, model: ARCAutoencoder, split: Split, signal: Tensor, *, full: bool = False
    ) -> TaskMetrics:
        """Judge the receiver on every example of ``split``, given each one's ``signal``.

        ``signal`` is float32 [examples, signal_width]; the caller chooses what was sent, which
        is how the controls are run. ``full`` adds the figures of the final report.
        """

    def predict(
        self, model: ARCAutoencoder, split: Split, examples: Tensor, signal: Tensor
    ) -> list[dict[str, Any]]:
        """Return, in plain types, what the receiver makes of each message, for people to look at.

        ``signal`` is float32 [len(examples), signal_width]. ``correct`` says whether it is
        right; None where that cannot be said.
        """
        return [{"correct": None} for _ in examples]


def transformed(grids: Grids, transform: Transform | None) -> Grids:
    """Apply an optional transform."""
    return grids if transform is None else transform(grids)


def chunks(count: int) -> Sequence[Tensor]:
    """Split 0 .. count - 1 into int64 tensors of at most CHUNK."""
    return torch.arange(count).split(CHUNK)


def percent(right: Tensor) -> Tensor:
    """Return the mean of a boolean or 0-to-1 tensor, in percent."""
    return 100 * right.double().mean()
