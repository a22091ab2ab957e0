"""From a checkpoint's name to its file."""

from __future__ import annotations

import re
from pathlib import Path

from flask import abort

from arc.config import NAME_PATTERN, RunConfig

SUFFIX = ".pth"


def path_of(name: str, config: RunConfig) -> Path:
    """Return the file of a checkpoint; ``.pth`` may be left out.

    Aborts with 400 if it is no name (a path is none), with 404 if there is no such file.
    """
    stem = name.removesuffix(SUFFIX)
    if not re.fullmatch(NAME_PATTERN, stem):
        abort(400, f"{name[:120]!r}: not the name of a checkpoint")
    path = Path(config.checkpoint.dir) / f"{stem}{SUFFIX}"
    if not path.is_file():
        abort(404, f"{stem}: no such checkpoint in {config.checkpoint.dir}")
    return path
