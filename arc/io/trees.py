"""Helpers for trees of plain containers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def json_plain(value: Any) -> Any:
    """Return ``value`` as JSON types; NaN, infinity and other objects become None."""
    if isinstance(value, dict):
        return {key: json_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, str | int | None) else None


def leaves(tree: Mapping[str, Any], place: str = "") -> dict[str, Any]:
    """Return a nested tree as dotted key -> value."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            found |= leaves(value, f"{place}{key}.")
        else:
            found[f"{place}{key}"] = value
    return found
