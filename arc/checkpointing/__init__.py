"""Checkpoints: the file, and the model rebuilt from it."""

from arc.checkpointing.format import (
    CheckpointError,
    make_checkpoint,
    prepare_folder,
    write_checkpoint,
)
from arc.checkpointing.loader import Loaded, load, read_checkpoint, stored_config

__all__ = [
    "CheckpointError",
    "Loaded",
    "load",
    "make_checkpoint",
    "prepare_folder",
    "read_checkpoint",
    "stored_config",
    "write_checkpoint",
]
