"""Examples: pairs with similar messages, and the best and the worst."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
import torch

from arc.metrics.language import Language
from arc.report.base import (
    Block,
    Card,
    ReportedRun,
    Row,
    Section,
    Symbol,
    name_of_run,
    of_run,
    share_of,
    shown,
)
from arc.report.grids import grid_svg

NEIGHBORS, EQUALS, EXAMPLES = 8, 4, 6  # of each run


def neighbors(runs: Sequence[ReportedRun]) -> Section:
    """Return pairs of grids whose messages are equal, or differ in one symbol."""
    is_discrete = any(run.language is not None for run in runs)
    note = "Pairs of different grids whose messages are equal or differ in one symbol."
    if not is_discrete:
        note = "Pairs of different grids whose vectors are closest to each other."
    section = Section("neighbours", "Message neighbours", note)
    for run in runs:
        found = list(_neighbors(run, share_of(NEIGHBORS, runs), share_of(EQUALS, runs)))
        rows = [of_run(runs, run, row) for row, _ in found]
        section.add_rows("neighbours", rows)
        if found:
            title = name_of_run(runs, run)
            cards = [card for _, card in found]
            section.blocks.append(Block("cards", title, items=cards))
    return section


def _neighbors(run: ReportedRun, count: int, equal: int) -> Iterator[tuple[Row, Card]]:
    names, rows = run.observed.split.example_ids, run.observed.rows
    if run.language is None:
        for one, other, distance in _closest(run, count):
            row = {"first": names[one], "second": names[other], "distance": distance}
            yield row, _pair_card(run, f"distance {distance:.3g}", one, other)
        return
    messages = run.language.symbols
    for one, other in _pairs(messages, run.observed.split.sender.numpy(), count, equal):
        different = np.flatnonzero(messages[one] != messages[other])
        position = int(different[0]) if len(different) else None
        title = "equal messages" if position is None else f"position {position + 1} differs"
        marked = [
            [
                Symbol(text, place == position)
                for place, text in enumerate(symbols_of(run.language, each))
            ]
            for each in (one, other)
        ]
        row = {
            "first": names[one],
            "second": names[other],
            "position": None if position is None else position + 1,
            "first_message": " ".join(map(str, rows[one]["message"])),
            "second_message": " ".join(map(str, rows[other]["message"])),
        }
        yield row, _pair_card(run, title, one, other, marked)


def symbols_of(language: Language, example: int) -> list[str]:
    """Return the symbols of a message as texts; what is after the end is a dash."""
    return [
        str(symbol) if symbol < language.vocab_size else "–"
        for symbol in language.symbols[example].tolist()
    ]


def _pair_card(
    run: ReportedRun,
    title: str,
    one: int,
    other: int,
    messages: Sequence[Sequence[Symbol]] = (),
) -> Card:
    names = run.observed.split.example_ids
    grids = [(names[each], grid_svg(run.sent_grid(each), names[each])) for each in (one, other)]
    return Card(title, grids, messages=messages)


def _pairs(
    messages: np.ndarray, grids: np.ndarray, count: int, equal: int
) -> Iterator[tuple[int, int]]:
    """Yield up to ``equal`` pairs with equal messages, then ``count`` that differ in one symbol.

    ``grids`` are the numbers of the grids. The positions take turns. No example is in two pairs.
    """
    used: set[int] = set()

    def some(examples: np.ndarray, key: np.ndarray, limit: int) -> list[tuple[int, int]]:
        """Return pairs of unused examples with equal rows of ``key`` and different grids."""
        groups: dict[tuple[int, ...], list[int]] = {}
        for example, row in zip(examples.tolist(), key.tolist(), strict=True):
            if example not in used:
                groups.setdefault(tuple(row), []).append(example)
        found = [
            (one, next((each for each in rest if grids[each] != grids[one]), None))
            for one, *rest in groups.values()
        ]
        pairs = [(one, other) for one, other in found if other is not None][:limit]
        used.update(each for pair in pairs for each in pair)
        return pairs

    yield from some(np.arange(len(messages)), messages, equal)
    distinct = np.sort(np.unique(messages, axis=0, return_index=True)[1])
    length = messages.shape[1]
    positions = np.unique(np.linspace(0, length - 1, min(length, count)).astype(int))
    limit = -(-count // len(positions))
    turns = [
        some(distinct, np.delete(messages[distinct], position, 1), limit) for position in positions
    ]
    yield from [pair for turn in zip_longest(*turns) for pair in turn if pair is not None][:count]


def _closest(run: ReportedRun, count: int) -> Iterator[tuple[int, int, float]]:
    """Yield pairs of different grids with their distance, closest first, no example in two."""
    vectors = run.observed.evaluation.signal.float().cpu()
    if len(vectors) == 0:
        return
    grids = run.observed.split.sender
    nearest, other = [], []
    for part in torch.arange(len(vectors)).split(512):
        distances = torch.cdist(vectors[part], vectors)
        distances.masked_fill_(grids[part, None] == grids, math.inf)
        found = distances.min(1)
        nearest.append(found.values)
        other.append(found.indices)
    distance, closest = torch.cat(nearest), torch.cat(other)
    used: set[int] = set()
    for one in distance.argsort(stable=True).tolist():
        pair = {one, int(closest[one])}
        if len(used) >= 2 * count or not math.isfinite(distance[one]):
            return
        if used.isdisjoint(pair):
            used |= pair
            yield one, int(closest[one]), float(distance[one])


def examples(runs: Sequence[ReportedRun]) -> Section:
    """Return the examples with the highest and with the lowest accuracy."""
    section = Section(
        "examples",
        "Best and worst examples",
        "At most one of each puzzle. Cells that differ from the target are crossed out.",
    )
    for run in runs:
        rows = run.observed.rows
        covered = [number for number, row in enumerate(rows) if row["accuracy"] is not None]
        order = sorted(covered, key=lambda number: _quality(run, number))
        count = share_of(EXAMPLES, runs)
        for kind, numbers in (("worst", order), ("best", order[::-1])):
            chosen = _one_of_each_puzzle(rows, numbers, count)
            table_rows = [
                of_run(runs, run, {"kind": kind, **_plain(rows[each])}) for each in chosen
            ]
            section.add_rows("examples", table_rows)
            title = f"{run.label}: {kind}" if len(runs) > 1 else kind.capitalize()
            cards = [_example_card(run, number) for number in chosen]
            if cards:
                section.blocks.append(Block("cards", title, items=cards))
    return section


def _quality(run: ReportedRun, number: int) -> tuple[float, ...]:
    """Return a key that is larger for a better example; of exact grids, for a larger one."""
    row = run.observed.rows[number]
    if "wrong_cells" in row:
        size = run.target_grid(number).size
        return (row["right_cells"], size if row["correct"] else -row["wrong_cells"], -number)
    probability = row.get("probability") or 0.0
    return (row["accuracy"], -(row.get("rank") or 0), probability, -number)


def _one_of_each_puzzle(rows: Sequence[Row], numbers: Sequence[int], count: int) -> list[int]:
    chosen: dict[str, int] = {}
    for number in numbers:
        if len(chosen) < count:
            chosen.setdefault(rows[number]["puzzle"], number)
    return list(chosen.values())


def _plain(row: Row) -> Row:
    """Return a row without grids and vectors, its message as one text."""
    kept = {key: value for key, value in row.items() if key not in ("vector", "prediction")}
    if "message" in row:
        kept["message"] = " ".join(map(str, row["message"]))
    if isinstance(row["prediction"], str):
        kept["prediction"] = row["prediction"]
    return kept


def _example_card(run: ReportedRun, number: int) -> Card:
    row, sent, target = run.observed.rows[number], run.sent_grid(number), run.target_grid(number)
    is_pair = sent.shape != target.shape or bool((sent != target).any())
    grids = [("input" if is_pair else "sent", grid_svg(sent, "sent grid"))]
    if is_pair:
        grids.append(("target", grid_svg(target, "target")))
    answer = row["prediction"]
    if isinstance(answer, list):
        built = np.array(answer, np.uint8)
        grids.append(("built", grid_svg(built, "built grid", target)))
    elif not row["correct"] and (chosen := _grid_named(run, answer)) is not None:
        grids.append(("chosen", grid_svg(chosen, f"chosen: {answer}")))
    facts = [f"accuracy {shown(row['accuracy'])} %"]
    if "rank" in row:
        facts.append(f"rank {row['rank']} of {row['candidates']:,}")
        facts.append(f"probability {row['probability']:.3g}")
    if "wrong_cells" in row:
        facts.append(f"{row['wrong_cells']} of {target.size} cells wrong")
    if isinstance(answer, str) and not row["correct"]:
        facts.append(f"chosen: {answer}")
    language = run.language
    sent_symbols = [] if language is None else [list(map(Symbol, symbols_of(language, number)))]
    return Card(row["example"], grids, facts, sent_symbols)


def _grid_named(run: ReportedRun, answer: Any) -> np.ndarray | None:
    """Return the grid of a chosen example, or one of a chosen class; None if there is none."""
    split = run.observed.split
    for number, name in enumerate(split.example_ids):
        puzzle = split.puzzle_ids[int(split.puzzle[number])]
        if answer in (name, f"{puzzle} {name.split()[-1]}"):
            return run.target_grid(number)
    return None
