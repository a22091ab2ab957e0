"""Rebuilds a model from its checkpoint."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

import arc
from arc.checkpointing.archive import Archive
from arc.checkpointing.errors import CheckpointError, HostileError, NotACheckpointError
from arc.checkpointing.metadata import STATES, check_record, migrated
from arc.config.builders import build_encoder, build_model
from arc.config.files import ConfigError
from arc.config.schema import RunConfig, parse_config
from arc.models import ARCAutoencoder, ARCEncoder


class MismatchError(CheckpointError):
    """The weights do not fit the architecture."""


@dataclass(frozen=True)
class Loaded:
    """A ``model`` in eval mode, its ``config``, and the file's ``metadata`` as plain types."""

    model: ARCAutoencoder
    config: RunConfig
    metadata: dict[str, Any]


@dataclass(frozen=True)
class LoadedEncoder:
    """An ``encoder`` in eval mode, its run's ``config``, and the file's ``metadata``."""

    encoder: ARCEncoder
    config: RunConfig
    metadata: dict[str, Any]


def read_checkpoint(
    path: str | Path, map_location: str | torch.device = "cpu", *, mmap: bool = False
) -> dict[str, Any]:
    """Check every byte of a file and return its content in the current format.

    With ``mmap``, tensors stay on the disk until they are accessed. Raises CheckpointError or a
    subclass; all checks precede ``torch.load`` and any allocation of declared sizes.
    """
    path = os.path.expanduser(path)
    with Archive(path) as archive:
        archive.verify()
        tree = archive.tree()
        check_record(path, tree, (archive.metadata(), archive.quick_metadata()))
        migrated(path, tree)
    try:
        content = torch.load(path, map_location=map_location, weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        raise HostileError(f"{path}: {str(error).splitlines()[0]}") from None
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from None
    return migrated(path, content)


def stored_config(path: str | Path, content: dict[str, Any]) -> RunConfig:
    """Return the configuration stored in ``content``; raises CheckpointError."""
    try:
        tree = dict(content["config"])
        if "checkpoint" in tree:
            tree["checkpoint"] = {**tree["checkpoint"], "dir": "checkpoints"}
        return parse_config({**tree, "device": "auto"})
    except ConfigError as error:
        raise CheckpointError(f"{path}: {config_fault(error, content)}") from None
    except (KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path}: its config is not valid: {error}") from None


def config_fault(error: ConfigError, content: dict[str, Any]) -> str:
    """Return one line that explains why the configuration in ``content`` is refused."""
    if not error.missing:
        return f"its config is not valid: {'; '.join(str(error).splitlines())}"
    return (
        f"its config lacks {', '.join(error.missing)}; the file was written by arc_version "
        f"{content.get('arc_version', 'unknown')}, this is {arc.__version__}"
    )


def load(
    path: str | Path, map_location: str | torch.device = "cpu", *, mmap: bool = False
) -> Loaded:
    """Rebuild the model of ``path`` from its stored configuration, in eval mode.

    All weights must fit. Raises CheckpointError, which names the file and the failed check.
    """
    content = read_checkpoint(path, map_location, mmap=mmap)
    config = stored_config(path, content)
    with torch.random.fork_rng(devices=()):  # initial weights are drawn, and replaced
        model = build_checked(path, config, content)
    fit_weights(path, model, content["model_state_dict"])
    metadata = {key: value for key, value in content.items() if key not in STATES}
    return Loaded(model.to(map_location).eval(), config, metadata)


def load_encoder(path: str | Path, map_location: str | torch.device = "cpu") -> LoadedEncoder:
    """Rebuild the sender's encoder from a pretrained encoder's file or a run's checkpoint.

    Raises CheckpointError, which names the file and the failed check.
    """
    content = read_checkpoint(path, map_location)
    config = stored_config(path, content)
    weights = content.get("encoder_state_dict")
    if not isinstance(weights, dict):
        raise NotACheckpointError(f"{path}: no encoder_state_dict")
    with shapes_only():
        _refuse_mismatch(path, build_encoder(config), weights)
    encoder = build_encoder(config)
    encoder.load_state_dict(weights)
    metadata = {key: value for key, value in content.items() if key not in STATES}
    return LoadedEncoder(encoder.to(map_location).eval(), config, metadata)


@contextmanager
def shapes_only() -> Iterator[None]:
    """Build modules on torch's meta device: with shapes, but without memory or values.

    Without values, a load does not import torch._dynamo, which takes seconds.
    """
    with torch.device("meta"), _NoInitialValues():
        yield


class _NoInitialValues(TorchFunctionMode):
    """Skips the functions of torch.nn.init."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == nn.init.__name__:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def build_checked(path: str | Path, config: RunConfig, content: dict[str, Any]) -> ARCAutoencoder:
    """Build the model of a stored configuration after comparing it with the stored weights.

    The comparison uses torch's meta device, so a configuration with huge sizes costs no memory.
    """
    weights = content.get("model_state_dict")
    if not isinstance(weights, dict) and "encoder_architecture" in content:
        raise NotACheckpointError(
            f"{path}: contains only an encoder; use load_encoder, or train from it with "
            "encoder.pretrained=…"
        )
    if not isinstance(weights, dict):
        raise NotACheckpointError(f"{path}: no model_state_dict")
    try:
        with shapes_only():
            shape = build_model(config)
    except (RuntimeError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path}: no model can be built from its config: {error}") from None
    _refuse_mismatch(path, shape, weights)
    return build_model(config)


def fit_weights(path: str | Path, model: ARCAutoencoder, weights: dict[str, Any]) -> None:
    """Load ``weights`` into ``model``; raises MismatchError if they do not fit."""
    _refuse_mismatch(path, model, weights)
    model.load_state_dict(weights)


def _refuse_mismatch(path: str | Path, model: nn.Module, weights: dict[str, Any]) -> None:
    faults = mismatches(model, weights)
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise MismatchError(
            f"{path}: weights do not fit the architecture: {'; '.join(faults[:3])}{more}"
        )


def mismatches(model: nn.Module, weights: dict[str, Any]) -> list[str]:
    """Return one line for each tensor that is missing, unknown, or of another shape."""
    wanted, faults = model.state_dict(), []
    for name in wanted.keys() | weights.keys():
        if name not in weights:
            faults.append(f"{name} is missing")
        elif name not in wanted:
            faults.append(f"{name} is unknown here")
        elif not isinstance(weights[name], torch.Tensor) or (
            weights[name].shape != wanted[name].shape
        ):
            found = list(getattr(weights[name], "shape", []))
            faults.append(f"{name} is {found} in the file, {list(wanted[name].shape)} here")
    return sorted(faults)
