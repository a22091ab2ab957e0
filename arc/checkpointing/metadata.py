"""The metadata of a checkpoint: everything but the tensors, as JSON types; needs no torch."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from arc.checkpointing.archive import METADATA_RECORD, Archive, quick_metadata
from arc.checkpointing.errors import CorruptedError, NotACheckpointError
from arc.io.trees import json_plain


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


# What may be stored under a key, if it is there.
HEADER: tuple[tuple[tuple[str, ...], Callable[[Any], bool]], ...] = (
    (("epoch", "batch", "step"), lambda value: type(value) is int and 0 <= value < 2**63),
    (("seconds",), lambda value: _is_number(value) and 0 <= value < math.inf),
    (("val_loss", "val_acc"), lambda value: value is None or _is_number(value)),
    (("data_fingerprint", "created"), lambda value: isinstance(value, str)),
    (
        ("started_from", "label_map"),
        lambda value: isinstance(value, list) and all(isinstance(each, str) for each in value),
    ),
)
STATES = ("model_state_dict", "encoder_state_dict", "optimizer_state_dict", "trainer_state")


def _to_version_2(content: dict[str, Any]) -> dict[str, Any]:
    """Move the optimizer and schedule settings from ``training`` to sections of their own.

    Version 1 always used AdamW, scheduled by whichever limit was nearest, minutes included, and
    chose the best checkpoint by the task's main metric. A section that is not a dict, and a key
    that is missing, are left to the check of the configuration.
    """
    config = content["config"]
    if not isinstance(config.get("training"), dict):
        return {**content, "format_version": 2}
    training = {**config["training"], "schedule_by": "time", "best_metric": None}
    optimizer: dict[str, Any] = {"name": "adamw", "betas": [0.9, 0.999]}
    schedule: dict[str, Any] = {}
    for section, old, new in (
        (optimizer, "weight_decay", "weight_decay"),
        (schedule, "schedule", "name"),
    ):
        if old in training:
            section[new] = training.pop(old)
    if schedule.get("name") == "cosine":
        schedule["final_share"] = 0.01
    groups = {
        "training": training,
        "optimizer": optimizer,
        "schedule": schedule,
        "logger": {"jsonl": {"filename": "metrics.jsonl"}},
        "metric": {"entropy": {}, "usage": {}},
    }
    return {**content, "format_version": 2, "config": {**config, **groups}}


def _to_version_3(content: dict[str, Any]) -> dict[str, Any]:
    """Name the architecture and the selection game of versions 1 and 2 in the configuration."""
    content, config = dict(content), dict(content["config"])
    encoder = {"architecture": "cells", "mixer": "attention"}
    if isinstance(content.get("encoder_architecture"), dict):  # of a pretrained encoder
        content["encoder_architecture"] = {**content["encoder_architecture"], **encoder}
    if isinstance(config.get("model"), dict):
        config["model"] = {**config["model"], **encoder}
    task = config.get("task")
    if isinstance(task, dict) and task.get("name") == "selection":
        old = {"negatives": "game", "near_copies": False, "score": "cosine"}
        config["task"] = {**task, **old}
    return {**content, "format_version": 3, "config": config}


def _to_version_4(content: dict[str, Any]) -> dict[str, Any]:
    """Add the keys of version 4, with the values that older files were trained with."""
    content, config = dict(content), dict(content["config"])
    if isinstance(content.get("encoder_architecture"), dict):  # of a pretrained encoder
        content["encoder_architecture"] = {**content["encoder_architecture"], "head": "joint"}
    if isinstance(config.get("model"), dict):
        added = {"head": "joint", "shared_encoder": False, "shared_init": False}
        config["model"] = {**config["model"], **added}
    if isinstance(config.get("data"), dict):
        config["data"] = {**config["data"], "also": [], "synthetic": 0.0, "crop": 0.0}
    bottleneck = config.get("bottleneck")
    if isinstance(bottleneck, dict) and bottleneck.get("name") == "autoencoder":
        config["bottleneck"] = {**bottleneck, "noise": 0.0}
    task = config.get("task")
    by_task: dict[str, dict[str, Any]] = {
        "selection": {"label_smoothing": 0.0},
        "reconstruction": {"palette": "none", "grid_weight": "linear"},
    }
    if isinstance(task, dict) and task.get("name") in by_task:
        config["task"] = {**task, **by_task[task["name"]]}
    return {**content, "format_version": 4, "config": config}


def _to_version_5(content: dict[str, Any]) -> dict[str, Any]:
    """Add the key that version 5 has, with the value that older files were trained with."""
    config = dict(content["config"])
    if isinstance(config.get("data"), dict):
        config["data"] = {**config["data"], "augment_colors": True}
    return {**content, "format_version": 5, "config": config}


def _to_version_6(content: dict[str, Any]) -> dict[str, Any]:
    """Remove the second copy of an encoder that sender and receiver share."""
    model, weights = content["config"].get("model"), content.get("model_state_dict")
    if isinstance(model, dict) and model.get("shared_encoder") and isinstance(weights, dict):
        second = "receiver.encoder."
        weights = {key: value for key, value in weights.items() if not str(key).startswith(second)}
        content = {**content, "model_state_dict": weights}
    return {**content, "format_version": 6}


FORMAT_VERSION = 6
# Maps an older format_version to the function that converts content to the next version. The
# content is a whole tree, or its metadata alone (no states); the function returns a new one.
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {
    1: _to_version_2,
    2: _to_version_3,
    3: _to_version_4,
    4: _to_version_5,
    5: _to_version_6,
}


def read_metadata(path: str | Path) -> dict[str, Any]:
    """Return a file's metadata as plain types without reading its tensors.

    A file without a metadata record gets one from its tree. Raises CheckpointError if the file
    is not a valid checkpoint.
    """
    metadata = quick_metadata(path)
    if metadata is None:
        with Archive(path) as archive:
            metadata = archive.metadata() or metadata_of(archive.tree())
    return migrated(path, metadata)


def migrated(path: str | Path, content: dict[str, Any]) -> dict[str, Any]:
    """Return ``content`` converted to the current format, with its original meaning.

    Raises NotACheckpointError if ``config`` is missing or ``format_version`` is not supported.
    """
    if not isinstance(content.get("config"), dict):
        raise NotACheckpointError(f"{path}: no config; not an arc-communication checkpoint")
    version = content.get("format_version")
    if type(version) is not int or not (version in MIGRATIONS or version == FORMAT_VERSION):
        known = ", ".join(map(str, sorted({*MIGRATIONS, FORMAT_VERSION})))
        origin = f" (from arc_version {content['arc_version']})" if "arc_version" in content else ""
        raise NotACheckpointError(
            f"{path}: format_version {version}{origin}; supported versions: {known}"
        )
    while version != FORMAT_VERSION:
        content = MIGRATIONS[version](content)
        version += 1
    for keys, is_valid in HEADER:
        for key in keys:
            if key in content and not is_valid(content[key]):
                raise CorruptedError(f"{path}: {key}: not a valid value")
    return content


def check_record(path: str | Path, tree: dict[str, Any], records: Iterable[Any]) -> None:
    """Raise CorruptedError if a metadata record contradicts the tree of its file."""
    try:
        own = json.loads(json.dumps(metadata_of(tree)))
    except (TypeError, ValueError) as error:
        raise CorruptedError(f"{path}: not a checkpoint's content: {error}") from None
    for record in records:
        if record is None or record == own:
            continue
        keys = {*record, *own}
        different = sorted(key for key in keys if record.get(key) != own.get(key))
        raise CorruptedError(
            f"{path}: {METADATA_RECORD} contradicts the content: {', '.join(different[:5])}"
        )


def metadata_of(content: dict[str, Any]) -> dict[str, Any]:
    """Return the metadata of ``content``: everything but the states, plus ``num_parameters``.

    ``content`` may hold tensors or TensorStubs. The result has JSON types only.
    """
    weights = content.get("model_state_dict", content.get("encoder_state_dict", {}))
    tensors = weights.values() if isinstance(weights, dict) else ()
    parameters = sum(math.prod(tensor.shape) for tensor in tensors if hasattr(tensor, "shape"))
    plain = {key: value for key, value in content.items() if key not in STATES}
    return json_plain({**plain, "num_parameters": parameters})
