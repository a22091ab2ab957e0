"""The final results of a run, and of a saved run."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Sequence
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
from arc.runs.files import write_file
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


@dataclass(frozen=True)
class EvaluationOptions:
    """What is evaluated besides the accuracies, and who follows the evaluation.

    ``messages``: a file for the message of each example. ``measures`` adds ``measures`` of the
    messages to the results, and with ``all`` the accuracy after ``interventions`` and the
    ``symbols_needed``. ``learning``, a number of new receivers, adds their training, see
    ``learn_messages``: its length in ``steps``, the validation accuracy of the ``original``
    receiver, the ``goal``, a share GOAL of it, and the rows of the ``receivers``. ``report`` gets
    the progress. If ``should_stop`` returns true, the parts evaluated so far are returned with
    ``"stopped": true``. ``observe`` is called with the test set, or without one with validation,
    at the end.
    """

    messages: Path | None = None
    measures: Measures = "none"
    learning: int = 0
    learning_steps: int = 500
    report: Callable[[EvaluationEvent], None] = lambda event: None
    should_stop: Callable[[], bool] = lambda: False
    observe: Callable[[Observed], None] | None = None


def evaluate_run(
    config: RunConfig,
    model: ARCAutoencoder,
    task: Task,
    options: EvaluationOptions | None = None,
    *,
    minutes: float | None,
    steps: int | None,
    started_from: Sequence[str] = (),
) -> dict[str, Any]:
    """Evaluate ``model`` on the test and validation sets, with controls.

    Returns the content of ``<run_name>_results.json``: accuracies in percent, NaN as null. Without
    a test set the controls are evaluated on validation. The untrained sender is initialised with
    the run's seed. ``started_from``: the files that the run began with, as in its checkpoint.
    """
    options = options or EvaluationOptions()
    results = _empty_results(config, minutes, steps, started_from)
    evaluation = _RunEvaluation(config, model, task, options, results)
    progress = EvaluationProgress(evaluation.stages(), options.report, options.should_stop)
    learn = evaluation.learn if options.learning else None
    return stoppable(task, progress, evaluation.fill, results, learn)


class _RunEvaluation:
    """The parts of the evaluation of one run, which fill ``results``."""

    def __init__(
        self,
        config: RunConfig,
        model: ARCAutoencoder,
        task: Task,
        options: EvaluationOptions,
        results: dict[str, Any],
    ) -> None:
        self.config, self.model, self.task = config, model, task
        self.options, self.results = options, results
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            self.untrained = build_model(config).to(model.device)
        corpus = task.corpus
        self.main = corpus.test if len(corpus.test) > 0 else corpus.validation

    def stages(self) -> dict[str, int]:
        """Estimate the chunks of each stage: about one each to send, embed and score a split.

        The controls send once and score three times.
        """
        task, main, options = self.task, self.main, self.options
        stages = _split_stages(task)
        stages["controls"] = 4 * task.chunk_count(main)
        length = self.model.bottleneck.max_length
        stages["measures"] = measure_chunks(task.chunk_count(main), length, options.measures)
        if options.messages is not None:
            corpus = task.corpus
            stages["messages"] = task.chunk_count(corpus.test) + task.chunk_count(corpus.validation)
        if options.observe is not None:
            stages["report"] = 0 if options.messages is not None else task.chunk_count(main)
        for name in trainings(options.learning) if options.learning else ():
            stages[name] = training_chunks(self.config, task, options.learning_steps)
        return stages

    def fill(self, progress: EvaluationProgress) -> None:
        """Evaluate everything that trains no model."""
        config, model, task, options = self.config, self.model, self.task, self.options
        main, results = self.main, self.results
        sent = self._accuracies(progress)
        evaluation = sent[main.name]
        results["language"] = evaluation.language
        progress.begin("controls")
        pair = config.model.shared_encoder or config.model.shared_init
        controls = evaluate_controls(model, task, main, evaluation, self.untrained, pair=pair)
        results["controls"] = {name: _metrics(each, main) for name, each in controls.items()}
        if options.measures != "none":
            progress.begin("measures")
            results["measures"] = measure_messages(
                model, task, main, evaluation, self.untrained, options.measures
            )
        if options.measures == "all":
            results.update(intervene(model, task, main, evaluation))
        self._write_messages(progress, sent)

    def _accuracies(self, progress: EvaluationProgress) -> dict[str, Evaluation]:
        """Evaluate test and validation set; returns the evaluations by the name of the split."""
        model, task, corpus = self.model, self.task, self.task.corpus
        metrics = {
            name: each
            for name, each in self.config.metric.selected.items()
            if isinstance(each, MetricConfig) and each.in_report
        }
        evaluations = {}
        for split in (corpus.test, corpus.validation):
            progress.begin(split.name)
            full = split is corpus.test
            evaluation = evaluate_split(model, task, split, full=full, metrics=metrics)
            self.results[split.name] = _metrics(evaluation.task_metrics, split)
            evaluations[split.name] = evaluation
        return evaluations

    def _write_messages(self, progress: EvaluationProgress, sent: dict[str, Evaluation]) -> None:
        """Write the messages of ``sent`` and pass those of the main split to ``observe``."""
        model, task, main, options = self.model, self.task, self.main, self.options
        rows: dict[str, list[dict[str, Any]]] = {}
        if options.messages is not None:
            progress.begin("messages")
            for split in (task.corpus.test, task.corpus.validation):
                rows[split.name] = list(message_rows(model, task, split, sent[split.name]))
            write_messages(options.messages, [row for found in rows.values() for row in found])
        if options.observe is not None:
            progress.begin("report")
            if main.name not in rows:
                rows[main.name] = list(message_rows(model, task, main, sent[main.name]))
            vocab_size = model.bottleneck.vocab_size
            options.observe(Observed(main, sent[main.name], vocab_size, rows[main.name]))

    def learn(self, progress: EvaluationProgress) -> None:
        """Train new receivers on the messages of the sender."""
        model, task, options = self.model, self.task, self.options
        own = evaluate_split(model, task, task.corpus.validation).task_metrics.accuracy
        rows: list[dict[str, Any]] = []
        length = {"steps": options.learning_steps, "original": own, "goal": GOAL * own}
        self.results["learning"] = {**length, "receivers": rows}
        for row in learn_messages(
            self.config,
            task,
            model,
            self.untrained,
            receivers=options.learning,
            steps=options.learning_steps,
            goal=GOAL * own,
            begin=progress.begin,
            count=progress,
        ):
            rows.append(row)


def _split_stages(task: Task) -> dict[str, int]:
    """Estimate the chunks of the evaluation of each split."""
    splits = (task.corpus.test, task.corpus.validation)
    return {split.name: 3 * task.chunk_count(split) for split in splits}


def evaluate_pretraining(
    config: RunConfig,
    model: ARCAutoencoder,
    task: Task,
    options: EvaluationOptions | None = None,
    *,
    minutes: float | None,
    steps: int | None,
    started_from: Sequence[str] = (),
) -> dict[str, Any]:
    """Evaluate a pretrained ``model`` on the test and validation sets, as ``evaluate_run`` does.

    Of ``options`` only ``report`` and ``should_stop`` are used.
    """
    options = options or EvaluationOptions()
    results = _empty_results(config, minutes, steps, started_from)

    def fill(progress: EvaluationProgress) -> None:
        for split in (task.corpus.test, task.corpus.validation):
            progress.begin(split.name)
            evaluation = evaluate_split(model, task, split, full=split is task.corpus.test)
            results[split.name] = _metrics(evaluation.task_metrics, split)

    progress = EvaluationProgress(_split_stages(task), options.report, options.should_stop)
    return stoppable(task, progress, fill, results)


def _empty_results(
    config: RunConfig, minutes: float | None, steps: int | None, started_from: Sequence[str]
) -> dict[str, Any]:
    return {
        "test": {},
        "validation": {},
        "controls": {},
        "language": {},
        "minutes": None if minutes is None else round(minutes, 3),
        "steps": steps,
        "started_from": list(started_from),
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
    write_file(path, (json.dumps(content, indent=2) + "\n").encode())


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
