"""What the routes work on, and how they read requests."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from flask import abort, current_app, request

from arc.looking import Looker
from arc.server.guard import BODY_LIMIT, refuse_long_body
from arc.session import ANSWER_SECONDS, Session

EXTENSION = "arc"
T = TypeVar("T")


@dataclass(frozen=True)
class Line:
    """A line of the log, numbered from 1."""

    n: int
    time: str
    level: str
    text: str


@dataclass
class State:
    """The session, the tail of its log, and answers that need not be found out twice."""

    session: Session
    lines: deque[Line] = field(default_factory=lambda: deque(maxlen=1000))
    _known: dict[str, tuple[tuple[Any, Any], Any]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def once(self, what: str, moment: tuple[int, Any], work: Callable[[Looker], T]) -> T:
        """Have the training thread do ``work``, once for each ``moment``: a run, and a time of it.

        While a run is being tested nobody can look: what was seen of it last is told again.
        Raises TimeoutError if the training thread does not answer in time.
        """
        if not self._lock.acquire(timeout=ANSWER_SECONDS):  # one asks, the rest get its answer
            raise TimeoutError(f"no answer within {ANSWER_SECONDS:.0f} s")
        try:
            then, answer = self._known.get(what, ((None, None), None))
            may_be_old = self.session.state == "testing" and then[0] == moment[0]
            if then != moment and not may_be_old:
                answer = self.session.ask(work)
                self._known[what] = (moment, answer)
            known: T = answer
            return known
        finally:
            self._lock.release()


def here() -> State:
    """Return the state of the application that answers this request."""
    state: State = current_app.extensions[EXTENSION]
    return state


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
