"""The final report of a run: its figures as a table for people and as JSON for programs."""

from __future__ import annotations

import contextlib
import json
import math
import os
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate

from arc.checkpointing import portable_tree
from arc.config.builders import build_model
from arc.config.schema import RunConfig
from arc.models import ARCAutoencoder
from arc.tasks import Metric, Task, TaskMetrics
from arc.training import evaluate_split


def evaluate(
    config: RunConfig,
    model: ARCAutoencoder,
    task: Task,
    *,
    minutes: float | None,
    steps: int | None,
) -> dict[str, Any]:
    """Judge ``model`` on the test and validation sets, with controls.

    Returns the content of ``<run_name>_results.json``: accuracies in percent, NaN as null. The
    control with an untrained sender takes the weights that the run's seed draws.
    """
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        untrained = build_model(config).to(model.device)
    corpus = task.corpus
    tested = len(corpus.test) > 0  # without a test set the controls are run on validation
    test = evaluate_split(
        model, task, corpus.test, full=True, untrained=untrained if tested else None
    )
    validation = evaluate_split(
        model, task, corpus.validation, untrained=None if tested else untrained
    )
    judged = test if tested else validation
    return _plain(
        {
            "test": _figures(test.task_metrics),
            "validation": _figures(validation.task_metrics),
            "controls": {
                name: _figures(task_metrics) for name, task_metrics in judged.controls.items()
            },
            "language": judged.language,
            "minutes": None if minutes is None else round(minutes, 3),
            "steps": steps,
            "config": portable_tree(config),
        }
    )


def evaluate_pretraining(
    config: RunConfig,
    model: ARCAutoencoder,
    task: Task,
    *,
    minutes: float,
    steps: int,
) -> dict[str, Any]:
    """Judge a pretrained ``model`` on the test and validation sets; content as ``evaluate``'s."""
    corpus = task.corpus
    return _plain(
        {
            "test": _figures(evaluate_split(model, task, corpus.test, full=True).task_metrics),
            "validation": _figures(evaluate_split(model, task, corpus.validation).task_metrics),
            "controls": {},
            "language": {},
            "minutes": round(minutes, 3),
            "steps": steps,
            "config": portable_tree(config),
        }
    )


def write_results(path: Path, content: dict[str, Any]) -> None:
    """Write the results whole or not at all; raises ValueError if they cannot be."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise ValueError(f"{path}: cannot be written: {error.strerror}") from None


def table(results: dict[str, Any]) -> str:
    """Lay out what ``results`` holds: a row for each figure, controls below, then the language."""
    sets = {"test": results["test"], "validation": results["validation"], **results["controls"]}
    rows, uncovered, empty = [], [], []
    for of, figures in sets.items():
        if all(figure["targets"] == 0 for figure in figures.values()):
            empty.append(of)
            continue
        for name, figure in figures.items():
            if figure["targets"] > 0:
                rows.append(_row(of.replace("_", " "), name, figure))
            else:
                uncovered.append(f"{of} {name}".replace("_", " "))
    text = tabulate(rows, headers="keys", floatfmt=".1f", missingval="–")
    if empty:
        text += f"\n\nno {' and no '.join(empty)} set"
    if uncovered:
        text += f"\n\nno target has so many distractors: {', '.join(uncovered)}"
    if results["language"]:
        text += "\n\n" + describe_language(results["language"])
    return text


def describe_language(language: dict[str, float]) -> str:
    """Return one line about the messages."""
    return (
        f"language: {language['unique_messages']:.0f} different messages; entropy "
        f"{language['message_entropy_bits']:.1f} bits (at most {language['entropy_limit_bits']:.1f}"
        f" for so many messages, channel {language['capacity_bits']:.1f}); symbol entropy "
        f"{language['symbol_entropy_bits']:.2f} bits, {language['symbols_used']:.0f} % of symbols "
        f"used; mean length {language['mean_length']:.2f}"
    )


def _figures(task_metrics: TaskMetrics) -> dict[str, Any]:
    return {name: _figure(figure) for name, figure in task_metrics.metrics.items()}


def _figure(figure: Metric) -> dict[str, Any]:
    return {**figure.values, "targets": figure.targets, "baselines": figure.baselines}


def _row(of: str, name: str, figure: dict[str, Any]) -> dict[str, Any]:
    values = {key: value for key, value in figure.items() if key not in ("targets", "baselines")}
    beside = {key.replace("_", " "): value for key, value in figure["baselines"].items()}
    return {
        "set": of,
        "game": name.replace("_", " "),
        "targets": figure["targets"],
        **values,
    } | beside


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, float):
        return round(value, 4) if math.isfinite(value) else None
    return value
