"""Results: accuracies with their intervals and baselines, and after interventions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from arc.report import figures
from arc.report.base import ReportedRun, Row, Section, beside, of_run, shown, table, words
from arc.report.drawing import Line
from arc.runs.seeds import seed_groups
from arc.runs.tables import over_seeds, result_rows


def results(runs: Sequence[ReportedRun]) -> Section:
    """Return every accuracy with its interval and its baselines, also as means over seeds."""
    section = Section("results", "Results")
    rows = [of_run(runs, run, _result(row)) for run in runs for row in result_rows(run.results)]
    section.add_rows("results", rows)
    if len(runs) == 1:
        section.blocks.append(table(_with_interval(rows)))
    else:
        values = {(row["run"], row["set"], row["metric"]): _value(row) for row in rows}
        section.blocks.append(table(beside(runs, rows, ("set", "metric"), values)))
    by_label = {run.label: run.results for run in runs}
    means = []
    for labels in seed_groups(by_label):
        if len(labels) > 1:
            group = over_seeds([by_label[label] for label in labels])
            group = [row for row in group if row["interval"] is not None]
            means += [_mean(labels, row) for row in group]
            note = f"{', '.join(labels)} differ only in their seed."
            for title, is_language in (("Mean", False), ("Language, mean", True)):
                part = [row for row in group if (row["set"] == "language") == is_language]
                if part:
                    drawn = [_seed_row(labels, row) for row in part]
                    title = f"{title} over {len(labels)} seeds"
                    section.blocks.append(table(drawn, title=title, note=note))
    if means:
        section.add_rows("seeds", means)
    return section


def _result(row: Row) -> Row:
    low, high = row["interval"] or (None, None)
    start = {key: row[key] for key in ("set", "metric", "targets", "accuracy")}
    return {**start, "low": low, "high": high, **row["baselines"]}


def _with_interval(rows: Sequence[Row]) -> list[Row]:
    """Return rows with their intervals in one column."""
    shown_rows = []
    for row in rows:
        row = {**row, "metric": words(row["metric"]), "low": _interval(row["low"], row["high"])}
        del row["high"]
        shown_rows.append({"95 %" if key == "low" else key: row[key] for key in row})
    return shown_rows


def _interval(low: float | None, high: float | None, digits: int = 2) -> str:
    if low is None:
        return "–"
    return f"{shown(low, digits)}{' to ' if low < 0 else '–'}{shown(high, digits)}"


def _value(row: Row) -> str:
    """Return an accuracy with its interval as one text."""
    interval = "" if row["low"] is None else f" ({_interval(row['low'], row['high'])})"
    return f"{shown(row['accuracy'])}{interval}"


def _mean(labels: Sequence[str], row: Row) -> Row:
    low, high = row["interval"]
    return {
        "runs": " ".join(labels),
        "set": row["set"],
        "metric": row["metric"],
        "seeds": len(labels),
        "mean": row["mean"],
        "low": low,
        "high": high,
        **row["baselines"],
    }


def _seed_row(labels: Sequence[str], row: Row) -> Row:
    """Return the mean, its interval and the values; of language metrics with more digits."""
    digits = 3 if row["set"] == "language" else 2
    low, high = row["interval"]
    return {
        "set": row["set"],
        "metric": words(row["metric"]),
        "mean": shown(row["mean"], digits),
        "95 %": _interval(low, high, digits),
        **{label: shown(value, digits) for label, value in zip(labels, row["values"], strict=True)},
        **{name: shown(value, digits) for name, value in row["baselines"].items()},
    }


def accuracy(runs: Sequence[ReportedRun]) -> Section:
    """Return accuracies beside their baselines: against the number of distractors if it varies."""
    section = Section(
        "accuracy",
        "Accuracy and baselines",
        "Bars are 95 % intervals by the bootstrap over puzzles. "
        + ("Baselines are those of the first run." if len(runs) > 1 else ""),
    )
    items = []
    counts = sorted({count for run in runs for _, count in _games(run)})
    for kind in dict.fromkeys(kind for run in runs for kind, _ in _games(run)):
        lines = _against_distractors(runs, kind)
        title = f"{words(kind).capitalize()} distractors"
        svg = figures.accuracy_against_distractors(lines, counts)
        items.append(section.draw(f"accuracy_{kind}", svg, title))
    others = [run for run in runs if not _games(run)]
    if others:
        names, lines = _values(others)
        if names:
            svg = figures.dots(names, lines, "%", is_accuracy=True)
            title = "Test set" if others[0].observed.split.name == "test" else "Validation set"
            items.append(section.draw("accuracy", svg, title))
    section.add_figures(items)
    return section


def _metrics(run: ReportedRun) -> dict[str, Any]:
    """Return the results on the evaluated set."""
    found: dict[str, Any] = run.results.get(run.observed.split.name, {})
    return found


def _games(run: ReportedRun) -> dict[tuple[str, int], dict[str, Any]]:
    """Return the metrics of games, by the kind and the number of distractors."""
    found = {}
    for name, metric in _metrics(run).items():
        kind, _, count = name.rpartition("_")
        if count.isdigit() and metric["targets"] > 0:
            found[kind, int(count)] = metric
    return dict(sorted(found.items(), key=lambda item: item[0][1]))


def _against_distractors(runs: Sequence[ReportedRun], kind: str) -> list[Line]:
    lines, baselines = [], dict[str, Line]()
    for run in runs:
        games = {count: metric for (other, count), metric in _games(run).items() if other == kind}
        if not games:
            continue
        ends = [metric.get("intervals", {}).get("accuracy") for metric in games.values()]
        lines.append(
            Line(
                run.label if len(runs) > 1 else "accuracy",
                list(games),
                [metric["accuracy"] for metric in games.values()],
                [None if each is None else each[0] for each in ends],
                [None if each is None else each[1] for each in ends],
            )
        )
        for name in dict.fromkeys(name for m in games.values() for name in m["baselines"]):
            values = [metric["baselines"].get(name) for metric in games.values()]
            line = Line(words(name), list(games), values, is_reference=True)
            baselines.setdefault(name, line)
    return lines + list(baselines.values())


def _values(runs: Sequence[ReportedRun]) -> tuple[list[str], list[Line]]:
    """Return the names of the values of tasks without distractors, and their lines."""
    rows = {
        run.label: {row["metric"]: row for row in result_rows(run.results) if _is_main(run, row)}
        for run in runs
    }
    names = list(dict.fromkeys(name for found in rows.values() for name in found))
    lines, baselines = [], dict[str, dict[int, float]]()
    for label, found in rows.items():
        chosen = [found.get(name, {}) for name in names]
        ends = [row.get("interval") or (None, None) for row in chosen]
        lines.append(
            Line(
                label if len(runs) > 1 else "result",
                range(len(names)),
                [row.get("accuracy") for row in chosen],
                [low for low, _ in ends],
                [high for _, high in ends],
            )
        )
        for number, row in enumerate(chosen):
            for name, value in row.get("baselines", {}).items():
                baselines.setdefault(name, {}).setdefault(number, value)
    lines += [
        Line(name, list(found), list(found.values()), is_reference=True)
        for name, found in baselines.items()
    ]
    return [words(name) for name in names], lines


def _is_main(run: ReportedRun, row: Row) -> bool:
    return bool(row["set"] == run.observed.split.name)


def interventions(runs: Sequence[ReportedRun]) -> Section:
    """Return the accuracy after each change of the messages."""
    section = Section(
        "interventions",
        "Accuracy after interventions",
        "Replaced: by the symbol of another message. Dropped: left out. First: only the symbols up "
        "to this position are kept. Permuted: all symbols in random order.",
    )
    items, rows = [], []
    for run in runs:
        changes: Mapping[str, float] | None = run.results.get("interventions")
        if not changes:
            continue
        rows += [of_run(runs, run, each) for each in _changes(changes)]
        svg = figures.dots(*_change_lines(run, changes), "accuracy, %", is_accuracy=True)
        caption = "Accuracy by the task's first metric"
        items.append(section.draw_run(runs, run, "interventions", svg, caption))
    if items:
        section.add_figures(items)
        section.blocks.append(table(rows))
        section.add_rows("interventions", rows)
    return section


def _changes(changes: Mapping[str, float]) -> list[Row]:
    rows: list[Row] = []
    for name, value in changes.items():
        change, _, position = name.partition("_")
        row = {"change": change, "position": int(position) if position else None}
        rows.append({**row, "accuracy": value})
    return rows


def _change_lines(run: ReportedRun, changes: Mapping[str, float]) -> tuple[list[str], list[Line]]:
    rows = _changes(changes)
    length = max((row["position"] or 0) for row in rows)
    names = [f"position {number}" for number in range(1, length + 1)]
    lines = []
    for change in ("replaced", "dropped"):
        found = {row["position"]: row["accuracy"] for row in rows if row["change"] == change}
        values = [found.get(number) for number in range(1, length + 1)]
        lines.append(Line(change, range(length), values))
    metric = next(iter(_metrics(run).values()))
    unchanged = next(iter(value for key, value in metric.items()))
    rows_of = range(length)
    lines.append(Line("unchanged", rows_of, [unchanged] * length, is_reference=True))
    order = [changes["permuted"]] * length
    lines.append(Line("permuted", rows_of, order, is_reference=True))
    return names, lines
