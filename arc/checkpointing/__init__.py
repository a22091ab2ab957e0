"""Checkpoints: the file, the writer in the background, and the model rebuilt from a file."""

from arc.archive import (
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
from arc.checkpointing.writer import CheckpointWriter
from arc.metadata import read_metadata

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
