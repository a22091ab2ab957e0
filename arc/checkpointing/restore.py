"""Starts a trainer from a checkpoint: exact resumption, fine-tuning, pretrained encoders."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from arc.checkpointing.errors import CheckpointError, CorruptedError
from arc.checkpointing.format import portable_tree
from arc.checkpointing.loader import (
    MismatchError,
    fit_weights,
    load_encoder,
    mismatches,
    stored_config,
)
from arc.checkpointing.metadata import STATES
from arc.checkpointing.state import check_state
from arc.checkpointing.tables import changes
from arc.config.builders import BATCHES, holds_out_alike
from arc.config.schema import RunConfig
from arc.training import Trainer

log = logging.getLogger(__name__)
RESUMED = (
    "model_state_dict",
    "optimizer_state_dict",
    "trainer_state",
    "step",
    "data_fingerprint",
)
HARMLESS = ("run_name", "checkpoint.", "logger.")
ORDER = ("training.batch_size", "task.")
VALIDATION = ("training.best_metric", "task.", "bottleneck.")  # keys that validation depends on
ONLY_TRAINING = (  # keys among them that it does not depend on
    *("task.label_smoothing", "task.near_copies", "task.negatives", "task.grid_weight"),
    *("bottleneck.entropy_bonus", "bottleneck.length_cost"),
)


@dataclass(frozen=True)
class CheckpointSource:
    """The file that a run starts from, its whole ``content``, and what is taken from it."""

    kind: Literal["resume", "finetune"]
    path: Path
    content: dict[str, Any]
    strict: bool


def begin_from(source: CheckpointSource, config: RunConfig, trainer: Trainer) -> list[str]:
    """Load ``source`` into ``trainer``; returns the files that the run has started from.

    The states are removed from the content of ``source``: the optimizer keeps their tensors.
    Raises CheckpointError if the content does not fit.
    """
    required = RESUMED if source.kind == "resume" else ("model_state_dict",)
    for key in required:
        if key not in source.content:
            raise CheckpointError(f"{source.path}: has no {key}")
    try:
        if source.kind == "finetune":
            _load_weights(source, config, trainer)
            _check_seen_data(source, config)
        else:
            _resume(source, config, trainer)
    except MismatchError:
        raise
    except CorruptedError as error:
        raise CorruptedError(f"{source.path}: {error}") from None
    except Exception as error:  # torch and NumPy can raise any exception for a broken state
        fault = (repr(error).splitlines() or [""])[0][:500]
        raise CheckpointError(f"{source.path}: unexpected checkpoint state: {fault}") from None
    for key in STATES:
        source.content.pop(key, None)
    step = source.content.get("step")
    earlier = source.content.get("started_from", [])
    return [*earlier, f"{source.kind} {source.path.name} step {step}"]


def start_encoder(path: str, key: str, config: RunConfig, trainer: Trainer) -> str:
    """Load the encoder of the file that the configuration's ``key`` names.

    Returns a description of its origin. Logs a warning if the encoder may have been trained on data
    that this run holds out. Raises CheckpointError if the file cannot be read, or naming both
    architectures if they differ.
    """
    loaded, encoder = load_encoder(path), trainer.model.encoder
    there, here = loaded.encoder.architecture, encoder.architecture
    used = here.keys() - encoder.unused
    if different := [name for name in here if name in used and there[name] != here[name]]:
        sides = ", ".join(
            f"{name} is {there[name]} in the file, {here[name]} in this run" for name in different
        )
        raise MismatchError(f"{key}={path}: encoder architectures differ: {sides}")
    encoder.load_state_dict(loaded.encoder.state_dict())
    if config.mode == "train" and config.model.shared_init:
        trainer.model.copy_encoder_to_receiver()
    step = loaded.metadata.get("step")
    if not holds_out_alike(loaded.config, config, loaded.metadata.get("data_fingerprint")):
        _warn_of_seen_data(key, "pretrain")
    log.info(f"{key}: encoder loaded from {path}, step {step}")
    return f"{key} {Path(path).name} step {step}"


def _warn_of_seen_data(key: str, remedy: str) -> None:
    log.warning(
        f"{key}: trained for another task or on other data, so it may have seen the validation or "
        f"test data of this run; {remedy} with the same task and data overrides to avoid it"
    )


def _check_seen_data(source: CheckpointSource, config: RunConfig) -> None:
    """Warn if the run that is fine-tuned may have trained on what this run holds out."""
    try:
        stored = stored_config(source.path, source.content)
    except CheckpointError:  # of an earlier version: the missing keys are typed
        return
    if not holds_out_alike(stored, config, source.content.get("data_fingerprint")):
        _warn_of_seen_data(f"finetune={source.path}", "train")


def _log_free_settings(source: CheckpointSource, config: RunConfig) -> None:
    """Log the changed settings of the bottleneck: no weight has a shape that depends on them."""
    then, now = source.content["config"].get("bottleneck"), portable_tree(config)["bottleneck"]
    if isinstance(then, dict) and (changed := changes(then, now)):
        settings = ", ".join(f"bottleneck.{key} {a} -> {b}" for key, (a, b) in changed.items())
        log.info(
            f"fine-tuning: {settings}; all weights fit, because their sizes do not depend on this, "
            "but they were trained with the earlier setting"
        )


def _load_weights(source: CheckpointSource, config: RunConfig, trainer: Trainer) -> None:
    weights = source.content["model_state_dict"]
    then, now = source.content["config"]["training"]["learning_rate"], trainer.config.learning_rate
    if then != now:
        log.info(f"fine-tuning: training.learning_rate {then:g} -> {now:g}")
    if source.strict:
        try:
            fit_weights(source.path, trainer.model, weights)
        except MismatchError as error:
            raise MismatchError(f"{error}; strict=false loads the tensors that fit") from None
        log.info(f"fine-tuning: all {len(weights)} tensors loaded from {source.path}")
        _log_free_settings(source, config)
        return
    faults = mismatches(trainer.model, weights)
    wanted = trainer.model.state_dict()
    fitting = {
        name: tensor
        for name, tensor in weights.items()
        if name in wanted and wanted[name].shape == tensor.shape
    }
    trainer.model.load_state_dict(fitting, strict=False)
    log.info(f"fine-tuning: {len(fitting)} of {len(wanted)} tensors loaded from {source.path}")
    for fault in faults:
        log.info(f"not loaded: {fault}")


def _resume(source: CheckpointSource, config: RunConfig, trainer: Trainer) -> None:
    content = source.content
    fit_weights(source.path, trainer.model, content["model_state_dict"])
    changed = changes(content["config"], portable_tree(config))
    for key, (then, now) in changed.items():
        log.info(f"resume: {key} changed from {then} to {now}")
    same_data = content["data_fingerprint"] == trainer.task.corpus.fingerprint
    if not same_data:
        log.warning("resume: the data differ from those that this run was trained on")
    elif any(key.startswith("data.") for key in changed):
        log.info("resume: the examples are the same")
    effective = [key for key in changed if not key.startswith(HARMLESS)]
    if same_data:  # where they come from has no effect
        batches = {f"data.{name}" for name in BATCHES}
        effective = [key for key in effective if not key.startswith("data.") or key in batches]
    if not same_data or effective:
        log.warning("resume: the resumed run is not bit-exact because of the changes above")
    same_examples = len(content["trainer_state"]["source"]["order"]) == len(
        trainer.sampler.examples
    )
    if same_data and not same_examples:
        log.warning("resume: this version trains on other examples; the epoch starts again")
    check_state(content, trainer, same_optimizer="optimizer.name" not in changed)
    state = {
        **content["trainer_state"],
        "model": content["model_state_dict"],
        "optimizer": content["optimizer_state_dict"],
    }
    same_validation = same_data and not any(
        key.startswith(VALIDATION) and key not in ONLY_TRAINING for key in changed
    )
    if not same_validation:
        log.info("resume: earlier validations are not comparable; the next one is the best so far")
    trainer.load_state_dict(
        state,
        same_order=same_data
        and same_examples
        and not any(key.startswith(ORDER) for key in changed),
        same_optimizer="optimizer.name" not in changed,
        same_validation=same_validation,
    )
    log.info(f"resuming {source.path} at step {trainer.step}")
