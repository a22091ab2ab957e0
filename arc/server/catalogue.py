"""From a checkpoint's name to its file."""

from __future__ import annotations

import re
from pathlib import Path

from flask import abort

from arc.config.schema import NAME_PATTERN

SUFFIX = ".pth"


def path_of(name: str, folder: Path) -> Path:
    """Return the file of a checkpoint in ``folder``; ``.pth`` may be left out.

    Aborts with 400 if it is no name (a path is none), with 404 if there is no such file.
    """
    stem = name.removesuffix(SUFFIX)
    if not re.fullmatch(NAME_PATTERN, stem):
        abort(400, f"{name[:120]!r}: not the name of a checkpoint")
    path = folder / f"{stem}{SUFFIX}"
    if not path.is_file():
        abort(404, f"{stem}: no such checkpoint in {folder}")
    return path
