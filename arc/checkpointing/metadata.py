"""What a checkpoint says of itself: all but its tensors, as JSON types; read without torch."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from arc.checkpointing.archive import Archive, NotACheckpointError, quick_metadata
from arc.trees import json_plain

FORMAT_VERSION = 1
# A format_version -> what makes the next one of it. Each gets a whole tree or its metadata
# alone (no states), and returns a new one with the next number in it.
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
STATES = ("model_state_dict", "encoder_state_dict", "optimizer_state_dict", "trainer_state")


def read_metadata(path: str | Path) -> dict[str, Any]:
    """Return a file's metadata as plain types, fast; made from its tree if it has no record.

    Raises CheckpointError if the file is not ours.
    """
    metadata = quick_metadata(path)
    if metadata is None:
        with Archive(path) as archive:
            metadata = archive.metadata() or metadata_of(archive.tree())
    return migrated(path, metadata)


def migrated(path: str | Path, content: dict[str, Any]) -> dict[str, Any]:
    """Return ``content`` as this version would have written it, with the meaning it had.

    Raises NotACheckpointError unless it has a config and a format that we read.
    """
    if not isinstance(content.get("config"), dict):
        raise NotACheckpointError(f"{path}: holds no config; not one of our checkpoints")
    version = content.get("format_version")
    if type(version) is not int or not (version in MIGRATIONS or version == FORMAT_VERSION):
        known = ", ".join(map(str, sorted({*MIGRATIONS, FORMAT_VERSION})))
        origin = f" (from arc_version {content['arc_version']})" if "arc_version" in content else ""
        raise NotACheckpointError(
            f"{path}: format_version {version}{origin}; this version reads {known}"
        )
    while version != FORMAT_VERSION:
        content = MIGRATIONS[version](content)
        version += 1
    return content


def metadata_of(content: dict[str, Any]) -> dict[str, Any]:
    """Return what the metadata record says of ``content``: all but the states, and the size.

    ``content`` may hold tensors or stubs; anything with ``numel`` counts. JSON types only.
    """
    weights = content.get("model_state_dict", content.get("encoder_state_dict", {}))
    tensors = weights.values() if isinstance(weights, dict) else ()
    parameters = sum(math.prod(tensor.shape) for tensor in tensors if hasattr(tensor, "shape"))
    plain = {key: value for key, value in content.items() if key not in STATES}
    return json_plain({**plain, "num_parameters": parameters})
