"""The interface of tasks: a training step and an evaluation."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from arc.data import Corpus, DataError, Grids, Split, Transform
from arc.data.augment import random_crops
from arc.data.corpus import HoldOut
from arc.data.grids import grids_of_cells
from arc.data.synthetic import synthetic_grids
from arc.metrics import share_percent
from arc.models import ARCAutoencoder, Message
from arc.models.ragged import cell_values
from arc.registry import ComponentConfig, Registry

TASKS: Registry[type[Task]] = Registry("task")
# Examples between two calls of on_chunk; bounds the delay of a stop.
CHUNK = {"cpu": 32, "cuda": 1024}


class TaskConfig(ComponentConfig):
    """The key of every task; in pair mode the sender sees an input and the target is its output."""

    use_input_output_pairs: bool


@dataclass(frozen=True)
class StepOutput:
    """One training batch: scalar ``loss`` with its gradient, ``accuracy`` in percent."""

    loss: Tensor
    accuracy: Tensor
    message: Message


@dataclass(frozen=True)
class Metric:
    """Values in percent over ``targets`` examples, with the baselines to compare them with.

    ``shares``: what each example of the split contributes to each value, as in
    arc/metrics/intervals.py; a value without a share has no interval.
    """

    values: dict[str, float]
    targets: int
    baselines: dict[str, float]
    shares: dict[str, Tensor] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, shares: dict[str, Tensor], targets: int, baselines: dict[str, float]) -> Metric:
        """Return the metric whose values are ``shares``."""
        values = {name: share_percent(each) for name, each in shares.items()}
        return cls(values, targets, baselines, shares)


@dataclass(frozen=True)
class TaskMetrics:
    """The receiver's loss and ``metrics`` by name for given signals; the headline comes first."""

    loss: float
    metrics: dict[str, Metric] = field(default_factory=dict)

    @property
    def headline(self) -> Metric:
        """The metric that validation reports."""
        return next(iter(self.metrics.values()))

    @property
    def accuracy(self) -> float:
        """The headline's first value, in percent; NaN if it covers no target."""
        return next(iter(self.headline.values.values()))


class Task(ABC):
    """Base of the tasks. A task belongs to a corpus and caches what it derives from it.

    ``held_out`` specifies what the corpus holds out from training (see SplitSpec). With
    ``shared_transform`` augmentation applies one transform to the whole batch. With
    ``sends_pairs`` the sender sees pairs: ``sender_input`` returns GridPairs. ``presets``
    are the options of conf/experiment that a run of the task should start from. ``on_chunk`` is
    called before each chunk of a split is evaluated; it may raise to end the evaluation.

    Raises DataError if ``data.synthetic`` or ``data.crop`` is set and the task does not use it. In
    pretraining this is a note instead, so that the overrides of the main training can be kept.
    """

    held_out: ClassVar[HoldOut] = "puzzles"
    shared_transform: ClassVar[bool] = False
    sends_pairs: ClassVar[bool] = False
    presets: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: TaskConfig, corpus: Corpus) -> None:
        self.config = config
        self.corpus = corpus
        self.notes: list[str] = []
        self.on_chunk: Callable[[], None] = lambda: None
        self._embeddings: dict[Any, Tensor] | None = None
        both = "reconstruction and selection with task.negatives=batch"
        for key, share, used, by in (
            ("synthetic", corpus.synthetic, self.uses_training_grids, both),
            ("crop", corpus.crop, self.uses_crops, f"puzzle_classification, {both}"),
        ):
            if share == 0 or used:
                continue
            if not corpus.for_pretraining:
                raise DataError(
                    f"data.{key}={share}: must be 0 for this task; only {by} use it, with "
                    "task.use_input_output_pairs=false"
                )
            self.notes.append(f"{key}: {share} is ignored; this pretraining does not use it")

    @property
    def uses_training_grids(self) -> bool:
        """Whether ``step`` trains on ``training_grids``, which may be synthetic or cropped."""
        return False

    @property
    def uses_crops(self) -> bool:
        """Whether ``step`` crops a share of its grids."""
        return self.uses_training_grids

    @property
    def num_classes(self) -> int | None:
        """The number of classes of the receiver, for tasks where it depends on the corpus."""
        return None

    def training_order(self) -> tuple[Tensor, Tensor | None, int]:
        """Return the examples to train on, their groups and the block size, for BatchSampler.

        int64 [examples], int64 [examples] or None, and a count.
        """
        return torch.arange(len(self.corpus.training)), None, 1

    @property
    def step_is_static(self) -> bool:
        """Whether ``step`` can be captured as a CUDA graph on a GPU.

        For that, no shape and no Python value may depend on the data, ``step`` must not wait for
        the device, and it must draw by arc.data.draws. ``examples`` are then on the device.
        """
        return False

    def sender_input(
        self,
        split: Split,
        examples: Tensor,
        generator: torch.Generator,
        transform: Transform | None = None,
    ) -> Grids:
        """Return the grids that the sender sees for ``examples``, int64 [batch]."""
        return transformed(split.senders(examples), transform)

    def training_grids(
        self, examples: Tensor, generator: torch.Generator, transform: Transform | None = None
    ) -> Grids:
        """Return the targets of training ``examples``, int64 [batch].

        The last of them, a share of ``data.synthetic``, are replaced by synthetic grids of the
        same sizes. Then a share of ``data.crop`` of all grids is cropped.
        """
        split = self.corpus.training
        grids = split.targets(examples)
        kept = len(grids) - int(self.corpus.synthetic * len(grids))
        if kept < len(grids):
            side = grids.cells.shape[1]
            made = synthetic_grids(grids.sizes[kept:].cpu(), generator, side).grids
            grids = grids[torch.arange(kept)].joined(made.to(grids.cells.device))
        if self.corpus.crop > 0:
            grids = random_crops(grids, self.corpus.crop, generator)
        return transformed(grids, transform)

    def send_all(self, model: ARCAutoencoder, split: Split) -> tuple[Tensor, Tensor, Tensor | None]:
        """Send every example of ``split``, in order: contents, signals, and lengths or None.

        The signals are read from the contents, so that they hold nothing but the message. Raises
        ValueError if they differ from those of the first messages.
        """
        generator = torch.Generator().manual_seed(0)
        messages = [
            model(self.sender_input(split, part, generator)) for part in self.chunks(len(split))
        ]
        signals = [model.bottleneck.read(message.content) for message in messages]
        if not torch.equal(signals[0], messages[0].signal):
            name = type(model.bottleneck).__name__
            raise ValueError(f"{name}: read(message.content) differs from message.signal")
        lengths = [message.lengths for message in messages if message.lengths is not None]
        return (
            torch.cat([message.content for message in messages]),
            torch.cat(signals),
            torch.cat(lengths) if lengths else None,
        )

    @property
    def chunk_size(self) -> int:
        """The number of examples that are evaluated at a time."""
        return CHUNK[self.corpus.training.grids.cells.device.type]

    def chunks(self, count: int, size: int | None = None) -> Iterator[Tensor]:
        """Yield 0 .. count - 1 in int64 tensors of at most ``size``, ``on_chunk`` before each.

        The default size is ``chunk_size``.
        """
        for part in torch.arange(count).split(size or self.chunk_size):
            self.on_chunk()
            yield part

    def chunk_count(self, split: Split) -> int:
        """Return the number of chunks of the examples of ``split``."""
        return -(-len(split) // self.chunk_size)

    @contextmanager
    def reuse_embeddings(self) -> Iterator[None]:
        """Embed the candidates of each split once within the context.

        For several evaluations of one model, whose weights must not change meanwhile.
        """
        self._embeddings = {}
        try:
            yield
        finally:
            self._embeddings = None

    @abstractmethod
    def step(
        self,
        model: ARCAutoencoder,
        examples: Tensor,
        generator: torch.Generator,
        transform: Transform | None = None,
    ) -> StepOutput:
        """Compute the loss of training ``examples``, int64 [batch].

        All randomness comes from ``generator``, so that a run can be resumed exactly.
        """

    @abstractmethod
    def evaluate(
        self, model: ARCAutoencoder, split: Split, signal: Tensor, *, full: bool = False
    ) -> TaskMetrics:
        """Evaluate the receiver on every example of ``split``, given each one's ``signal``.

        ``signal`` is float32 [examples, signal_width], from the model's sender or, for the
        controls, from elsewhere. ``full`` adds the metrics of the final report.
        """

    def match_messages(
        self, model: ARCAutoencoder, split: Split, content: Tensor
    ) -> TaskMetrics | None:
        """Evaluate a receiver that knows the sender's code, or return None if there is none.

        ``content`` are the messages of all examples. What such a receiver gets wrong, the sender
        did not say.
        """
        return None

    def predict(
        self, model: ARCAutoencoder, split: Split, examples: Tensor, signal: Tensor
    ) -> list[dict[str, Any]]:
        """Return the receiver's prediction for each example in plain types, for display.

        ``signal`` is float32 [len(examples), signal_width]. ``correct`` is a bool, or None if
        the prediction cannot be scored.
        """
        return [{"correct": None} for _ in examples]

    def outcomes(
        self, model: ARCAutoencoder, split: Split, signal: Tensor
    ) -> Iterator[dict[str, Any]]:
        """Yield what the receiver makes of the ``signal`` of each example, in plain types.

        ``prediction`` and ``correct``. Where the receiver builds a grid, also ``right_cells``, in
        percent, and ``wrong_cells``, a number; where it chooses among candidates, also the
        ``rank`` of the target, 1 to the number of ``candidates``, and its ``probability``. A tie
        counts against the target.
        """
        for part in self.chunks(len(split)):
            targets = split.grids[split.target[part]].arrays()
            predictions = self.predict(model, split, part, signal[part])
            for prediction, target in zip(predictions, targets, strict=True):
                yield _outcome(prediction, target)


def _outcome(prediction: dict[str, Any], target: np.ndarray) -> dict[str, Any]:
    """Return the outcome of a prediction, with the correct cells of the grid that it ``built``.

    All cells of a grid of another size are wrong.
    """
    if "built" not in prediction:
        return {"prediction": None, "correct": prediction["correct"]}
    built = np.array(prediction["built"])
    wrong = int((built != target).sum()) if built.shape == target.shape else target.size
    return {
        "prediction": prediction["built"],
        "correct": prediction["correct"],
        "right_cells": 100 * (1 - wrong / target.size),
        "wrong_cells": wrong,
    }


def ranked(scores: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the rank and the probability of each target, and the choice: [batch] each.

    ``scores``: float [batch, candidates], minus infinity for what is no candidate. ``target``:
    int64 [batch]. A tie, or NaN, counts against the target, and another candidate is chosen.
    """
    column = target[:, None]
    own, others = scores.gather(1, column), scores.scatter(1, column, -math.inf)
    rank = (~(others < own) & (others != -math.inf)).sum(1) + 1
    choice = torch.where(rank == 1, target, others.argmax(1))
    return rank, scores.softmax(1).gather(1, column)[:, 0], choice


def cell_loss(logits: Tensor, grids: Grids, grid_weight: str = "sqrt") -> Tensor:
    """Return the mean cross-entropy of the cells of ``grids``, for training.

    ``logits`` are float32 [cells, num_colors]. With ``sqrt`` the weight of a grid of n cells is
    the square root of n, with ``linear`` it is n, so that all cells are equal and the few large
    grids, which are hardly ever exact, dominate.
    """
    losses = F.cross_entropy(logits, cell_values(grids), reduction="none")  # 0 outside of grids
    cells = grids.sizes.prod(1)
    weights = cells.float().rsqrt() if grid_weight == "sqrt" else torch.ones_like(cells).float()
    each = weights[grids_of_cells(grids.sizes, len(losses))]
    return (losses * each).sum() / (weights * cells).sum()


def cell_accuracy(logits: Tensor, grids: Grids) -> Tensor:
    """Return the share of the cells of ``grids`` that ``logits`` give the right colour, in percent.

    ``logits`` are float32 [cells, num_colors].
    """
    right = logits.detach().argmax(1) == cell_values(grids)
    return 100 * right.double().sum() / grids.sizes.prod(1).sum()


def transformed(grids: Grids, transform: Transform | None) -> Grids:
    """Apply an optional transform."""
    return grids if transform is None else transform(grids)


def percent(right: Tensor) -> Tensor:
    """Return the mean of a boolean or 0-to-1 tensor, in percent."""
    return 100 * right.double().mean()
