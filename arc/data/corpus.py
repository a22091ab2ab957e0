"""Training, validation and test splits that share no content.

The test split is used once, at the end. The validation split holds a share of the training
puzzles or, for puzzle classification, pairs of every puzzle. Duplicates are found by content and
removed from the training split first, then from the validation split, so that the test split
does not depend on the other two.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from arc.data.grids import DataError, Grids, content_key
from arc.data.sources import (
    DATASETS,
    DataConfig,
    Pair,
    Puzzle,
    PuzzleSets,
    additional_puzzles,
    counted,
    shortened,
)

HoldOut = Literal["puzzles", "pairs", "training_pairs"]


@dataclass(frozen=True)
class Example:
    """The grid that the sender sees and the grid that is the receiver's target.

    They are the same grid, except in pair mode: there they are an input and its output.
    ``place`` is the position in the puzzle, such as ``train 0 input``; ``label`` is
    2 x puzzle + (0 for an input, 1 for an output). ``is_additional``: from ``data.also``.
    """

    puzzle: str
    place: str
    label: int
    sender: np.ndarray
    target: np.ndarray
    is_additional: bool = False

    @property
    def pair(self) -> str:
        """The pair that the example is from, such as ``train 0``."""
        return " ".join(self.place.split()[:2])

    @property
    def contents(self) -> set[bytes]:
        """The content keys of its grids."""
        return {content_key(self.sender), content_key(self.target)}


@dataclass(frozen=True)
class Split:
    """One of the three splits.

    ``grids`` holds each distinct grid once, on the device. ``sender`` and ``target`` (indices
    into ``grids``), ``puzzle`` (indices into ``puzzle_ids``) and ``label`` are int64 [examples]
    on the CPU. Two grids have equal content exactly if their indices are equal.
    """

    name: str
    grids: Grids
    sender: Tensor
    target: Tensor
    puzzle: Tensor
    label: Tensor
    puzzle_ids: tuple[str, ...]
    example_ids: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.example_ids)

    def __repr__(self) -> str:
        return f"Split({self.name}: {len(self)} examples, {len(self.grids)} grids)"

    def senders(self, examples: Tensor) -> Grids:
        """Return the sender's grids of ``examples``, int64 [batch] on the CPU or the device."""
        return self.grids[self._beside(examples).sender[examples]]

    def targets(self, examples: Tensor) -> Grids:
        """Return the target grids of ``examples``, int64 [batch] on the CPU or the device."""
        return self.grids[self._beside(examples).target[examples]]

    def labels(self, examples: Tensor) -> Tensor:
        """Return the labels of ``examples``, int64 [batch] on the CPU or the device."""
        return self._beside(examples).label[examples]

    def _beside(self, examples: Tensor) -> Split:
        return self if examples.device.type == "cpu" else self._on_device

    @cached_property
    def _on_device(self) -> Split:
        device = self.grids.cells.device
        columns = (self.sender, self.target, self.label)
        sender, target, label = (column.to(device) for column in columns)
        return replace(self, sender=sender, target=target, label=label)

    @property
    def candidates(self) -> Tensor:
        """Indices of the distinct target grids, ascending: int64 [candidates]."""
        return self.target.unique()

    @classmethod
    def build(cls, name: str, examples: list[Example], device: torch.device | str) -> Split:
        """Build a split on ``device``; an empty list gives an empty split."""
        index: dict[bytes, int] = {}
        arrays: list[np.ndarray] = []

        def place(grid: np.ndarray) -> int:
            key = content_key(grid)
            if key not in index:
                index[key] = len(arrays)
                arrays.append(grid)
            return index[key]

        senders = [place(example.sender) for example in examples]
        targets = [place(example.target) for example in examples]
        ids = tuple(dict.fromkeys(example.puzzle for example in examples))
        number = {id_: position for position, id_ in enumerate(ids)}
        empty = Grids(torch.zeros(0, 1, 1, dtype=torch.uint8), torch.zeros(0, 2, dtype=torch.int64))
        return cls(
            name,
            (Grids.from_arrays(arrays) if arrays else empty).to(device),
            torch.tensor(senders, dtype=torch.int64),
            torch.tensor(targets, dtype=torch.int64),
            torch.tensor([number[example.puzzle] for example in examples], dtype=torch.int64),
            torch.tensor([example.label for example in examples], dtype=torch.int64),
            ids,
            tuple(f"{example.puzzle} {example.place}" for example in examples),
        )


@dataclass(frozen=True)
class Corpus:
    """The three splits. ``notes`` say which examples were left out, and why.

    ``fingerprint`` is a hash of all examples. ``synthetic`` and ``crop`` are the shares of each
    training batch that are generated and cropped. ``for_pretraining``: a main training on the same
    data follows. ``leaked``: see ``with_test``.
    """

    training: Split
    validation: Split
    test: Split
    fingerprint: str
    notes: list[str] = field(default_factory=list)
    synthetic: float = 0.0
    crop: float = 0.0
    for_pretraining: bool = False
    leaked: int | None = None

    def __repr__(self) -> str:
        return f"Corpus({self.training}, {self.validation}, {self.test})"


@dataclass(frozen=True)
class SplitSpec:
    """How examples are formed from puzzles and held out from training.

    ``pairs`` selects (input, output) examples. ``held_out`` is ``puzzles`` (whole puzzles),
    ``pairs`` (pairs of every puzzle; the test split then holds the puzzles' own test pairs, and
    ``data.test`` is not used), or ``training_pairs`` (pairs of the puzzles that ``puzzles``
    leaves for training).
    """

    pairs: bool
    held_out: HoldOut


def load_corpus(
    config: DataConfig,
    spec: SplitSpec,
    *,
    before: SplitSpec | None = None,
    device: torch.device | str = "cpu",
) -> Corpus:
    """Read, filter, split and deduplicate the data that ``config`` names.

    ``before``, for pretraining, is the spec of the main training that follows; the examples that
    it holds out are removed from the training split. Raises DataError if no training example
    is left.
    """
    sets = DATASETS[config.name](config).load()
    notes = [
        note
        for name, puzzles in (("training", sets.learning), ("test", sets.test))
        for note in _left_out(name, puzzles)
    ]
    sets = _with_additional(sets, config, notes)
    parts = _parts(sets, config, spec, before, notes)
    names = ("training", "validation", "test")
    if not parts[0]:
        raise DataError(f"data={config.name}: the training set is empty; {'; '.join(notes)}")
    training, validation, test = (
        Split.build(name, part, device) for name, part in zip(names, parts, strict=True)
    )
    return Corpus(
        training,
        validation,
        test,
        _fingerprint(parts),
        notes,
        synthetic=config.synthetic,
        crop=config.crop,
        for_pretraining=before is not None,
    )


def with_test(corpus: Corpus, config: DataConfig, spec: SplitSpec) -> Corpus:
    """Replace the test split of ``corpus`` by the one that ``config`` names.

    Examples with a grid that occurs in the training split are left out; ``leaked`` is their number.
    The other splits and the fingerprint stay the same. If ``spec`` does not use ``data.test``,
    the corpus is returned unchanged.
    """
    if spec.held_out == "pairs":
        return corpus
    puzzles = DATASETS[config.name](config).load().test
    notes = [note for note in corpus.notes if not note.startswith("test:")]
    notes += _left_out("test", puzzles)
    examples = _test_examples(puzzles, config, spec.pairs, notes)
    trained = {content_key(grid) for grid in corpus.training.grids.arrays()}
    kept = [example for example in examples if trained.isdisjoint(example.contents)]
    leaked = len(examples) - len(kept)
    notes.append(
        f"test: {leaked} of {len(examples)} examples left out because the run was trained on "
        "their grids"
    )
    test = Split.build("test", kept, corpus.training.grids.cells.device)
    return replace(corpus, test=test, notes=notes, leaked=leaked)


def _left_out(name: str, puzzles: list[Puzzle]) -> Iterable[str]:
    """Yield notes on the pairs and puzzles that cannot be used."""
    if unanswered := sum(puzzle.unanswered for puzzle in puzzles):
        yield f"{name}: {counted(unanswered, 'pair')} without an output left out"
    if empty := [puzzle.id for puzzle in puzzles if not puzzle.train + puzzle.test]:
        count = counted(len(empty), "puzzle")
        yield f"{name}: {count} without a pair left out ({shortened(empty)})"


def _with_additional(sets: PuzzleSets, config: DataConfig, notes: list[str]) -> PuzzleSets:
    """Add the puzzles of ``data.also`` that share no pair with an earlier puzzle."""
    learning = list(sets.learning)
    for name in config.also:
        known: set[bytes] = set().union(*(puzzle.pair_keys for puzzle in learning))
        found = additional_puzzles(name)
        notes += _left_out(name, found)
        new = [puzzle for puzzle in found if known.isdisjoint(puzzle.pair_keys)]
        notes.append(
            f"training: {len(new)} of {len(found)} puzzles added from {name}; the others share "
            "pairs with earlier puzzles"
        )
        learning += new
    return replace(sets, learning=learning)


def _parts(
    sets: PuzzleSets,
    config: DataConfig,
    spec: SplitSpec,
    before: SplitSpec | None,
    notes: list[str],
) -> list[list[Example]]:
    """Return the examples of the three sets."""
    if spec.held_out == "pairs":
        examples = _filtered(_all_examples(sets.learning, pairs=False), config, notes)
    else:
        parts = _by_puzzle(sets.learning, sets.test, config, spec.pairs, notes)
        parts = _without_copies(parts, notes)
        examples = parts[0]
    if before is not None:
        known = _parts(sets, config, before, None, [])
        examples = _without_held_out(examples, known, before, notes)
    if spec.held_out == "puzzles":
        return [examples, *parts[1:]]
    notes.append("test: the test pairs of the training puzzles; data.test is not used")
    return _numbered(_without_copies(_by_pair(examples, config), notes), notes)


def _without_held_out(
    examples: list[Example], parts: list[list[Example]], spec: SplitSpec, notes: list[str]
) -> list[Example]:
    """Remove the examples that the main training, with ``parts``, holds out."""
    held: set[bytes] = set().union(*(e.contents for part in parts[1:] for e in part))
    puzzles = {example.puzzle for example in parts[0]}
    whole = spec.held_out == "puzzles"
    kept = [
        e for e in examples if held.isdisjoint(e.contents) and (e.puzzle in puzzles or not whole)
    ]
    if len(kept) < len(examples):
        removed = len(examples) - len(kept)
        notes.append(
            f"training: {counted(removed, 'example')} removed: held out by the main training"
        )
    return kept


def _all_examples(puzzles: list[Puzzle], *, pairs: bool) -> list[Example]:
    """Return the examples of every pair of every puzzle, in order.

    Puzzles with equal ids are one puzzle, whose pairs are numbered consecutively.
    """
    count: Counter[tuple[str, str]] = Counter()
    examples: list[Example] = []
    for number, puzzle in enumerate(puzzles):
        for part, content in (("train", puzzle.train), ("test", puzzle.test)):
            for pair in content:
                place = f"{part} {count[puzzle.id, part]}"
                count[puzzle.id, part] += 1
                examples += _examples_of_pair(puzzle, number, pairs, pair, place)
    return examples


def _examples_of_pair(
    puzzle: Puzzle, number: int, pairs: bool, pair: Pair, place: str
) -> Iterable[Example]:
    if pairs:
        yield Example(puzzle.id, place, 2 * number, *pair, puzzle.is_additional)
        return
    for side, grid in enumerate(pair):
        name = f"{place} {'input' if side == 0 else 'output'}"
        yield Example(puzzle.id, name, 2 * number + side, grid, grid, puzzle.is_additional)


def _filtered(examples: list[Example], config: DataConfig, notes: list[str]) -> list[Example]:
    """Apply ``data.filter_grid_size``, then ``data.max_grids``."""
    size = config.filter_grid_size
    if size is not None:
        kept = [e for e in examples if e.sender.shape == e.target.shape == tuple(size)]
        height, width = size
        notes.append(
            f"filter_grid_size: {len(kept)} of {len(examples)} examples are {height} x {width}"
        )
        examples = kept
    if config.max_grids and config.max_grids < len(examples):
        notes.append(
            f"max_grids: the first {config.max_grids} of {len(examples)} examples are used"
        )
        examples = examples[: config.max_grids]
    return examples


def _by_puzzle(
    learning: list[Puzzle], test: list[Puzzle], config: DataConfig, pairs: bool, notes: list[str]
) -> list[list[Example]]:
    learning = _without_puzzles_of(test, learning, notes)
    examples = _filtered(_all_examples(learning, pairs=pairs), config, notes)
    ids = sorted({example.puzzle for example in examples if not example.is_additional})
    random.Random(config.split_seed).shuffle(ids)
    chosen = set(ids[: _held_out_count(len(ids), config.validation_fraction)])
    more = {example.puzzle for example in examples if example.is_additional} & chosen
    if more:
        notes.append(
            f"training: {counted(len(more), 'puzzle')} of data.also removed: same id as a "
            f"validation puzzle ({shortened(sorted(more))})"
        )
    return [
        [example for example in examples if example.puzzle not in chosen],
        [e for e in examples if e.puzzle in chosen and not e.is_additional],
        _test_examples(test, config, pairs, notes),
    ]


def _test_examples(
    puzzles: list[Puzzle], config: DataConfig, pairs: bool, notes: list[str]
) -> list[Example]:
    """Return the examples of test puzzles, after ``data.filter_grid_size``."""
    examples, size = _all_examples(puzzles, pairs=pairs), config.filter_grid_size
    if size is None:
        return examples
    kept = [e for e in examples if e.sender.shape == e.target.shape == tuple(size)]
    if len(kept) < len(examples):
        notes.append(f"test: filter_grid_size keeps {len(kept)} of {len(examples)} examples")
    return kept


def _held_out_count(puzzles: int, fraction: float) -> int:
    """Return the number of validation puzzles: at least one if ``fraction`` > 0, never all."""
    if fraction == 0:
        return 0
    return min(max(round(fraction * puzzles), 1), puzzles - 1)


def _by_pair(examples: list[Example], config: DataConfig) -> list[list[Example]]:
    """Hold out one demonstration pair of each puzzle for validation and its test pairs for test.

    All pairs of ``data.also`` are for training, also those of a puzzle with a known id. Copies of
    held-out grids among them are left to ``_without_copies``.
    """
    rng = random.Random(config.split_seed)
    own = [example for example in examples if not example.is_additional]
    shown: dict[str, list[str]] = {}
    for example in own:
        pairs = shown.setdefault(example.puzzle, [])
        if example.pair.startswith("train") and example.pair not in pairs:
            pairs.append(example.pair)
    held = set()
    if config.validation_fraction > 0:
        held = {(id_, rng.choice(pairs)) for id_, pairs in shown.items() if len(pairs) > 1}
    parts: list[list[Example]] = [[], [], []]
    for example in own:
        tested = example.pair.startswith("test")
        parts[2 if tested else int((example.puzzle, example.pair) in held)].append(example)
    parts[0] += [example for example in examples if example.is_additional]
    return parts


def _without_puzzles_of(
    test: list[Puzzle], learning: list[Puzzle], notes: list[str]
) -> list[Puzzle]:
    """Remove training puzzles that share a pair with a test puzzle; ids need not be unique."""
    keys: set[bytes] = set().union(*(puzzle.pair_keys for puzzle in test))
    removed = {puzzle.id for puzzle in learning if not keys.isdisjoint(puzzle.pair_keys)}
    if removed:
        notes.append(
            f"training: {counted(len(removed), 'puzzle')} removed because of pairs that are in the "
            f"test set ({shortened(sorted(removed))})"
        )
    return [puzzle for puzzle in learning if puzzle.id not in removed]


def _without_copies(parts: list[list[Example]], notes: list[str]) -> list[list[Example]]:
    """Remove validation examples that occur in test, and training examples that occur in either."""
    training, validation, test = parts
    held: set[bytes] = set().union(*(example.contents for example in test))
    kept_validation = [e for e in validation if held.isdisjoint(e.contents)]
    held = held.union(*(example.contents for example in kept_validation))
    kept_training = [e for e in training if held.isdisjoint(e.contents)]
    for name, removed, others in (
        ("validation", len(validation) - len(kept_validation), "test set"),
        ("training", len(training) - len(kept_training), "validation or test set"),
    ):
        if removed:
            notes.append(f"{name}: {counted(removed, 'example')} removed: also in the {others}")
    return [kept_training, kept_validation, test]


def _numbered(parts: list[list[Example]], notes: list[str]) -> list[list[Example]]:
    """Number the puzzles of the training split; remove held-out examples of other puzzles.

    Pairs of ``data.also`` do not bring back the held-out examples of a puzzle.
    """
    ids = dict.fromkeys(example.puzzle for example in parts[0])
    own = {example.puzzle for example in parts[0] if not example.is_additional}
    numbers = {id_: number for number, id_ in enumerate(ids)}
    numbered = [
        [
            replace(example, label=2 * numbers[example.puzzle] + example.label % 2)
            for example in part
            if example.is_additional or example.puzzle in own
        ]
        for part in parts
    ]
    removed = sum(map(len, parts)) - sum(map(len, numbered))
    if removed:
        notes.append(f"{counted(removed, 'example')} removed: no training example of the puzzle")
    return numbered


def _fingerprint(parts: list[list[Example]]) -> str:
    """Return a hash of every example's id and content, in order."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{len(part)};".encode())
        for example in part:
            digest.update(f"{example.puzzle} {example.place};".encode())
            digest.update(content_key(example.sender) + content_key(example.target))
    return digest.hexdigest()[:16]
