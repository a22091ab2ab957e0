"""Why a checkpoint cannot be written, read or used."""

from __future__ import annotations


class CheckpointError(ValueError):
    """A checkpoint cannot be written, read or used; the message names the file and the reason."""


class NotACheckpointError(CheckpointError):
    """The file is not a checkpoint archive: foreign, truncated, or of an unsupported format."""


class CorruptedError(CheckpointError):
    """The file is a checkpoint, but some of its bytes are not those that were written."""


class HostileError(CheckpointError):
    """The file would run code, or allocate more memory than it contains data for."""
