"""Results as tables: of one run, and of runs that differ only in their seed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import mean
from typing import Any

from tabulate import tabulate

from arc.runs.seeds import Interval, possible, t_interval

OTHER_KEYS = ("targets", "intervals", "baselines")  # of a metric, besides its values
SAME = {  # metrics of training, and the measures that have the same value
    "message_entropy_bits": "message_entropy",
    "symbol_entropy_bits": "position_entropy",
    "mean_length": "length_mean",
}


def format_results(results: Mapping[str, Any]) -> str:
    """Return ``results`` as a table: a row for each value, then the controls and the language.

    The 95 % interval of a value is next to it.
    """
    rows, skipped, empty = _all_rows(results)
    if not rows and results.get("stopped"):
        return "the evaluation was stopped before its first part was finished"
    parts = [_table(rows)] if rows else []
    if empty:
        parts.append(f"no {' and no '.join(empty)} set")
    if skipped:
        parts.append(f"skipped (too few distractors): {', '.join(skipped)}")
    if results["language"]:
        parts.append(format_language(results["language"]))
    if results.get("measures"):
        parts.append(_measures_table(results["measures"]))
    if results.get("interventions"):
        parts.append(_interventions_table(results))
    if results.get("learning"):
        parts.append(_learning_table(results["learning"]))
    if results.get("stopped"):
        parts.append("the evaluation was stopped: the remaining results were not computed")
    return "\n\n".join(parts)


def format_language(metrics: Mapping[str, float]) -> str:
    """Return one line about the messages: every language metric by its name."""
    parts = [f"{name.replace('_', ' ')} {value:.4g}" for name, value in metrics.items()]
    return f"language: {', '.join(parts)}"


def result_rows(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each value: set, metric, targets, accuracy, interval and baselines.

    Metrics that cover no example are left out.
    """
    return _all_rows(results)[0]


def _all_rows(results: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[str], list[str]]:
    """Return the rows, the names of skipped metrics and those of empty sets."""
    sets = {"test": results["test"], "validation": results["validation"], **results["controls"]}
    rows: list[dict[str, Any]] = []
    skipped, empty = [], []
    for name, metrics in sets.items():
        if metrics and all(metric["targets"] == 0 for metric in metrics.values()):
            empty.append(name)
            continue
        for kind, metric in metrics.items():
            if metric["targets"] > 0:
                rows += _rows(name.replace("_", " "), kind, metric)
            else:
                skipped.append(f"{name} {kind}".replace("_", " "))
    return rows, skipped, empty


def _rows(name: str, kind: str, metric: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a row for each value of a metric, named after the value if there are several.

    The names of a later value's baselines end in the name of the value.
    """
    values = {key: value for key, value in metric.items() if key not in OTHER_KEYS}
    first = next(iter(values))
    for value, accuracy in values.items():
        baselines = {}
        for baseline, number in metric["baselines"].items():
            ending = next((other for other in values if baseline.endswith(f"_{other}")), first)
            if ending == value:
                baselines[baseline.removesuffix(f"_{value}").replace("_", " ")] = number
        yield {
            "set": name,
            "metric": (value if len(values) > 1 else kind).replace("_", " "),
            "targets": metric["targets"],
            "accuracy": accuracy,
            "interval": metric.get("intervals", {}).get(value),
            "baselines": baselines,
        }


def _table(rows: Sequence[dict[str, Any]]) -> str:
    """Return rows with ``interval`` and ``baselines`` as a table, intervals as ``low–high``.

    Without any interval, as in older results, there is no column for them.
    """
    shown = []
    for row in rows:
        start = {key: row[key] for key in row if key not in ("interval", "baselines")}
        if any(each["interval"] for each in rows):
            start["95 %"] = "{:.1f}–{:.1f}".format(*row["interval"]) if row["interval"] else None
        shown.append(start | row["baselines"])
    return tabulate(shown, headers="keys", floatfmt=".1f", missingval="–")


def _measures_table(measures: Mapping[str, Mapping[str, float]]) -> str:
    """Return a row for each measure: its value and its floors."""
    rows = [
        {"measure": name, **{key.replace("_", " "): value for key, value in row.items()}}
        for name, row in measures.items()
    ]
    return tabulate(rows, headers="keys", floatfmt=".3f")


def _interventions_table(results: Mapping[str, Any]) -> str:
    """Return the headline accuracy after each change of the messages, a row for each position."""
    changes: Mapping[str, float] = results["interventions"]
    columns = {"replaced": "replaced", "dropped": "dropped", "first": "cut after it"}
    length = sum(name.startswith("replaced_") for name in changes)
    rows = [
        {"position": n} | {title: changes[f"{name}_{n}"] for name, title in columns.items()}
        for n in range(1, length + 1)
    ]
    needed = results["symbols_needed"]
    return "\n".join(
        [
            "accuracy after a symbol is replaced by that of another message, or dropped, and "
            "after the message is cut:",
            tabulate(rows, headers="keys", floatfmt=".1f"),
            f"all symbols in random order: {changes['permuted']:.1f}",
            f"no symbol: {changes['first_0']:.1f}",
            "needed to stay within a percentage point of the whole message: "
            f"the first {needed['first']} symbols; "
            f"positions {', '.join(map(str, needed['positions'])) or 'none'}",
        ]
    )


def _learning_table(learning: Mapping[str, Any]) -> str:
    """Return a row for each new receiver: how fast it learned the messages of a sender."""
    steps, original, goal = (learning[key] for key in ("steps", "original", "goal"))
    rows = [
        {
            "sender": row["sender"],
            "receiver": f"seed {row['seed']}",
            f"steps to {goal:.1f}": row["steps_to_goal"],
            "mean": f"{row['area']:.1f}",
            "final": f"{row['final']:.1f}",
        }
        for row in learning["receivers"]
    ]
    heading = (
        f"validation accuracy of new receivers, trained for {steps} steps on the messages of a "
        f"frozen sender (the run's own receiver: {original:.1f}):"
    )
    table = tabulate(rows, headers="keys", missingval="–", disable_numparse=True)
    return f"{heading}\n{table}"


def format_cross_play(pairs: Mapping[str, Any]) -> str:
    """Return the result of cross-play as a table: a row for each sender."""
    rows = []
    for number, (path, accuracies) in enumerate(zip(pairs["runs"], pairs["matrix"], strict=True)):
        receivers = {f"receiver {other + 1}": value for other, value in enumerate(accuracies)}
        rows.append({"sender": f"{number + 1}  {path}", **receivers})
    metric = pairs["metric"] or "accuracy"
    lines = [
        f"cross-play on {pairs['set']}, {metric.replace('_', ' ')}:",
        tabulate(rows, headers="keys", floatfmt=".1f", missingval="–"),
    ]
    if pairs.get("stopped"):
        lines.append("the evaluation was stopped: the remaining pairs were not evaluated")
        return "\n".join(lines)
    baselines = ", ".join(
        f"{name.replace('_', ' ')} {value:.1f}" for name, value in pairs["baselines"].items()
    )
    same, other = (
        "–" if pairs[key] is None else f"{pairs[key]:.1f}" for key in ("diagonal", "off_diagonal")
    )
    means = f"mean within a run {same}, between runs {other}"
    return "\n".join([*lines, means + (f" (baselines: {baselines})" if baselines else "")])


# -- seeds -------------------------------------------------------------------------------


def over_seeds(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each value that all ``results`` have, with its mean over the seeds.

    ``values`` are those of each run, ``interval`` is the 95 % interval of the mean by Student's t
    distribution (of an accuracy, its part from 0 to 100), ``baselines`` are means. Those of a
    language measure are its floors.
    """
    tables = [{(row["set"], row["metric"]): row for row in value_rows(r)} for r in results]
    rows = []
    for (name, metric), first in tables[0].items():
        found = [table.get((name, metric), {}) for table in tables]
        values: list[Any] = [row.get("accuracy") for row in found]
        if None in values:
            continue
        rows.append(
            {
                "set": name,
                "metric": metric,
                "targets": first["targets"],
                "values": values,
                "mean": mean(values),
                "interval": mean_interval(values, name),
                "baselines": {
                    key: mean(row["baselines"][key] for row in found) for key in first["baselines"]
                },
            }
        )
    return rows


def mean_interval(values: Sequence[float], name: str) -> Interval | None:
    """Return the interval of the mean of a value of the set ``name``; see ``over_seeds``."""
    interval = t_interval(values)
    return interval if name == "language" else possible(interval)


def value_rows(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of ``result_rows``, and one for each value of the set ``language``."""
    measures = results.get("measures", {})
    values = {name: row["value"] for name, row in measures.items()}
    needed = results.get("symbols_needed", {})
    values |= {f"symbols_needed_{name}": needed[name] for name in ("first", "any") if needed}
    language = [
        {
            "set": "language",
            "metric": name,
            "targets": None,
            "accuracy": value,
            "baselines": {
                key.replace("_", " "): floor
                for key, floor in measures.get(name, {}).items()
                if key != "value"
            },
        }
        for name, value in (results["language"] | values | _learning_means(results)).items()
    ]
    return result_rows(results) + language


def _learning_means(results: Mapping[str, Any]) -> dict[str, float]:
    """Return the means over the new receivers of the trained sender.

    The number of steps has no mean if a receiver did not reach the goal.
    """
    receivers = results.get("learning", {}).get("receivers", [])
    rows = [row for row in receivers if row["sender"] == "trained"]
    columns = {key: [row[key] for row in rows] for key in ("steps_to_goal", "area")}
    return {
        f"learning_{key}": mean(values)
        for key, values in columns.items()
        if values and None not in values
    }


def format_seeds(results: Sequence[Mapping[str, Any]]) -> str:
    """Return runs of several seeds as one table: each value, its mean and the mean's interval.

    Below it, the language metrics in the same form, and the floors of those that have them.
    """
    rows = over_seeds(results)
    names = [row["metric"] for row in rows]
    seeds = [f"seed {each['config']['seed']}" for each in results]
    accuracies, language = [], []
    for row in rows:
        values = dict(zip(seeds, row["values"], strict=True))
        line = {**values, "mean": row["mean"]}
        if row["set"] == "language":
            if SAME.get(row["metric"]) in names:
                continue
            line = {key: f"{value:.4g}" for key, value in line.items()}
            line["95 %"] = "{:.4g}–{:.4g}".format(*row["interval"])
            line |= {key: f"{value:.4g}" for key, value in row["baselines"].items()}
            language.append({"language": row["metric"].replace("_", " "), **line})
        else:
            start = {key: row[key] for key in ("set", "metric", "targets")}
            ends = {key: row[key] for key in ("interval", "baselines")}
            accuracies.append({**start, **line, **ends})
    parts = [_table(accuracies)] if accuracies else []
    if language:
        parts.append(tabulate(language, headers="keys", missingval="–", disable_numparse=True))
    return "\n\n".join(parts) or "no value is common to all of these runs"
