"""Compares runs: what varied, and the mean of each setting over its seeds with its interval.

Does not import torch.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from tabulate import tabulate

from arc.checkpointing.tables import shown
from arc.config.files import ConfigError
from arc.io.trees import leaves
from arc.runs.metrics_file import STEP_NAMES, Band, band
from arc.runs.records import STATES, RunFinder, RunRecord
from arc.runs.seeds import Interval, frozen, one_per_seed, origins, without_seed
from arc.runs.tables import mean_interval
from arc.terminal import escaped

# Sections and keys that belong to the process or name files; they do not make runs differ.
IGNORED = ("server", "hydra", "checkpoint", "logger", "device", "resume", "finetune", "strict")
HEADLINE_SETS = ("test.", "validation.")
DEFAULT_CURVE = "val_acc"


def compare_folders(
    folders: Iterable[str | Path], by: Sequence[str] = (), metric: str | None = None
) -> dict[str, Any]:
    """Compare the runs below ``folders``; see ``arc.api.compare``."""
    runs, warnings = RunFinder().find([Path(folder) for folder in folders])
    return compare_runs(runs, warnings, by, metric)


def compare_runs(
    runs: Sequence[RunRecord],
    warnings: Sequence[str] = (),
    by: Sequence[str] = (),
    metric: str | None = None,
) -> dict[str, Any]:
    """Return the comparison of ``runs`` as plain types; see ``arc.api.compare``.

    Raises ConfigError for an unknown metric or key.
    """
    if metric is not None:
        _check_name("metric", metric, metric_names(runs))
    settings = [_setting(run.config) | _start(run) for run in runs]
    known = list(dict.fromkeys(key for setting in settings for key in setting))
    for key in by:
        _check_name("by", key, [*known, "seed"])
    varied = [key for key in known if _differs(key, settings)]
    shown_keys = list(by) or varied
    rows = []
    for run, setting in zip(runs, settings, strict=True):
        name, value = _value(run, metric)
        kept = {key: setting.get(key) for key in varied}
        rows.append(
            {
                "id": f"r{_hash(str(run.folder), run.name)}",
                "name": run.name,
                "label": label({**kept, "seed": run.seed}),
                "folder": str(run.folder),
                "state": run.state,
                "error": run.error,
                "step": run.step,
                "updated": run.updated,
                "seed": run.seed,
                "setting": kept,
                "metric": name,
                "value": value,
                "best": None if run.best is None else str(run.best),
            }
        )
    groups: list[dict[str, Any]] = []
    for numbers in _grouped(runs, settings, by, varied):
        own = settings[numbers[0]] | {"seed": runs[numbers[0]].seed}
        shown_setting = {key: own.get(key) for key in shown_keys}
        group = _group(shown_setting, [rows[n] for n in numbers], [runs[n] for n in numbers])
        alike = sum(each["setting"] == group["setting"] for each in groups)
        groups.append({"id": f"g{_hash(repr(shown_setting), str(alike))}", **group})
    return {
        "metric": metric,
        "by": list(by),
        "varied": varied,
        "groups": groups,
        "runs": rows,
        "warnings": list(warnings),
    }


def metric_names(runs: Iterable[RunRecord]) -> list[str]:
    """Return the names of all values of the results and validations of ``runs``."""
    names: dict[str, None] = {}
    for run in runs:
        names |= dict.fromkeys([*run.values, *run.metrics.names])
    return list(names)


def curve_names(runs: Iterable[RunRecord]) -> list[str]:
    """Return the names of all curves of ``runs``, those of the validations first."""
    names = dict.fromkeys(name for run in runs for name in run.metrics.names)
    return [*names, *STEP_NAMES] if any(run.metrics.paths for run in runs) else []


def group_band(runs: Iterable[RunRecord], curve: str) -> Band | None:
    """Return mean and range of a curve over ``runs``; None if none of them has it."""
    curves = [run.metrics.curve(curve) for run in runs]
    return band([each for each in curves if each is not None])


def curve_of(metric: str | None) -> str:
    """Return the name of the curve that belongs to a metric, by default that of validation."""
    if metric is None:
        return DEFAULT_CURVE
    part, _, name = metric.partition(".")
    if part == "language":
        return f"val.{name}"
    return DEFAULT_CURVE if name and part != "val" else metric


def label(setting: Mapping[str, Any]) -> str:
    """Return a setting in one line: ``key=value, key=value``, with the last parts of the keys.

    A key whose last part is also that of another one is whole.
    """
    last = {key: key.rpartition(".")[2] for key in setting}
    short = {
        key: name if list(last.values()).count(name) == 1 else key for key, name in last.items()
    }
    return ", ".join(f"{short[key]}={_cell(value)}" for key, value in setting.items())


# -- settings ----------------------------------------------------------------------------


def _setting(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what describes a run's setting: dotted key to value, ``task`` for ``task.name``."""
    tree = {key: value for key, value in config.items() if key not in IGNORED}
    found = {}
    for key, value in leaves(without_seed(tree)).items():
        section, _, last = key.rpartition(".")
        found[section if last == "name" and "." not in section and section else key] = value
    return found


def _start(run: RunRecord) -> dict[str, Any]:
    """Return the files that a run began with, in one value."""
    return {"started_from": ", ".join(origins(run.started_from)) or None}


def _differs(key: str, settings: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether a key has several values, among the runs that have it."""
    return len({frozen(setting[key]) for setting in settings if key in setting}) > 1


def _grouped(
    runs: Sequence[RunRecord],
    settings: Sequence[Mapping[str, Any]],
    by: Sequence[str],
    varied: Sequence[str],
) -> list[list[int]]:
    """Return the positions of the runs of each group.

    Without ``by``, runs that differ only in their seed are a group, in which no seed is twice.
    """
    if by:
        alike: dict[Any, list[int]] = {}
        for number, (run, setting) in enumerate(zip(runs, settings, strict=True)):
            values = {**setting, "seed": run.seed}
            alike.setdefault(tuple(frozen(values.get(key)) for key in by), []).append(number)
        return list(alike.values())
    named = (
        (str(number), tuple(frozen(setting.get(key)) for key in varied), frozen(run.seed))
        for number, (run, setting) in enumerate(zip(runs, settings, strict=True))
    )
    return [[int(number) for number in group] for group in one_per_seed(named)]


# -- values ------------------------------------------------------------------------------


def _value(run: RunRecord, metric: str | None) -> tuple[str | None, float | None]:
    """Return the name of a run's metric, by default its headline, and its value."""
    if metric is None:
        names = (name for start in HEADLINE_SETS for name in run.values if name.startswith(start))
        metric = next(names, None)
        return metric, None if metric is None else run.values[metric]
    return metric, run.values.get(metric, run.metrics.value(metric))


def _group(
    setting: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], runs: Sequence[RunRecord]
) -> dict[str, Any]:
    """Return the row of a group; unfinished runs do not count in the mean."""
    metric = next((row["metric"] for row in rows if row["metric"] is not None), None)
    done = [row for row in rows if row["state"] == "finished" and row["metric"] == metric]
    values = [row["value"] for row in done if row["value"] is not None]
    interval: Interval | None = None
    if values:
        part, _, name = str(metric).partition(".")
        is_accuracy = part not in ("language", "val") and (name or metric == "val_acc")
        interval = mean_interval(values, "" if is_accuracy else "language")
    counts = Counter(row["state"] for row in rows)
    return {
        "setting": dict(setting),
        "label": label(setting) or "all runs",
        "runs": [row["id"] for row in rows],
        "states": {state: counts[state] for state in STATES if counts[state]},
        "metric": metric,
        "n": len(values),
        "values": values,
        "mean": fmean(values) if values else None,
        "interval": None if interval is None else list(interval),
        "best": _best_file(runs),
    }


def _best_file(runs: Sequence[RunRecord]) -> str | None:
    """Return the best checkpoint of the run with the highest validation accuracy.

    The test set chooses nothing.
    """
    ranked = [(_validation_accuracy(run), run.best) for run in runs if run.best is not None]
    return str(max(ranked, key=lambda each: each[0])[1]) if ranked else None


def _validation_accuracy(run: RunRecord) -> float:
    own = (value for name, value in run.values.items() if name.startswith("validation."))
    value = next(own, run.metrics.value("val_acc"))
    return float("-inf") if value is None else value


def _hash(*parts: str) -> str:
    return hashlib.blake2s("\n".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:10]


def _check_name(what: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        listed = ", ".join(known) or "none"
        raise ConfigError(f"{what}={name}: these runs do not have it; known: {listed}")


# -- text --------------------------------------------------------------------------------


def format_comparison(content: Mapping[str, Any]) -> str:
    """Return a comparison as a table, a row for each group, and a line for each unfinished run."""
    rows = []
    metrics = list(dict.fromkeys(group["metric"] for group in content["groups"] if group["metric"]))
    for group in content["groups"]:
        row = {key: _cell(value) for key, value in group["setting"].items()}
        row["runs"] = ", ".join(f"{count} {state}" for state, count in group["states"].items())
        if len(metrics) > 1:
            row["metric"] = group["metric"] or "–"
        interval = group["interval"]
        row["n"] = str(group["n"])
        row["mean"] = _figure(group["mean"])
        row["95 %"] = "–" if interval is None else "–".join(map(_figure, interval))
        row["best checkpoint"] = "–" if group["best"] is None else escaped(group["best"])
        rows.append(row)
    if not rows:
        return "no runs"
    right = {"n", "mean"}
    align = ["right" if key in right else "left" for key in rows[0]]
    parts = [tabulate(rows, headers="keys", colalign=align, disable_numparse=True)]
    if len(metrics) == 1:
        parts.insert(0, f"{metrics[0]}, mean over the finished runs:")
    if unfinished := list(_unfinished(content["runs"])):
        parts.append("\n" + "\n".join(unfinished))
    return "\n".join(parts)


def _unfinished(runs: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    for state in STATES[1:]:
        for run in runs:
            if run["state"] != state:
                continue
            named = [] if Path(run["folder"]).name == run["name"] else [run["name"]]
            steps = [] if run["step"] is None else [f"step {run['step']}"]
            more = f" ({', '.join([*named, *steps])})" if named or steps else ""
            reason = "" if run["error"] is None else f": {run['error']}"
            yield escaped(f"{state}: {run['folder']}{more}{reason}")


def table_rows(content: Mapping[str, Any]) -> list[list[Any]]:
    """Return the table as rows of unrounded cells, the header first; for CSV."""
    keys = content["by"] or content["varied"]
    head = [*keys, *STATES, "metric", "n", "mean", "low", "high", "best checkpoint"]
    return [
        head,
        *(
            [
                *(_plain(group["setting"][key]) for key in keys),
                *(group["states"].get(state, 0) for state in STATES),
                group["metric"],
                group["n"],
                group["mean"],
                *(group["interval"] or (None, None)),
                group["best"],
            ]
            for group in content["groups"]
        ),
    ]


def _plain(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, int | float | str | None) else _cell(value)


def _cell(value: Any) -> str:
    return "null" if value is None else shown(value)


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
