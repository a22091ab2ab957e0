"""Three sets that share no content: training, validation and test.

Test puzzles are touched once, at the end. Validation is a share of the learning
puzzles, by puzzle, or (to name puzzles) pairs held out of each puzzle. Copies are found
by content and leave the training set first, then validation, so that a figure on the
test puzzles always covers the same grids.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from arc.data.grids import DataError, Grids, content_key
from arc.data.sources import DATASETS, DataConfig, Pair, Puzzle, PuzzleSets

HoldOut = Literal["puzzles", "pairs", "training_pairs"]


@dataclass(frozen=True)
class Example:
    """One thing to talk about: what the sender sees and what the receiver is judged by.

    Outside pair mode ``target`` is the grid that the sender sees; in pair mode it is the
    output of that input. ``label`` is 2 x puzzle + (0 for an input, 1 for an output).
    """

    puzzle: str
    place: str
    label: int
    sender: np.ndarray
    target: np.ndarray

    @property
    def pair(self) -> str:
        """Which of its puzzle's pairs it is of, such as ``train 0``."""
        return " ".join(self.place.split()[:2])

    @property
    def contents(self) -> set[bytes]:
        """Content keys of the grids in it."""
        return {content_key(self.sender), content_key(self.target)}


@dataclass(frozen=True)
class Split:
    """One of the three sets, its grids on the device, each content held once.

    ``sender``, ``target`` (indices into ``grids``), ``puzzle`` and ``label`` are int64
    [examples] on the CPU. Two grids are the same content exactly when their indices are equal.
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

    @property
    def candidates(self) -> Tensor:
        """Indices of the distinct target grids, ascending: int64 [candidates]."""
        return self.target.unique()

    @classmethod
    def build(cls, name: str, examples: list[Example], device: torch.device | str) -> Split:
        """Hold ``examples`` on ``device``; an empty list gives an empty split."""
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
    """The three sets, how many puzzles there are to name, and what was left out and why."""

    training: Split
    validation: Split
    test: Split
    num_puzzles: int
    fingerprint: str
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class SplitSpec:
    """How examples are made of puzzles, and what is kept from training.

    ``pairs`` asks for (input, output) examples. Kept from training are whole puzzles, or pairs of
    every puzzle (then ``data.test`` is not used: the puzzles' own test pairs are the test set),
    or pairs of those puzzles only that ``puzzles`` would train on.
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

    ``before`` is the spec of a training that will go on from what is learned here: nothing
    is trained on that it holds out. Raises DataError when nothing is left to learn from.
    """
    sets = DATASETS[config.name](config).load()
    notes: list[str] = []
    parts = _parts(sets, config, spec, before, notes)
    names = ("training", "validation", "test")
    if not parts[0]:
        raise DataError(f"data={config.name}: no grid is left to train on; {'; '.join(notes)}")
    training, validation, test = (
        Split.build(name, part, device) for name, part in zip(names, parts, strict=True)
    )
    num_puzzles = len({example.puzzle for example in parts[0]})
    return Corpus(training, validation, test, num_puzzles, _fingerprint(parts), notes)


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
    notes.append("test: the puzzles' own test pairs; data.test is not used to name puzzles")
    return _numbered(_without_copies(_by_pair(examples, config), notes), notes)


def _without_held_out(
    examples: list[Example], parts: list[list[Example]], spec: SplitSpec, notes: list[str]
) -> list[Example]:
    """Leave out what another training, of ``parts``, holds out: by content, or whole puzzles."""
    held: set[bytes] = set().union(*(e.contents for part in parts[1:] for e in part))
    puzzles = {example.puzzle for example in parts[0]}
    whole = spec.held_out == "puzzles"
    kept = [
        e for e in examples if held.isdisjoint(e.contents) and (e.puzzle in puzzles or not whole)
    ]
    if len(kept) < len(examples):
        left_out = len(examples) - len(kept)
        notes.append(f"training: {left_out} that the main training holds out, left out")
    return kept


def _all_examples(puzzles: list[Puzzle], *, pairs: bool) -> list[Example]:
    """Return the examples of every pair of every puzzle, in order."""
    return [
        example
        for number, puzzle in enumerate(puzzles)
        for part, content in (("train", puzzle.train), ("test", puzzle.test))
        for index, pair in enumerate(content)
        for example in _examples_of_pair(puzzle, number, pairs, pair, f"{part} {index}")
    ]


def _examples_of_pair(
    puzzle: Puzzle, number: int, pairs: bool, pair: Pair, place: str
) -> Iterable[Example]:
    if pairs:
        yield Example(puzzle.id, place, 2 * number, *pair)
        return
    for side, grid in enumerate(pair):
        name = f"{place} {'input' if side == 0 else 'output'}"
        yield Example(puzzle.id, name, 2 * number + side, grid, grid)


def _filtered(examples: list[Example], config: DataConfig, notes: list[str]) -> list[Example]:
    """Apply ``data.filter_grid_size``, then ``data.max_grids``."""
    size = config.filter_grid_size
    if size is not None:
        kept = [e for e in examples if e.sender.shape == e.target.shape == tuple(size)]
        height, width = size
        notes.append(f"filter_grid_size: {len(kept)} of {len(examples)} are {height} x {width}")
        examples = kept
    if config.max_grids and config.max_grids < len(examples):
        notes.append(f"max_grids: the first {config.max_grids} of {len(examples)}")
        examples = examples[: config.max_grids]
    return examples


def _by_puzzle(
    learning: list[Puzzle], test: list[Puzzle], config: DataConfig, pairs: bool, notes: list[str]
) -> list[list[Example]]:
    learning = _without_puzzles_of(test, learning, notes)
    examples = _filtered(_all_examples(learning, pairs=pairs), config, notes)
    ids = sorted({example.puzzle for example in examples})
    random.Random(config.split_seed).shuffle(ids)
    chosen = set(ids[: _held_out_count(len(ids), config.validation_fraction)])
    testing = _all_examples(test, pairs=pairs)
    size = config.filter_grid_size
    if size is not None:
        testing = [e for e in testing if e.sender.shape == e.target.shape == tuple(size)]
    return [
        [example for example in examples if example.puzzle not in chosen],
        [example for example in examples if example.puzzle in chosen],
        testing,
    ]


def _held_out_count(puzzles: int, fraction: float) -> int:
    """Return how many puzzles validate: at least one where a fraction is asked for, never all."""
    if fraction == 0:
        return 0
    return min(max(round(fraction * puzzles), 1), puzzles - 1)


def _by_pair(examples: list[Example], config: DataConfig) -> list[list[Example]]:
    """Hold one demonstration pair of each puzzle out for validation, its test pairs for test."""
    rng = random.Random(config.split_seed)
    shown: dict[str, list[str]] = {}
    for example in examples:
        pairs = shown.setdefault(example.puzzle, [])
        if example.pair.startswith("train") and example.pair not in pairs:
            pairs.append(example.pair)
    held = set()
    if config.validation_fraction > 0:
        held = {(id_, rng.choice(pairs)) for id_, pairs in shown.items() if len(pairs) > 1}
    parts: list[list[Example]] = [[], [], []]
    for example in examples:
        tested = example.pair.startswith("test")
        parts[2 if tested else int((example.puzzle, example.pair) in held)].append(example)
    return parts


def _without_puzzles_of(
    test: list[Puzzle], learning: list[Puzzle], notes: list[str]
) -> list[Puzzle]:
    """Leave out learning puzzles that are test puzzles: by id, or by any pair they share."""

    def pair_keys(puzzle: Puzzle) -> set[bytes]:
        return {content_key(a) + content_key(b) for a, b in puzzle.train + puzzle.test}

    ids = {puzzle.id for puzzle in test}
    keys = set().union(*map(pair_keys, test)) if test else set()
    kept = [p for p in learning if p.id not in ids and keys.isdisjoint(pair_keys(p))]
    if len(kept) < len(learning):
        notes.append(f"training: {len(learning) - len(kept)} puzzles of the test set, left out")
    return kept


def _without_copies(parts: list[list[Example]], notes: list[str]) -> list[list[Example]]:
    """Drop validation examples whose content is in test, and training ones that are in either."""
    training, validation, test = parts
    held: set[bytes] = set().union(*(example.contents for example in test))
    kept_validation = [e for e in validation if held.isdisjoint(e.contents)]
    held = held.union(*(example.contents for example in kept_validation))
    kept_training = [e for e in training if held.isdisjoint(e.contents)]
    for name, before, after in (
        ("validation", validation, kept_validation),
        ("training", training, kept_training),
    ):
        if len(after) < len(before):
            notes.append(f"{name}: {len(before) - len(after)} copies of held-out grids, left out")
    return [kept_training, kept_validation, test]


def _numbered(parts: list[list[Example]], notes: list[str]) -> list[list[Example]]:
    """Number the puzzles that are left to train on; leave out held-out pairs of others."""
    ids = dict.fromkeys(example.puzzle for example in parts[0])
    numbers = {id_: number for number, id_ in enumerate(ids)}
    numbered = [
        [
            replace(example, label=2 * numbers[example.puzzle] + example.label % 2)
            for example in part
            if example.puzzle in numbers
        ]
        for part in parts
    ]
    left_out = sum(map(len, parts)) - sum(map(len, numbered))
    if left_out:
        notes.append(f"held out: {left_out} grids of puzzles with none to train on, left out")
    return numbered


def _fingerprint(parts: list[list[Example]]) -> str:
    """Return a hash of every example's place and content, in order."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{len(part)};".encode())
        for example in part:
            digest.update(f"{example.puzzle} {example.place};".encode())
            digest.update(content_key(example.sender) + content_key(example.target))
    return digest.hexdigest()[:16]
