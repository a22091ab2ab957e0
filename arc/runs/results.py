"""The final results of a run, as a table and as JSON."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate

from arc.checkpointing import load, portable_tree
from arc.config.builders import build_model, build_task
from arc.config.files import ConfigError
from arc.config.overrides import key_of
from arc.config.schema import RunConfig
from arc.data import DataError, Split
from arc.models import ARCAutoencoder
from arc.runs.plan import with_overrides
from arc.tasks import Task, TaskMetrics
from arc.tasks.base import CHUNK
from arc.training import EvaluationEvent, evaluate_controls, evaluate_split

log = logging.getLogger(__name__)
REPORT_EVERY_SECONDS = 0.5


class EvaluationStopped(Exception):
    """The final evaluation was stopped; not an error."""


class EvaluationProgress:
    """Reports the progress of an evaluation in ``stages`` (name to number of chunks).

    Called before each chunk of examples. Raises EvaluationStopped if ``should_stop`` returns true.
    """

    def __init__(
        self,
        stages: dict[str, int],
        report: Callable[[EvaluationEvent], None],
        should_stop: Callable[[], bool],
    ) -> None:
        self._stages, self._report, self._should_stop = stages, report, should_stop
        self._stage, self._before, self._done = "", 0, 0
        self._start = self._reported = time.monotonic()

    def begin(self, stage: str) -> None:
        """Begin a stage."""
        self._before += self._stages.get(self._stage, 0)
        self._stage, self._done = stage, 0

    def finish(self) -> None:
        """Report the end of the evaluation."""
        self._report(EvaluationEvent(self._stage, 1.0, 0.0))

    def __call__(self) -> None:
        """Count a chunk; report every REPORT_EVERY_SECONDS."""
        if self._should_stop():
            raise EvaluationStopped
        now = time.monotonic()
        if now - self._reported >= REPORT_EVERY_SECONDS:
            self._reported = now
            done = self._before + min(self._done, self._stages[self._stage])
            progress = min(done / max(sum(self._stages.values()), 1), 1.0)
            seconds = now - self._start
            left = seconds / progress - seconds if progress > 0 else None
            self._report(EvaluationEvent(self._stage, progress, left))
        self._done += 1


def evaluate_run(
    config: RunConfig,
    model: ARCAutoencoder,
    task: Task,
    *,
    minutes: float | None,
    steps: int | None,
    report: Callable[[EvaluationEvent], None] = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Evaluate ``model`` on the test and validation sets, with controls.

    Returns the content of ``<run_name>_results.json``: accuracies in percent, NaN as null. Without
    a test set the controls are evaluated on validation. The untrained sender is initialised with
    the run's seed. If ``should_stop`` returns true, the parts evaluated so far are returned
    with ``"stopped": true``.
    """
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        untrained = build_model(config).to(model.device)
    corpus, metrics = task.corpus, config.metric.selected
    main = corpus.test if len(corpus.test) > 0 else corpus.validation
    # about one chunk each to send, embed and score; the controls send twice and score three times
    stages = {"test": 3 * _chunks(corpus.test), "validation": 3 * _chunks(corpus.validation)}
    stages["controls"] = 5 * _chunks(main)
    results = _empty_results(config, minutes, steps)

    def fill(progress: EvaluationProgress) -> None:
        progress.begin("test")
        test = evaluate_split(model, task, corpus.test, full=True, metrics=metrics)
        results["test"] = _metrics(test.task_metrics)
        progress.begin("validation")
        validation = evaluate_split(model, task, corpus.validation, metrics=metrics)
        results["validation"] = _metrics(validation.task_metrics)
        evaluation = test if main is corpus.test else validation
        results["language"] = evaluation.language
        progress.begin("controls")
        pair = config.model.shared_encoder or config.model.shared_init
        controls = evaluate_controls(model, task, main, evaluation, untrained, pair=pair)
        results["controls"] = {name: _metrics(each) for name, each in controls.items()}

    return _stoppable(task, EvaluationProgress(stages, report, should_stop), fill, results)


def evaluate_checkpoint(
    path: str | Path,
    device: torch.device,
    *,
    overrides: Sequence[str] = (),
    report: Callable[[EvaluationEvent], None] = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Rebuild a run's model and data from its file and evaluate it, as ``evaluate_run`` does.

    ``overrides``, in Hydra's grammar, replace keys of the stored section ``data``. Raises
    CheckpointError, ConfigError or DataError if the file or its data cannot be loaded.
    """
    for override in overrides:
        if not key_of(override).startswith("data."):
            raise ConfigError(f"{override}: only data.… can be set for an evaluation")
    loaded = load(path, device)
    config = loaded.config
    if overrides:
        config = with_overrides(loaded.metadata["config"], overrides)
    task = build_task(config, device)
    classes = getattr(config.task, "num_classes", None)
    if task.num_classes != classes:
        raise DataError(
            f"{path}: classifies {classes} classes, the data have {task.num_classes}; set "
            "data.path to the puzzles of its training"
        )
    if task.corpus.fingerprint != loaded.metadata.get("data_fingerprint"):
        log.warning(
            "the data differ from those that this run was trained on; it may have been trained on "
            "some of these examples"
        )
    for note in task.corpus.notes + task.notes:
        log.info(f"data: {note}")
    log.info(f"evaluating {path} on {len(task.corpus.test)} test examples")
    seconds = loaded.metadata.get("seconds")
    return evaluate_run(
        config,
        loaded.model,
        task,
        minutes=None if seconds is None else seconds / 60,
        steps=loaded.metadata.get("step"),
        report=report,
        should_stop=should_stop,
    )


def evaluate_pretraining(
    config: RunConfig,
    model: ARCAutoencoder,
    task: Task,
    *,
    minutes: float,
    steps: int,
    report: Callable[[EvaluationEvent], None] = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Evaluate a pretrained ``model`` on the test and validation sets, as ``evaluate_run`` does."""
    splits = {"test": task.corpus.test, "validation": task.corpus.validation}
    stages = {name: 3 * _chunks(split) for name, split in splits.items()}
    results = _empty_results(config, minutes, steps)

    def fill(progress: EvaluationProgress) -> None:
        for name, split in splits.items():
            progress.begin(name)
            evaluation = evaluate_split(model, task, split, full=name == "test")
            results[name] = _metrics(evaluation.task_metrics)

    return _stoppable(task, EvaluationProgress(stages, report, should_stop), fill, results)


def _chunks(split: Split) -> int:
    return -(-len(split) // CHUNK)


def _empty_results(config: RunConfig, minutes: float | None, steps: int | None) -> dict[str, Any]:
    return {
        "test": {},
        "validation": {},
        "controls": {},
        "language": {},
        "minutes": None if minutes is None else round(minutes, 3),
        "steps": steps,
        "config": portable_tree(config),
    }


def _stoppable(
    task: Task,
    progress: EvaluationProgress,
    fill: Callable[[EvaluationProgress], None],
    results: dict[str, Any],
) -> dict[str, Any]:
    """Call ``fill`` to evaluate into ``results`` until done or stopped; returns ``results``."""
    task.on_chunk = progress
    try:
        with task.reuse_embeddings():
            fill(progress)
            progress.finish()
    except EvaluationStopped:
        results["stopped"] = True
    finally:
        task.on_chunk = lambda: None
    return _plain(results)


def write_results(path: Path, content: dict[str, Any]) -> None:
    """Write the results atomically; raises ValueError if they cannot be written."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise ValueError(f"{path}: cannot be written: {error.strerror}") from None


def format_results(results: dict[str, Any]) -> str:
    """Return ``results`` as a table: a row for each value, then the controls and the language."""
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
    if not rows and results.get("stopped"):
        return "the test was stopped before the first part of it was finished"
    parts = [tabulate(rows, headers="keys", floatfmt=".1f", missingval="–")] if rows else []
    if empty:
        parts.append(f"no {' and no '.join(empty)} set")
    if skipped:
        parts.append(f"skipped (too few distractors): {', '.join(skipped)}")
    if results["language"]:
        parts.append(format_language(results["language"]))
    if results.get("stopped"):
        parts.append("the test was stopped: the remaining results were not computed")
    return "\n\n".join(parts)


def format_language(metrics: dict[str, float]) -> str:
    """Return one line about the messages: every language metric by its name."""
    parts = [f"{name.replace('_', ' ')} {value:.4g}" for name, value in metrics.items()]
    return f"language: {', '.join(parts)}"


def _metrics(task_metrics: TaskMetrics) -> dict[str, Any]:
    return {
        name: {**metric.values, "targets": metric.targets, "baselines": metric.baselines}
        for name, metric in task_metrics.metrics.items()
    }


def _rows(name: str, kind: str, metric: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a row for each value of a metric, named after the value if there are several.

    The names of a later value's baselines end in the name of the value.
    """
    values = {key: value for key, value in metric.items() if key not in ("targets", "baselines")}
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
        } | baselines


def _plain(value: Any) -> Any:
    """Round floats to four digits; NaN and infinity become None."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, float):
        return round(value, 4) if math.isfinite(value) else None
    return value
