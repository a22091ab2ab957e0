"""Starts a trainer from a checkpoint: exact resumption, fine-tuning, pretrained encoders."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from arc.checkpointing.errors import CheckpointError
from arc.checkpointing.format import portable_tree
from arc.checkpointing.loader import MismatchError, fit_weights, load_encoder, mismatches
from arc.checkpointing.tables import changes
from arc.config import RunConfig
from arc.config.builders import holds_out_alike
from arc.training import Trainer

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CheckpointSource:
    """The file that a run starts from, its ``content``, and how it is used."""

    kind: Literal["resume", "finetune"]
    path: Path
    content: dict[str, Any]
    strict: bool


RESUMED = (
    "model_state_dict",
    "optimizer_state_dict",
    "trainer_state",
    "step",
    "data_fingerprint",
)
HARMLESS = ("run_name", "checkpoint.")


def start_encoder(path: str, key: str, config: RunConfig, trainer: Trainer) -> None:
    """Load the encoder of ``path``, which the configuration's ``key`` names.

    Logs a warning if it was trained with another task or other data, and may thus have seen this
    run's validation or test set. Raises CheckpointError if the file cannot be read, and
    MismatchError if the architectures differ.
    """
    loaded, encoder = load_encoder(path), trainer.model.encoder
    there, here = loaded.encoder.architecture, encoder.architecture
    if different := [name for name in here if there[name] != here[name]]:
        sides = ", ".join(f"{name} is {there[name]} there, {here[name]} here" for name in different)
        raise MismatchError(f"{key}={path}: the architectures differ: {sides}")
    encoder.load_state_dict(loaded.encoder.state_dict())
    step = loaded.metadata.get("step")
    trainer.started_from.append(f"{key} {Path(path).name} step {step}")
    if not holds_out_alike(loaded.config, config):
        log.warning(
            f"{key}: trained with another task or other data, so it may have seen this run's "
            "validation or test set; pretrain with the same task and data to exclude that"
        )
    log.info(f"{key}: the encoder of {path}, step {step}")


def begin_from(origin: CheckpointSource, config: RunConfig, trainer: Trainer) -> None:
    """Load ``origin`` into ``trainer``; raises CheckpointError if it does not fit."""
    needed = RESUMED if origin.kind == "resume" else ("model_state_dict",)
    for key in needed:
        if key not in origin.content:
            raise CheckpointError(f"{origin.path}: no {key}")
    try:
        if origin.kind == "finetune":
            _load_weights(origin, trainer)
        else:
            _resume(origin, config, trainer)
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError) as error:
        raise CheckpointError(f"{origin.path}: unexpected checkpoint state: {error!r}") from None
    if origin.kind == "finetune":
        trainer.started_from = list(origin.content.get("started_from", []))
    step = origin.content.get("step")
    trainer.started_from.append(f"{origin.kind} {origin.path.name} step {step}")


def _load_weights(origin: CheckpointSource, trainer: Trainer) -> None:
    weights = origin.content["model_state_dict"]
    if origin.strict:
        fit_weights(f"{origin.path} (strict=false loads what fits)", trainer.model, weights)
        log.info(f"fine-tuning: all {len(weights)} tensors from {origin.path}")
        return
    faults = mismatches(trainer.model, weights)
    wanted = trainer.model.state_dict()
    fitting = {
        name: tensor
        for name, tensor in weights.items()
        if name in wanted and wanted[name].shape == tensor.shape
    }
    trainer.model.load_state_dict(fitting, strict=False)
    log.info(f"fine-tuning: {len(fitting)} of {len(wanted)} tensors from {origin.path}")
    for fault in faults:
        log.info(f"not loaded: {fault}")


def _resume(origin: CheckpointSource, config: RunConfig, trainer: Trainer) -> None:
    content = origin.content
    fit_weights(origin.path, trainer.model, content["model_state_dict"])
    changed = changes(content["config"], portable_tree(config))
    for key, (then, now) in changed.items():
        log.info(f"resume: {key} was {then}, is {now}")
    same_data = content["data_fingerprint"] == trainer.task.corpus.fingerprint
    if not same_data:
        log.warning("resume: the data differ from the data of the original run")
    if not same_data or any(not key.startswith(HARMLESS) for key in changed):
        log.warning("resume: the resumed run is not bit-exact because of the changes above")
    order = ("training.batch_size", "task.", "data.")
    same_order = same_data and not any(key.startswith(order) for key in changed)
    state = {
        **content["trainer_state"],
        "model": content["model_state_dict"],
        "optimizer": content["optimizer_state_dict"],
    }
    trainer.load_state_dict(state, same_order=same_order)
    log.info(f"resuming {origin.path} at step {trainer.step}")
