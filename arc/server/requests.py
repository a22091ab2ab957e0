"""Helpers of the routes: the session, bodies, queries, names of checkpoints, and JSON."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from flask import abort, current_app, request

from arc.io.trees import json_plain
from arc.server.security import BODY_LIMIT, refuse_long_body

if TYPE_CHECKING:
    from arc.server.session import Session

SESSION = "arc.server.session"
SUFFIX = ".pth"
STEM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=,+-]{0,250}")  # a run's name may be in it
# The escapes in JSON of control characters other than tab and line feed, of characters that are
# invisible or change the direction of text, and of bytes of a file name that are not UTF-8.
UNPRINTABLE = re.compile(
    r"(?<!\\)((?:\\\\)*)\\(?=[bfr]|u(?:00[01789]|00ad|061c|200[b-f]|202[89a-e]|206|feff"
    r"|d[89ab]..(?!\\ud[c-f])|(?<!\\ud[89ab]..\\u)d[c-f]))"
)
T = TypeVar("T")


def session() -> Session:
    """Return the session of the current application."""
    found: Session = current_app.extensions[SESSION]
    return found


def body(*known: str) -> dict[str, Any]:
    """Return the request's JSON object, whatever its Content-Type; {} for an empty body.

    Aborts with 400 for anything else and for keys other than ``known`` (any, if none are
    given), with 413 for a body over BODY_LIMIT.
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
    if known and (unknown := sorted(set(content) - set(known))):
        abort(400, f"{unknown[0]}: no such key; known: {', '.join(known)}")
    return content


def optional(content: dict[str, Any], key: str, kind: type[T]) -> T | None:
    """Return the value of ``key``, or None; aborts with 400 if it is not of ``kind``."""
    value = content.get(key)
    if value is not None and not isinstance(value, kind):
        abort(400, f"{key}: must be {kind.__name__}")
    return value


def integer(key: str, default: int) -> int:
    """Return an integer of the query string; aborts with 400 if it is not one."""
    text = request.args.get(key, "")
    if not text:
        return default
    try:
        return int(text[:20])
    except ValueError:
        abort(400, f"{key}={text[:40]}: must be a whole number")


def checkpoint_path(name: str, folder: Path) -> Path:
    """Return the file of the checkpoint ``name`` in ``folder``; ``.pth`` is optional.

    Aborts with 400 for an invalid name (such as a path), with 404 if there is no such file.
    """
    stem = name.removesuffix(SUFFIX)
    if not STEM.fullmatch(stem):
        abort(400, f"{name[:120]!r}: not the name of a checkpoint")
    path = folder / f"{stem}{SUFFIX}"
    if not path.is_file():
        abort(404, f"{stem}: no such checkpoint in {folder}")
    return path


def to_json(content: Any) -> str:
    """Return ``content`` as compact JSON, with null in place of NaN and infinity.

    Control characters, as file names may contain, become the text of their escape sequences. Only
    content with such numbers is converted first, which is slow.
    """
    try:
        return _compact(content)
    except (TypeError, ValueError):
        return _compact(json_plain(content))


def _compact(content: Any) -> str:
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return UNPRINTABLE.sub(r"\1\\\\", text) if "\\" in text else text


def displayed(text: str) -> str:
    """Return ``text`` as clients receive it."""
    shown: str = json.loads(to_json(text))
    return shown
