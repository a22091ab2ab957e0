"""The final results of a run, and of a saved run."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from arc.checkpointing import portable_tree
from arc.config.builders import build_model
from arc.config.schema import RunConfig
from arc.data import Split
from arc.metrics import MetricConfig, bootstrap_interval
from arc.models import ARCAutoencoder
from arc.runs.files import replace_file
from arc.runs.learning import GOAL, learn_messages, training_chunks, trainings
from arc.runs.measures import Measures, intervene, measure_chunks, measure_messages
from arc.runs.messages import message_rows, write_messages
from arc.tasks import Task, TaskMetrics
from arc.training import Evaluation, EvaluationEvent, evaluate_controls, evaluate_split

log = logging.getLogger(__name__)
REPORT_EVERY_SECONDS = 0.5


class EvaluationStopped(Exception):
    """The final evaluation was stopped; not an error."""


@dataclass(frozen=True)
class Observed:
    """What a report shows of a run besides its results: the evaluated examples and messages.

    ``rows``: those of ``message_rows`` for each example of ``split``. ``vocab_size`` is None for
    vectors.
    """

    split: Split
    evaluation: Evaluation
    vocab_size: int | None
    rows: list[dict[str, Any]]


class EvaluationProgress:
    """Reports the progress of an evaluation in ``stages`` (name to number of chunks).

    Called before each chunk of examples, and with the cost of other work in chunks. Raises
    EvaluationStopped if ``should_stop`` returns true.
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

    def __call__(self, chunks: int = 1) -> None:
        """Count chunks; report every REPORT_EVERY_SECONDS."""
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
        self._done += chunks


def evaluate_run(
    config: RunConfig,
    model: ARCAutoencoder,
    task: Task,
    *,
    minutes: float | None,
    steps: int | None,
    report: Callable[[EvaluationEvent], None] = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
    messages: Path | None = None,
    measures: Measures = "none",
    learning: int = 0,
    learning_steps: int = 500,
    observe: Callable[[Observed], None] | None = None,
) -> dict[str, Any]:
    """Evaluate ``model`` on the test and validation sets, with controls.

    Returns the content of ``<run_name>_results.json``: accuracies in percent, NaN as null. Without
    a test set the controls are evaluated on validation. The untrained sender is initialised with
    the run's seed. If ``should_stop`` returns true, the parts evaluated so far are returned
    with ``"stopped": true``. ``messages``: a file for the message of each example. ``measures``
    adds ``measures`` of the messages, and with ``all`` the accuracy after ``interventions`` and the
    ``symbols_needed``. ``learning``, a number of new receivers, adds their training, see
    ``learn_messages``: its length in ``steps``, the validation accuracy of the ``original``
    receiver, the ``goal``, a share GOAL of it, and the rows of the ``receivers``.
    ``observe`` is called with the test set, or without one with validation, at the end.
    """
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        untrained = build_model(config).to(model.device)
    corpus, selected = task.corpus, config.metric.selected
    metrics = {
        name: each
        for name, each in selected.items()
        if isinstance(each, MetricConfig) and each.in_report
    }
    main = corpus.test if len(corpus.test) > 0 else corpus.validation
    stages = _stages(task, main)
    length = model.bottleneck.max_length
    stages["measures"] = measure_chunks(task.chunk_count(main), length, measures)
    if messages is not None:
        stages["messages"] = task.chunk_count(corpus.test) + task.chunk_count(corpus.validation)
    if observe is not None:
        stages["report"] = 0 if messages is not None else task.chunk_count(main)
    for name in trainings(learning) if learning else ():
        stages[name] = training_chunks(config, task, learning_steps)
    results = _empty_results(config, minutes, steps)

    def fill(progress: EvaluationProgress) -> None:
        progress.begin("test")
        test = evaluate_split(model, task, corpus.test, full=True, metrics=metrics)
        results["test"] = _metrics(test.task_metrics, corpus.test)
        progress.begin("validation")
        validation = evaluate_split(model, task, corpus.validation, metrics=metrics)
        results["validation"] = _metrics(validation.task_metrics, corpus.validation)
        evaluation = test if main is corpus.test else validation
        results["language"] = evaluation.language
        progress.begin("controls")
        pair = config.model.shared_encoder or config.model.shared_init
        controls = evaluate_controls(model, task, main, evaluation, untrained, pair=pair)
        results["controls"] = {name: _metrics(each, main) for name, each in controls.items()}
        if measures != "none":
            progress.begin("measures")
            results["measures"] = measure_messages(
                model, task, main, evaluation, untrained, measures
            )
        if measures == "all":
            results.update(intervene(model, task, main, evaluation))
        rows: dict[str, list[dict[str, Any]]] = {}
        if messages is not None:
            progress.begin("messages")
            for split, sent in ((corpus.test, test), (corpus.validation, validation)):
                rows[split.name] = list(message_rows(model, task, split, sent))
            write_messages(messages, [row for found in rows.values() for row in found])
        if observe is not None:
            progress.begin("report")
            if main.name not in rows:
                rows[main.name] = list(message_rows(model, task, main, evaluation))
            observe(Observed(main, evaluation, model.bottleneck.vocab_size, rows[main.name]))

    def learn(progress: EvaluationProgress) -> None:
        own = evaluate_split(model, task, corpus.validation).task_metrics.accuracy
        rows: list[dict[str, Any]] = []
        length = {"steps": learning_steps, "original": own, "goal": GOAL * own}
        results["learning"] = {**length, "receivers": rows}
        for row in learn_messages(
            config,
            task,
            model,
            untrained,
            receivers=learning,
            steps=learning_steps,
            goal=GOAL * own,
            begin=progress.begin,
            count=progress,
        ):
            rows.append(row)

    progress = EvaluationProgress(stages, report, should_stop)
    return stoppable(task, progress, fill, results, learn if learning else None)


def _stages(task: Task, main: Split) -> dict[str, int]:
    """Estimate the chunks of each stage: about one each to send, embed and score a split.

    The controls, on ``main``, send twice and score three times.
    """
    splits = {"test": task.corpus.test, "validation": task.corpus.validation}
    own = {name: 3 * task.chunk_count(split) for name, split in splits.items()}
    return {**own, "controls": 5 * task.chunk_count(main)}


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
    stages = {name: 3 * task.chunk_count(split) for name, split in splits.items()}
    results = _empty_results(config, minutes, steps)

    def fill(progress: EvaluationProgress) -> None:
        for name, split in splits.items():
            progress.begin(name)
            evaluation = evaluate_split(model, task, split, full=name == "test")
            results[name] = _metrics(evaluation.task_metrics, split)

    return stoppable(task, EvaluationProgress(stages, report, should_stop), fill, results)


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


def stoppable(
    task: Task,
    progress: EvaluationProgress,
    fill: Callable[[EvaluationProgress], None],
    results: dict[str, Any],
    train: Callable[[EvaluationProgress], None] | None = None,
) -> dict[str, Any]:
    """Call ``fill`` to evaluate into ``results`` until done or stopped; returns ``results``.

    ``train`` is called afterwards and may train models.
    """
    task.on_chunk = progress
    try:
        with task.reuse_embeddings():
            fill(progress)
        if train is not None:
            train(progress)
        progress.finish()
    except EvaluationStopped:
        results["stopped"] = True
    finally:
        task.on_chunk = lambda: None
    return _plain(results)


def write_results(path: Path, content: dict[str, Any]) -> None:
    """Write the results atomically; raises ValueError if they cannot be written."""
    replace_file(path, (json.dumps(content, indent=2) + "\n").encode())


def _metrics(task_metrics: TaskMetrics, split: Split) -> dict[str, Any]:
    """Return each metric's values, their intervals over puzzles, and the baselines."""
    return {
        name: {
            **metric.values,
            "targets": metric.targets,
            "intervals": {
                value: bootstrap_interval(metric.shares[value], split.puzzle)
                if value in metric.shares
                else None
                for value in metric.values
            },
            "baselines": metric.baselines,
        }
        for name, metric in task_metrics.metrics.items()
    }


def _plain(value: Any) -> Any:
    """Round floats to four digits; NaN and infinity become None."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return round(value, 4) if math.isfinite(value) else None
    return value
