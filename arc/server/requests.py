"""How the routes read requests."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from flask import abort, request

from arc.server.security import BODY_LIMIT, refuse_long_body

T = TypeVar("T")


def body(*known: str) -> dict[str, Any]:
    """Return the request's JSON object, whatever its header says; {} if there is no body.

    Aborts with 400 if it is none, or has keys other than ``known`` (any, if none are named);
    with 413 if it is too long.
    """
    data = request.get_data(cache=False)
    if len(data) > BODY_LIMIT:
        refuse_long_body()
    if not data.strip():
        return {}
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        abort(400, "the body is not JSON")
    if not isinstance(content, dict):
        abort(400, "the body is not a JSON object")
    if known and (strange := sorted(set(content) - set(known))):
        abort(400, f"{strange[0]}: no such key; known: {', '.join(known)}")
    return content


def wanted(content: dict[str, Any], key: str, kind: type[T]) -> T | None:
    """Return a key's value if it is of ``kind``, None if it is absent or null; else aborts."""
    value = content.get(key)
    if value is not None and not isinstance(value, kind):
        abort(400, f"{key}: must be {kind.__name__}")
    return value


def number(key: str, default: int) -> int:
    """Return a whole number from the query; aborts with 400 if it is none."""
    text = request.args.get(key, "")
    if not text:
        return default
    try:
        return int(text[:20])
    except ValueError:
        abort(400, f"{key}={text[:40]}: must be a whole number")
