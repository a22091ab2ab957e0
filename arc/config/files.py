"""Where the configuration files are. Imports nothing that is slow, for a fast ``--help``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


class ConfigError(ValueError):
    """The configuration is not valid; the message has a line for each value.

    ``missing`` lists the required keys that are absent.
    """

    def __init__(self, message: str, missing: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.missing = tuple(missing)


def config_folder() -> Path:
    """Return the absolute path of conf/: inside the package in a wheel, beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"
