"""Files with results, whose faults are errors of one line."""

from __future__ import annotations

from pathlib import Path

from arc.io.files import replace_file, temporary_path


def write_file(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` atomically; raises ValueError if it cannot be written."""
    try:
        replace_file(path, content, durable=True)
    except OSError as error:
        raise _fault(path, error) from None


def check_writable(path: Path) -> None:
    """Raise ValueError if ``write_file`` could not write ``path``."""
    try:
        temporary_path(path).touch()
        temporary_path(path).unlink()
    except OSError as error:
        raise _fault(path, error) from None


def _fault(path: Path, error: OSError) -> ValueError:
    return ValueError(f"{path}: cannot be written: {error.strerror}")
