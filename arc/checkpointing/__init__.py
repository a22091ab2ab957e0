"""Checkpoints: the file format, the background writer, and the model rebuilt from a file.

Names are imported on first use (PEP 562), so that reading a file's metadata does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from arc.checkpointing.archive import (
        Archive,
        CheckpointError,
        CorruptedError,
        HostileError,
        NotACheckpointError,
    )
    from arc.checkpointing.format import (
        make_checkpoint,
        make_encoder_checkpoint,
        portable_tree,
        prepare_folder,
        sweep_temporaries,
        write_checkpoint,
    )
    from arc.checkpointing.loader import (
        Loaded,
        LoadedEncoder,
        MismatchError,
        load,
        load_encoder,
        read_checkpoint,
        stored_config,
    )
    from arc.checkpointing.metadata import read_metadata
    from arc.checkpointing.writer import CheckpointWriter

_MODULES = {
    "archive": (
        "Archive",
        "CheckpointError",
        "CorruptedError",
        "HostileError",
        "NotACheckpointError",
    ),
    "format": (
        "make_checkpoint",
        "make_encoder_checkpoint",
        "portable_tree",
        "prepare_folder",
        "sweep_temporaries",
        "write_checkpoint",
    ),
    "loader": (
        "Loaded",
        "LoadedEncoder",
        "MismatchError",
        "load",
        "load_encoder",
        "read_checkpoint",
        "stored_config",
    ),
    "metadata": ("read_metadata",),
    "writer": ("CheckpointWriter",),
}
_PLACES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "Archive",
    "CheckpointError",
    "CheckpointWriter",
    "CorruptedError",
    "HostileError",
    "Loaded",
    "LoadedEncoder",
    "MismatchError",
    "NotACheckpointError",
    "load",
    "load_encoder",
    "make_checkpoint",
    "make_encoder_checkpoint",
    "portable_tree",
    "prepare_folder",
    "read_checkpoint",
    "read_metadata",
    "stored_config",
    "sweep_temporaries",
    "write_checkpoint",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
