"""What a checkpoint says of itself: all but its tensors, as JSON types; read without torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from arc.archive import Archive, NotACheckpointError, quick_metadata

FORMAT_VERSION = 1
STATES = ("model_state_dict", "encoder_state_dict", "optimizer_state_dict", "trainer_state")


def read_metadata(path: str | Path) -> dict[str, Any]:
    """Return a file's metadata as plain types, fast; made from its tree if it has no record.

    Raises CheckpointError if the file is not ours.
    """
    metadata = quick_metadata(path)
    if metadata is None:
        with Archive(path) as archive:
            metadata = archive.metadata() or metadata_of(archive.tree())
    check_ours(path, metadata)
    return metadata


def check_ours(path: str | Path, content: dict[str, Any]) -> None:
    """Raise NotACheckpointError unless ``content`` has a config and a format that we read."""
    if not isinstance(content.get("config"), dict):
        raise NotACheckpointError(f"{path}: holds no config; not one of our checkpoints")
    version = content.get("format_version")
    if version != FORMAT_VERSION:
        raise NotACheckpointError(
            f"{path}: format_version {version}; this version reads {FORMAT_VERSION}"
        )


def metadata_of(content: dict[str, Any]) -> dict[str, Any]:
    """Return what the metadata record says of ``content``: all but the states, and the size.

    ``content`` may hold tensors or stubs; anything with ``numel`` counts. JSON types only.
    """
    weights = content.get("model_state_dict", {})
    tensors = weights.values() if isinstance(weights, dict) else ()
    parameters = sum(math.prod(tensor.shape) for tensor in tensors if hasattr(tensor, "shape"))
    plain = {key: value for key, value in content.items() if key not in STATES}
    return json_plain({**plain, "num_parameters": parameters})


def json_plain(value: Any) -> Any:
    """Return ``value`` with what JSON has no word for left out: NaN, infinity, tensors: None."""
    if isinstance(value, dict):
        return {key: json_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, str | int | None) else None


def leaves(tree: Mapping[str, Any], place: str = "") -> dict[str, Any]:
    """Return a nested tree as dotted key -> value."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            found |= leaves(value, f"{place}{key}.")
        else:
            found[f"{place}{key}"] = value
    return found
