"""Files that are replaced as a whole."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def replace_file(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` atomically; raises ValueError if it cannot be written."""
    temporary = _temporary(path)
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise _fault(path, error) from None


def check_writable(path: Path) -> None:
    """Raise ValueError if ``replace_file`` could not write ``path``."""
    try:
        _temporary(path).touch()
        _temporary(path).unlink()
    except OSError as error:
        raise _fault(path, error) from None


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def _fault(path: Path, error: OSError) -> ValueError:
    return ValueError(f"{path}: cannot be written: {error.strerror}")
