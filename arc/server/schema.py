"""Types, ranges and help of the settings, from the config schemas and the files in conf/."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import TypeAdapter

from arc.config.flat_keys import GROUPS, KEY_PATHS, PRESENCE_KEYS
from arc.config.schema import RunConfig, config_folder, options_of

COMMENT = re.compile(r"^\s*(\w+):[^#\n]*#\s*(.+?)\s*$", re.MULTILINE)
BASE = re.compile(r"^  - (?!_self_$)(\w+)$", re.MULTILINE)


def task_schema(config: RunConfig) -> dict[str, dict[str, Any]]:
    """Return, for each flat key, type, range, options, whether null is allowed, and help.

    A key that the chosen task or bottleneck does not have is marked as not applicable.
    """
    return {key: _describe(config, key, place) for key, place in KEY_PATHS.items()}


def _describe(config: RunConfig, key: str, place: str) -> dict[str, Any]:
    section, name = place.split(".")
    blank = {"minimum": None, "maximum": None, "options": None, "nullable": False, "help": ""}
    if key in GROUPS:
        return {**blank, "type": "string", "options": options_of(GROUPS[key])}
    if key in PRESENCE_KEYS:
        return {**blank, "type": "boolean", "help": _help(config, section, name)}
    field = type(getattr(config, section)).model_fields.get(name)
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
        "help": _help(config, section, name),
        "applies": True,
    }


def _help(config: RunConfig, section: str, name: str) -> str:
    """Return the comment beside the key in conf/."""
    option = getattr(getattr(config, section), "name", None)
    path = config_folder() / (f"{section}/{option}.yaml" if option else "config.yaml")
    return _comments(path).get(name, "")


def _comments(path: Path) -> dict[str, str]:
    """Return the comment beside each key of a file and of the files in its defaults list."""
    text = path.read_text(encoding="utf-8")
    comments: dict[str, str] = {}
    for base in BASE.findall(text):
        comments |= _comments(path.with_name(f"{base}.yaml"))
    return comments | dict(COMMENT.findall(text))
