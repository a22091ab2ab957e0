"""Checkpoints: the file format, the background writer, and the model rebuilt from a file.

Names are imported on first use (PEP 562), so that reading metadata does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from arc.checkpointing.errors import CheckpointError as CheckpointError
    from arc.checkpointing.format import make_checkpoint as make_checkpoint
    from arc.checkpointing.format import make_encoder_checkpoint as make_encoder_checkpoint
    from arc.checkpointing.format import portable_tree as portable_tree
    from arc.checkpointing.format import prepare_folder as prepare_folder
    from arc.checkpointing.format import sweep_temporaries as sweep_temporaries
    from arc.checkpointing.format import write_checkpoint as write_checkpoint
    from arc.checkpointing.loader import Loaded as Loaded
    from arc.checkpointing.loader import load as load
    from arc.checkpointing.loader import load_encoder as load_encoder
    from arc.checkpointing.loader import read_checkpoint as read_checkpoint
    from arc.checkpointing.metadata import read_metadata as read_metadata
    from arc.checkpointing.writer import CheckpointWriter as CheckpointWriter

_MODULES = {
    "errors": "CheckpointError",
    "format": "make_checkpoint make_encoder_checkpoint portable_tree prepare_folder "
    "sweep_temporaries write_checkpoint",
    "loader": "Loaded load load_encoder read_checkpoint",
    "metadata": "read_metadata",
    "writer": "CheckpointWriter",
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
