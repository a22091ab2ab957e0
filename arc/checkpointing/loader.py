"""From a file back to the model that it holds."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from arc.checkpointing.format import FORMAT_VERSION, CheckpointError
from arc.config import ConfigError, RunConfig, build_model, parse_config
from arc.models import ARCAutoencoder

MACHINE_DEFAULTS = {"device": "auto", "checkpoint": {"dir": "checkpoints"}}


@dataclass(frozen=True)
class Loaded:
    """A rebuilt ``model`` in eval mode, its ``config``, and the file's plain ``metadata``."""

    model: ARCAutoencoder
    config: RunConfig
    metadata: dict[str, Any]


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a file's whole content onto the CPU; raises CheckpointError if it is not ours."""
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise CheckpointError(f"{path}: holds more than plain data; not one of ours") from None
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(f"{path}: cannot be read: {reason}") from None
    if not isinstance(content, dict) or "config" not in content:
        raise CheckpointError(f"{path}: holds no config; not one of our checkpoints")
    version = content.get("format_version")
    if version != FORMAT_VERSION:
        raise CheckpointError(f"{path}: format_version {version}; this is {FORMAT_VERSION}")
    return content


def stored_config(path: str | Path, content: dict[str, Any]) -> RunConfig:
    """Return the configuration that ``content`` was made with; raises CheckpointError."""
    try:
        return parse_config({**content["config"], **MACHINE_DEFAULTS})
    except (ConfigError, TypeError) as error:
        raise CheckpointError(f"{path}: its config is not valid: {error}") from None


def load(path: str | Path, device: str | torch.device = "cpu") -> Loaded:
    """Rebuild the model strictly from the configuration that ``path`` stores.

    Raises CheckpointError, naming the file and the check that failed.
    """
    content = read_checkpoint(path)
    config = stored_config(path, content)
    model = build_model(config)
    try:
        model.load_state_dict(content["model_state_dict"])
    except (KeyError, RuntimeError) as error:
        raise CheckpointError(f"{path}: weights do not fit its config: {error}") from None
    states = {"model_state_dict", "encoder_state_dict", "optimizer_state_dict", "trainer_state"}
    metadata = {key: value for key, value in content.items() if key not in states}
    return Loaded(model.to(device).eval(), config, metadata)
