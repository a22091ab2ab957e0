"""The parts of a report: runs, sections, and what a section shows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from markupsafe import Markup

from arc.metrics.concepts import split_concepts
from arc.metrics.language import Language
from arc.report.curves import Curves
from arc.report.drawing import inline
from arc.runs.results import Observed

Row = dict[str, Any]
NUMBER = re.compile(r"[-–.,()\d ]+|.* to .*")  # a number or an interval


@dataclass(frozen=True)
class ReportedRun:
    """An evaluated run. ``label`` is its name in the report, different for each run.

    ``curves`` is None if the run's ``metrics.jsonl`` was not found.
    """

    label: str
    path: Path
    results: dict[str, Any]
    observed: Observed
    curves: Curves | None

    @cached_property
    def language(self) -> Language | None:
        """The messages with the concepts of the grids that the sender saw; None for vectors."""
        split, evaluation = self.observed.split, self.observed.evaluation
        if evaluation.messages is None or self.observed.vocab_size is None or len(split) == 0:
            return None
        grids = split.grids[split.sender].to("cpu")
        return Language(
            evaluation.messages,
            evaluation.lengths,
            self.observed.vocab_size,
            split_concepts(split),
            grids,
        )

    @cached_property
    def grids(self) -> list[np.ndarray]:
        """The distinct grids of the evaluated set."""
        return self.observed.split.grids.to("cpu").arrays()

    def sent_grid(self, example: int) -> np.ndarray:
        """Return the grid that the sender sees."""
        return self.grids[int(self.observed.split.sender[example])]

    def target_grid(self, example: int) -> np.ndarray:
        """Return the grid that the receiver should choose or build."""
        return self.grids[int(self.observed.split.target[example])]


@dataclass(frozen=True)
class Symbol:
    """A symbol of a message. ``is_marked``: it differs from that of the other message."""

    text: str
    is_marked: bool = False


@dataclass(frozen=True)
class Card:
    """Grids with captions, messages and facts."""

    title: str
    grids: Sequence[tuple[str, Markup]]
    facts: Sequence[str] = ()
    messages: Sequence[Sequence[Symbol]] = ()


@dataclass(frozen=True)
class Block:
    """A part of a section; ``items`` are figures (Markup), cards, or the rows of a table.

    The values of a table are texts, or Markup for grids. ``numbers``: columns to align right.
    """

    kind: Literal["figures", "cards", "table", "note"]
    title: str = ""
    note: str = ""
    items: Sequence[Any] = ()
    head: Sequence[str] = ()
    numbers: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Section:
    """A section of the page. ``tables``: its data by file name, for CSV and JSON.

    ``drawings``: its figures by file name, as SVG documents.
    """

    id: str
    title: str
    note: str = ""
    blocks: list[Block] = field(default_factory=list)
    tables: dict[str, list[Row]] = field(default_factory=dict)
    drawings: dict[str, str] = field(default_factory=dict)

    def add_rows(self, name: str, rows: Iterable[Row]) -> None:
        """Add rows to the table ``name``."""
        self.tables.setdefault(name, []).extend(rows)

    def draw(self, name: str, svg: str, title: str) -> tuple[str, Markup]:
        """Add a drawing; returns its title and its element, an item of a block of figures."""
        self.drawings[name] = svg
        return title, inline(svg, name, f"{self.title}: {title}")

    def draw_run(
        self, runs: Sequence[ReportedRun], run: ReportedRun, name: str, svg: str, title: str
    ) -> tuple[str, Markup]:
        """Add a drawing of one run, whose file has a number if there are several."""
        if len(runs) == 1:
            return self.draw(name, svg, title)
        return self.draw(f"{name}_{list(runs).index(run) + 1}", svg, run.label)

    def add_figures(self, items: Sequence[tuple[str, Markup]]) -> None:
        """Add a block of figures, if there are any."""
        if items:
            self.blocks.append(Block("figures", items=items))


def table(rows: Sequence[Row], *, title: str = "", digits: int = 2, note: str = "") -> Block:
    """Return a block with ``rows`` as a table; floats with ``digits`` after the point."""
    head = list(dict.fromkeys(key for row in rows for key in row))
    cells = [[shown(row.get(key), digits) for key in head] for row in rows]
    columns = zip(head, zip(*cells, strict=True), strict=True)
    numbers = {key for key, column in columns if all(map(NUMBER.fullmatch, column))}
    return Block("table", title, note, cells, head, frozenset(numbers))


def shown(value: Any, digits: int = 2) -> str:
    """Return a value as the text of a cell."""
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        digits = 0 if abs(value) >= 1000 else digits
        return f"{round(value, digits) + 0.0:,.{digits}f}"  # no -0
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    if isinstance(value, list | tuple):
        return ", ".join(shown(each, digits) for each in value) or "–"
    return value if isinstance(value, Markup) else str(value)


def words(name: str) -> str:
    """Return a name of a measure, metric or concept as words."""
    return name.replace("_", " ")


def of_run(runs: Sequence[ReportedRun], run: ReportedRun, row: Row) -> Row:
    """Return ``row`` with the name of its run first, if there are several."""
    return {"run": run.label, **row} if len(runs) > 1 else row


def name_of_run(runs: Sequence[ReportedRun], run: ReportedRun) -> str:
    """Return the title of a part about one run: its name if there are several, or nothing."""
    return run.label if len(runs) > 1 else ""


def share_of(count: int, runs: Sequence[ReportedRun]) -> int:
    """Return how many items to show of each run, so that the page of many runs stays small."""
    return max(2, count // max(1, len(runs) // 2))


def with_language(runs: Sequence[ReportedRun]) -> Iterator[tuple[ReportedRun, Language]]:
    """Yield the runs with discrete messages, and their languages."""
    for run in runs:
        if run.language is not None:
            yield run, run.language


def beside(
    runs: Sequence[ReportedRun], rows: Sequence[Row], keys: Sequence[str], values: dict[Any, Any]
) -> list[Row]:
    """Return a row for each value of ``keys`` in ``rows``, with a column for each run."""
    places = dict.fromkeys(tuple(row[key] for key in keys) for row in rows)
    return [
        {
            **dict(zip(keys, place, strict=True)),
            **{run.label: values.get((run.label, *place)) for run in runs},
        }
        for place in places
    ]
