"""Checks of the settings and overrides that a request sends.

A request may choose options and set values. It may not read the environment, name a file to write,
or name a file to read other than puzzles and the encoders in the checkpoint folder.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from arc.config.files import ConfigError

ASSIGNMENT = re.compile(r"([A-Za-z_][\w.]*)=")
PUZZLES = ("data.path", "data.test", "data.also")
ENCODERS = ("encoder.pretrained", "pretrain.init_from")
OUTPUTS = ("checkpoint.dir", "logger.")  # prefixes of the keys that name folders and files to write


def check_overrides(overrides: Iterable[str], folder: Path) -> None:
    """Raise ConfigError unless every override sets an allowed key to a literal value.

    ``folder`` is the checkpoint folder, which may contain encoders.
    """
    for override in overrides:
        match = ASSIGNMENT.match(override)
        if match is None:
            raise ConfigError(f"{override}: not of the form key=value, as requests require")
        key = match[1]
        if key.startswith(OUTPUTS):
            raise ConfigError(f"{key}: not accepted in a request; set it on the command line")
        try:
            value = OverridesParser.create().parse_override(override).value()
        except HydraException:
            raise ConfigError(f"{override}: not of the form key=value in Hydra's grammar") from None
        for text in check_literal(key, value):
            _check_path(key, text, folder)


def check_literal(key: str, value: Any) -> list[str]:
    """Return the strings in ``value``; raises ConfigError for a mapping or an interpolation."""
    waiting, found = [value], []
    while waiting:
        part = waiting.pop()
        if isinstance(part, Mapping):
            raise ConfigError(f"{key}: not accepted as a mapping in a request; set each key alone")
        if isinstance(part, list | tuple):
            waiting += part
        elif not isinstance(part, bool | int | float | None):
            text = str(part)
            if "${" in text:
                raise ConfigError(f"{key}: interpolations are not accepted in a request")
            found.append(text)
    return found


def _check_path(key: str, text: str, folder: Path) -> None:
    if key in PUZZLES:
        return
    if key in ENCODERS:
        if Path(text).parent.resolve() != folder.resolve() or Path(text).name in ("", ".."):
            raise ConfigError(f"{key}: a request may only name a file in {folder}")
    elif re.search(r"[/\\]|^~", text):
        raise ConfigError(f"{key}: paths are not accepted in a request")
