"""Files that are replaced as a whole."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def replace_file(path: Path, content: bytes, *, durable: bool = False) -> None:
    """Write ``content`` to ``path`` atomically, and with ``durable`` to the disk before returning.

    Raises OSError if it cannot be written.
    """
    temporary = temporary_path(path)
    try:
        with temporary.open("wb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def replace_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write ``content`` to ``path`` atomically; raises OSError if it cannot be written."""
    replace_file(path, (json.dumps(content, indent=2) + "\n").encode())


def temporary_path(path: Path) -> Path:
    """Return where the content of ``path`` is written before it replaces the file."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")
