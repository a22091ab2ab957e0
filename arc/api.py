"""The Python API: the same code as the command line.

    from arc.api import compare, compose, corpus, evaluate, load, train

    config = compose("task=selection", "training.max_steps=200")
    run = train(config)
    results = evaluate(run.checkpoints.best)

Nothing here starts a server, installs signal handlers or changes the working directory.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from arc.checkpointing import load, read_checkpoint
from arc.config.builders import build_task
from arc.config.hydra_main import as_path, compose_tree
from arc.config.overrides import refuse_names
from arc.config.schema import RunConfig, parse_config
from arc.data import Corpus
from arc.models import ARCAutoencoder
from arc.report import check_report, report_path, write_report
from arc.runs import Outcome, build_run, run_to_end
from arc.runs.comparison import compare_folders
from arc.runs.crossplay import cross_play as play
from arc.runs.crossplay import load_players
from arc.runs.measures import Measures
from arc.runs.messages import read_messages
from arc.runs.plan import plan_from, read_source, with_overrides
from arc.runs.results import EvaluationOptions, Observed
from arc.runs.saved import evaluate_checkpoint
from arc.training import Callback, RunControl, pick_device
from arc.training.allocator import configure_allocator

__all__ = [
    "Checkpoints",
    "RunControl",
    "TrainedRun",
    "compare",
    "compose",
    "corpus",
    "cross_play",
    "evaluate",
    "load",
    "read_messages",
    "train",
]


@dataclass(frozen=True)
class Checkpoints:
    """The files of a run; a file that was not written is None."""

    best: Path | None
    last: Path | None


@dataclass(frozen=True)
class TrainedRun:
    """A run after ``train``. ``model`` is in eval mode and has the best checkpoint's weights.

    ``results`` is the content of the results file, None if the run did not finish.
    """

    config: RunConfig
    outcome: Outcome
    checkpoints: Checkpoints
    results: dict[str, Any] | None = field(repr=False)
    model: ARCAutoencoder = field(repr=False)

    def __repr__(self) -> str:
        return f"TrainedRun({self.config.run_name}, {self.outcome.kind})"


def compose(*overrides: str, base: str | Path | None = None) -> RunConfig:
    """Return the configuration of conf/ with ``overrides`` in Hydra's grammar.

    With ``base``, a checkpoint's file, its stored configuration takes the place of conf/. Raises
    ConfigError for an unknown key or an invalid value, CheckpointError if ``base`` cannot be read.
    """
    typed = list(map(as_path, overrides))
    refuse_names(typed)
    if base is None:
        return parse_config(compose_tree(typed))
    return with_overrides(read_checkpoint(base)["config"], typed)


def train(
    config: RunConfig,
    *,
    callbacks: Sequence[Callback] = (),
    resume: str | Path | None = None,
    finetune: str | Path | None = None,
    output: str | Path | None = None,
    control: RunControl | None = None,
) -> TrainedRun:
    """Train a run, save its checkpoints and evaluate the best one.

    ``callbacks`` receive each event. ``resume`` or ``finetune`` names the checkpoint to start from.
    ``metrics.jsonl`` and ``status.json`` go to ``output`` (default: ``outputs/RUN_NAME``).
    ``control.request_stop`` stops the run from another thread or a callback. Raises ValueError
    (ConfigError, DataError, CheckpointError) if the run is not possible; a failure during training
    is the ``outcome``. A KeyboardInterrupt is raised again once the state is saved.
    """
    configure_allocator()
    plan = plan_from(config, read_source(resume, finetune, Path(config.checkpoint.dir)))
    folder = Path("outputs") / str(plan.config.run_name) if output is None else Path(output)
    run = build_run(plan, folder.expanduser())
    result = run_to_end(run, control=control, callbacks=callbacks)
    results = result.results
    if results is None and result.outcome.kind == "finished":  # before, and was not repeated
        results = run.stored_results
    last = run.policy.last
    checkpoints = Checkpoints(
        run.policy.saved_best, last if last is not None and last.exists() else None
    )
    model = run.best_model.eval()
    return TrainedRun(run.config, result.outcome, checkpoints, results, model)


def evaluate(
    source: str | Path | TrainedRun,
    *overrides: str,
    device: str = "auto",
    measures: Measures = "fast",
    messages: bool = False,
    learning: int = 0,
    learning_steps: int = 500,
    report: bool | str | Path = False,
) -> dict[str, Any]:
    """Evaluate a checkpoint, or the best one of a run, on its test and validation sets.

    ``overrides`` replace keys of the section ``data``, such as ``"data.path=my_puzzles"`` or
    ``"data.test=arc2"``. Returns the content of a results file: accuracies in percent with their
    intervals, baselines and controls. ``measures`` of discrete messages: all, fast or none; ``all``
    adds the accuracy after interventions. With ``messages``, ``<run_name>_messages.jsonl`` is
    written beside the file, for ``read_messages``. ``learning`` is the number of new receivers
    to train for ``learning_steps`` steps on the messages of the run's frozen sender. ``report``:
    true writes ``<run_name>_report.html`` beside the file; or a path that ends in .html. Raises
    CheckpointError or DataError if the file or its data cannot be loaded, ValueError if the report
    cannot be written.
    """
    configure_allocator()
    path, observed = _best_file(source), list[Observed]()
    target = report_path(path, report)
    if target is not None:
        check_report(target)
    results = evaluate_checkpoint(
        path,
        pick_device(device),
        EvaluationOptions(
            measures=measures,
            learning=learning,
            learning_steps=learning_steps,
            observe=None if target is None else observed.append,
        ),
        overrides=list(map(as_path, overrides)),
        messages=messages,
    )
    if target is not None:
        write_report(target, {path: results}, observed)
    return results


def cross_play(
    sources: Sequence[str | Path | TrainedRun], *overrides: str, device: str = "auto"
) -> dict[str, Any]:
    """Evaluate the receiver of each run with the messages of the sender of each run.

    ``sources`` and ``overrides`` as in ``evaluate``. Returns the accuracies by the task's first
    metric, in percent, as ``matrix[sender][receiver]`` in the order of ``runs``, their means over
    the ``diagonal`` and ``off_diagonal``, and the ``baselines``. Raises ConfigError unless task,
    bottleneck and data of the runs are equal.
    """
    configure_allocator()
    chosen, typed = pick_device(device), list(map(as_path, overrides))
    players = load_players(list(map(_best_file, sources)), chosen, typed)
    return play(players, chosen, overrides=typed)


def compare(
    folders: str | Path | Sequence[str | Path],
    *,
    by: str | Sequence[str] = (),
    metric: str | None = None,
) -> dict[str, Any]:
    """Compare the runs below ``folders``: those of sweeps, or in outputs/ and checkpoints/.

    Runs that differ only in their seed are a group, or with ``by``, keys of the configuration,
    those with the same values. ``metric``: a value of the results, such as ``test.random_99``, or
    of the validations, such as ``val_loss``; by default the task's first metric.

    Returns the ``runs`` and ``groups``, the keys that ``varied``, and ``warnings`` about what could
    not be read. A run has its ``name``, ``folder``, ``state`` (finished, running, failed or
    interrupted), ``error``, ``step``, ``seed``, ``setting``, ``value`` and ``best`` checkpoint. A
    group has its ``setting``, the ``values`` of its ``n`` finished runs, their ``mean``, its 95 %
    ``interval`` by Student's t distribution, and the ``best`` checkpoint by validation. Reads files
    only. Raises ConfigError for an unknown key or metric, ValueError if a folder does not exist.
    """
    given = [folders] if isinstance(folders, str | Path) else folders
    paths = list(map(os.path.expanduser, given))
    return compare_folders(paths, [by] if isinstance(by, str) else by, metric)


def _best_file(source: str | Path | TrainedRun) -> str:
    """Return the path of ``source``; raises ValueError if a run has no file."""
    path = source.checkpoints.best if isinstance(source, TrainedRun) else source
    if path is None:
        raise ValueError("the run has no best checkpoint to evaluate")
    return os.path.expanduser(path)


def corpus(config: RunConfig, *, device: str = "cpu") -> Corpus:
    """Return the training, validation and test sets that ``config`` describes."""
    return build_task(config, pick_device(device)).corpus
