"""The evaluation of saved runs."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from arc.checkpointing import load, read_metadata
from arc.checkpointing.loader import Loaded
from arc.config.builders import build_task
from arc.config.files import ConfigError
from arc.config.overrides import key_of
from arc.config.schema import RunConfig
from arc.data import DataError
from arc.data.sources import counted
from arc.runs.files import check_writable
from arc.runs.messages import messages_path
from arc.runs.plan import with_overrides
from arc.runs.results import EvaluationOptions, evaluate_run
from arc.tasks import Task
from arc.training import EvaluationEvent

log = logging.getLogger(__name__)


def evaluate_checkpoints(
    paths: Sequence[str],
    device: torch.device,
    options: EvaluationOptions,
    *,
    overrides: Sequence[str] = (),
    messages: bool = False,
    tasks: dict[str, Task] | None = None,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each of ``paths`` with its results; arguments are those of ``evaluate_checkpoint``.

    A path that is named twice is evaluated once. Progress and time left are those of all files.
    After a stop, the remaining files are not evaluated. Raises CheckpointError before the first
    evaluation if a file cannot be read, and ConfigError if two files would write the same messages.
    """
    chosen = different_files(paths)
    writers: dict[Path, str] = {}
    for path in chosen:
        target = messages_path(path, read_metadata(path)["config"].get("run_name")).resolve()
        if messages and (other := writers.setdefault(target, path)) != path:
            raise ConfigError(
                f"messages=true: {other} and {path} both write {target.name}; evaluate them one "
                "by one"
            )
    start, tasks = time.monotonic(), {} if tasks is None else tasks
    for number, path in enumerate(chosen):
        report = partial(_report_part, options.report, start, Path(path).name, number, len(chosen))
        own = options if len(chosen) == 1 else replace(options, report=report)
        yield (
            path,
            evaluate_checkpoint(
                path, device, own, overrides=overrides, messages=messages, tasks=tasks
            ),
        )
        if options.should_stop():
            return


def different_files(paths: Sequence[str]) -> list[str]:
    """Return ``paths`` without those of a file that was named before."""
    found: dict[Path, str] = {}
    for path in paths:
        found.setdefault(Path(path).resolve(), path)
    return list(found.values())


def _report_part(
    report: Callable[[EvaluationEvent], None],
    start: float,
    name: str,
    number: int,
    count: int,
    event: EvaluationEvent,
) -> None:
    """Report the progress of one file as a part of the progress of ``count`` files."""
    progress, seconds = (number + event.progress) / count, time.monotonic() - start
    left = seconds / progress - seconds if progress > 0 else None
    stage = f"{event.stage} of {name} ({number + 1} of {count})"
    report(EvaluationEvent(stage, progress, left))


def evaluate_checkpoint(
    path: str | Path,
    device: torch.device,
    options: EvaluationOptions | None = None,
    *,
    overrides: Sequence[str] = (),
    messages: bool = False,
    tasks: dict[str, Task] | None = None,
) -> dict[str, Any]:
    """Rebuild a run's model and data from its file and evaluate it, as ``evaluate_run`` does.

    ``overrides``, in Hydra's grammar, replace keys of the stored section ``data``. Another test
    set loses the examples that the run was trained on; ``leaked`` is their number. ``messages``
    writes ``<run_name>_messages.jsonl`` beside the file. ``tasks`` keeps the task, with its data
    and baselines, for further files with the same ``overrides``. Raises CheckpointError,
    ConfigError or DataError if the file or its data cannot be loaded or have no validation set for
    ``options.learning``, ValueError if the messages cannot be written.
    """
    options = options or EvaluationOptions()
    learning, steps = options.learning, options.learning_steps
    if learning < 0 or steps < 1:
        raise ConfigError(f"learning={learning}, learning_steps={steps}: must be at least 0 and 1")
    loaded = load(path, device)
    config = config_of(loaded, overrides)
    if messages:
        options = replace(options, messages=messages_path(path, config.run_name))
    if options.messages is not None:
        check_writable(options.messages)
    task = task_of(path, loaded, overrides, device, {} if tasks is None else tasks)
    if learning and len(task.corpus.validation) == 0:
        raise DataError(
            f"{path}: learning={learning} needs a validation set; the run has "
            "data.validation_fraction=0"
        )
    log.info(f"evaluating {path} on {counted(len(task.corpus.test), 'test example')}")
    seconds = loaded.metadata.get("seconds")
    results = evaluate_run(
        config,
        loaded.model,
        task,
        options,
        minutes=None if seconds is None else seconds / 60,
        steps=loaded.metadata.get("step"),
        started_from=loaded.metadata.get("started_from", []),
    )
    leaked = task.corpus.leaked
    return results if leaked is None else results | {"leaked": leaked}


def config_of(loaded: Loaded, overrides: Sequence[str]) -> RunConfig:
    """Return the stored configuration with ``overrides``; raises ConfigError.

    Only keys of the section ``data`` can be set.
    """
    for override in overrides:
        if not key_of(override).startswith("data."):
            raise ConfigError(f"{override}: only data.… can be set for an evaluation")
    return with_overrides(loaded.metadata["config"], overrides) if overrides else loaded.config


def task_of(
    path: str | Path,
    loaded: Loaded,
    overrides: Sequence[str],
    device: torch.device,
    tasks: dict[str, Task],
) -> Task:
    """Return the task of a run, from ``tasks`` if it is there.

    Logs what was done to its data. Raises DataError if they cannot be used.
    """
    config = loaded.metadata["config"]
    sections = [config[section] for section in ("task", "bottleneck", "data")]
    key = str([*sections, config["model"]["latent_dim"]])  # all that baselines depend on
    if key not in tasks:
        tasks[key] = _build_task(loaded, config_of(loaded, overrides), overrides, device)
    _check_data(path, loaded, tasks[key])
    return tasks[key]


def _build_task(
    loaded: Loaded, config: RunConfig, overrides: Sequence[str], device: torch.device
) -> Task:
    """Build the task of ``config``, which differs from the stored one by ``overrides``.

    With another ``data.test``, the training and validation sets stay those of the run, unless the
    run's own test set cannot be read any more.
    """
    others = [override for override in overrides if key_of(override) != "data.test"]
    if len(others) == len(overrides):
        return build_task(config, device)
    own = with_overrides(loaded.metadata["config"], others)
    try:
        return build_task(own, device, test=config)
    except DataError as error:
        task = build_task(config, device)
        log.warning(f"the data of the run cannot be loaded as they were: {error}")
        return task


def _check_data(path: str | Path, loaded: Loaded, task: Task) -> None:
    """Log what was done to the data, and warn if they differ from those of the run.

    Raises DataError if they have another number of classes.
    """
    classes = getattr(loaded.config.task, "num_classes", None)
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
