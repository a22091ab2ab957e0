"""Types, ranges and help of the settings, from the config schemas and the files in conf/."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import TypeAdapter

from arc.config.files import config_folder
from arc.config.flat_keys import GROUPS, PRESENCE_KEYS, SETTINGS
from arc.config.schema import RunConfig, options_of

COMMENT = re.compile(r"^\s*(\w+):[^#\n]*#\s*(.+?)\s*$", re.MULTILINE)
BASE = re.compile(r"^  - (?!_self_$)(\w+)(?:@\w+)?$", re.MULTILINE)


def task_schema(config: RunConfig) -> dict[str, dict[str, Any]]:
    """Return, for each setting, its Hydra key, type, range, options, nullability and help.

    A setting that does not apply to the chosen task or bottleneck has the type None.
    """
    return {key: _describe(config, key, place) for key, place in SETTINGS.items()}


def _describe(config: RunConfig, key: str, place: str) -> dict[str, Any]:
    section, _, name = place.rpartition(".")
    owner = getattr(config, section) if section else config
    blank = {
        "key": place,
        "minimum": None,
        "maximum": None,
        "options": None,
        "nullable": False,
        "help": _help(section, getattr(owner, "name", None), name),
    }
    if key in GROUPS:
        return {**blank, "type": "string", "options": options_of(GROUPS[key])}
    if key in PRESENCE_KEYS:
        return {**blank, "type": "boolean"}
    field = type(owner).model_fields.get(name)
    if field is None:
        return {**blank, "type": None, "applies": False}
    kind: Any = field.annotation
    for constraint in field.metadata:
        kind = Annotated[kind, constraint]
    schema = TypeAdapter(kind).json_schema()
    parts = [part for part in schema.get("anyOf", [schema]) if part.get("type") != "null"]
    return {
        **blank,
        "type": "size" if parts[0]["type"] == "array" else parts[0]["type"],
        "minimum": parts[0].get("minimum", parts[0].get("exclusiveMinimum")),
        "maximum": parts[0].get("maximum", parts[0].get("exclusiveMaximum")),
        "options": parts[0].get("enum"),
        "nullable": len(parts) < len(schema.get("anyOf", [schema])),
        "applies": True,
    }


def _help(section: str, option: str | None, name: str) -> str:
    """Return the comment next to the key in conf/."""
    path = config_folder() / (f"{section}/{option}.yaml" if option else "config.yaml")
    return _comments(path).get(name, "")


def _comments(path: Path) -> dict[str, str]:
    """Return the comment beside each key of a file and of the files in its defaults list."""
    text = path.read_text(encoding="utf-8")
    comments: dict[str, str] = {}
    for base in BASE.findall(text):
        comments |= _comments(path.with_name(f"{base}.yaml"))
    return comments | dict(COMMENT.findall(text))
