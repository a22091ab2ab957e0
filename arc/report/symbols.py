"""Symbols: their frequency, their information about concepts, and a dictionary."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from arc.data.grids import NUM_COLORS
from arc.metrics.concepts import NO_COLOR
from arc.metrics.language import Language
from arc.metrics.language.dictionary import Entry, best_match
from arc.metrics.language.information import position_concepts
from arc.report import figures
from arc.report.base import (
    Block,
    Card,
    ReportedRun,
    Row,
    Section,
    name_of_run,
    of_run,
    share_of,
    with_language,
    words,
)
from arc.report.grids import COLOR_NAMES, grid_svg

SYMBOLS = 60  # rows of the heat map of symbols
ENTRIES = 12  # of the dictionary of a run
SMALL = 72  # px, of an example of the dictionary
COLOR_CONCEPTS = ("background", "foreground", "largest_color")
YES_OR_NO = ("left_right", "up_down", "diagonal", "antidiagonal", "rotation")


def symbols(runs: Sequence[ReportedRun]) -> Section:
    """Return the frequency of each symbol at each position."""
    section = Section(
        "symbols", "Symbols by position", "Share of the messages with each symbol, in percent."
    )
    items = []
    for run, language in with_language(runs):
        names, shares = _frequencies(language)
        positions = [str(place) for place in range(1, language.max_length + 1)]
        rows = [
            {"symbol": name, **dict(zip(positions, map(float, values), strict=True))}
            for name, values in zip(names, shares, strict=True)
        ]
        section.add_rows("symbols", (of_run(runs, run, row) for row in rows))
        names, shares = _most_frequent(names, shares)
        top = float(shares.max())
        svg = figures.heat_map(shares, names, positions, top=top, form="{:.0f}", label="position")
        items.append(section.draw_run(runs, run, "symbols", svg, "Symbols by position"))
    section.add_figures(items)
    return section


def _frequencies(language: Language) -> tuple[list[str], np.ndarray]:
    """Return the symbols and their shares at each position, in percent: [symbols, positions]."""
    size = language.vocab_size + 1
    counts = np.stack([np.bincount(column, minlength=size) for column in language.symbols.T], 1)
    names = [*map(str, range(language.vocab_size)), "after the end"]
    shares = 100 * counts / len(language)
    if not counts[-1].any():
        return names[:-1], shares[:-1]
    return names, shares


def _most_frequent(names: list[str], shares: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Return the rows of the SYMBOLS most frequent symbols, and the others as one row."""
    if len(names) <= SYMBOLS:
        return names, shares
    order = np.sort(np.argsort(-shares.sum(1), kind="stable")[:SYMBOLS])
    others = shares.sum(0) - shares[order].sum(0)
    kept = [names[place] for place in order]
    return [*kept, f"{len(names) - SYMBOLS} others"], np.vstack([shares[order], others])


def concepts(runs: Sequence[ReportedRun]) -> Section:
    """Return the mutual information of each position with each concept."""
    section = Section(
        "concepts",
        "Concepts and positions",
        "Mutual information in bits of the symbol at a position and a concept of the grid that the "
        "sender sees, less that of shuffled messages.",
    )
    items = []
    for run, language in with_language(runs):
        found = position_concepts(language, torch.Generator().manual_seed(0))
        bits = found.corrected.T
        positions = [str(place) for place in range(1, language.max_length + 1)]
        entropies = found.concept_entropy
        for name, entropy, values in zip(found.concepts, entropies, bits, strict=True):
            row = {"concept": name, "entropy": float(entropy)}
            row |= dict(zip(positions, map(float, values), strict=True))
            section.add_rows("concepts", [of_run(runs, run, row)])
        described = [name != "puzzle" for name in found.concepts]
        top = float(bits[described].max(initial=0.0)) or 1.0
        names = [words(name) for name in found.concepts]
        svg = figures.heat_map(bits, names, positions, top=top, form="{:.2f}", label="position")
        items.append(section.draw_run(runs, run, "concepts", svg, "Concepts and positions"))
    section.add_figures(items)
    return section


def dictionary(runs: Sequence[ReportedRun]) -> Section:
    """Return the best one-to-one dictionary of symbols at positions and values of concepts."""
    section = Section(
        "dictionary",
        "Dictionary",
        "Symbols at a position and the value of a concept that each is matched with: the best "
        "one-to-one assignment, most matches first. Precision: share of the grids with the symbol "
        "that have the value. Recall: share of the grids with the value that have the symbol. "
        "Chance: share of all grids that have the value.",
    )
    for run, language in with_language(runs):
        score, entries = best_match(language)
        rows = [_entry(language, entry) for entry in entries]
        section.add_rows("dictionary", (of_run(runs, run, row) for row in rows))
        cards = [_entry_card(run, language, entry) for entry in entries[: share_of(ENTRIES, runs)]]
        note = f"Concept best match (positions): {score:.3f}. All entries are in dictionary.csv."
        section.blocks.append(Block("cards", name_of_run(runs, run), note, cards))
    return section


def _entry(language: Language, entry: Entry) -> Row:
    assert entry.position is not None
    return {
        "position": entry.position + 1,
        "symbol": entry.symbol,
        "concept": entry.concept,
        "value": entry.value,
        "matches": entry.count,
        "precision": entry.precision,
        "recall": entry.recall,
        "chance": float((_values(language, entry) == entry.value).mean()),
    }


def value_of(concept: str, value: int) -> str:
    """Return the value of a concept in words."""
    if concept in COLOR_CONCEPTS:
        return "none" if value == NO_COLOR else COLOR_NAMES[value]
    if concept == "colors":
        return ", ".join(COLOR_NAMES[each] for each in range(NUM_COLORS) if value >> each & 1)
    if concept in YES_OR_NO:
        return "yes" if value else "no"
    if concept == "output":
        return "output" if value else "input"
    return str(value)


def _entry_card(run: ReportedRun, language: Language, entry: Entry) -> Card:
    """Return an entry with up to three grids of different puzzles that match it.

    These have the symbol and the value of the entry.
    """
    row, column = _entry(language, entry), _values(language, entry)
    has_symbol = language.symbols[:, entry.position] == entry.symbol
    examples = np.flatnonzero(has_symbol & (column == entry.value))
    puzzles = run.observed.split.puzzle.numpy()[examples]
    first = np.sort(np.unique(puzzles, return_index=True)[1])
    chosen = examples[first[np.linspace(0, len(first) - 1, min(3, len(first))).astype(int)]]
    names = run.observed.split.example_ids
    grids = [("", grid_svg(run.sent_grid(each), names[each], size=SMALL)) for each in chosen]
    word = f"symbol {row['symbol']}, position {row['position']}"
    value = f"{words(entry.concept)} = {value_of(entry.concept, entry.value)}"
    precision, chance, recall = (row[key] for key in ("precision", "chance", "recall"))
    facts = [
        f"precision {precision:.2f} (chance {chance:.2f}), recall {recall:.2f}",
        f"{row['matches']} matches",
    ]
    return Card(f"{word}: {value}", grids, facts)


def _values(language: Language, entry: Entry) -> np.ndarray:
    """Return the value of the entry's concept in each example."""
    return language.concepts.values[:, language.concepts.names.index(entry.concept)]
