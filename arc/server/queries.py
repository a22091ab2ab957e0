"""Model queries: work that request threads hand to the training thread."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from arc.server.requests import to_json
from arc.server.samples import SampleViewer
from arc.server.status import RunStatus

QUERY_SHARE = 0.05  # of a run's time
ANSWER_SECONDS = 30.0
LONGEST_PAUSE = 10.0  # seconds, so that the next request is answered in time
T = TypeVar("T")
Version = tuple[int, int | None, bool]


def pause_after(seconds: float) -> float:
    """Return the pause after a request that took ``seconds``, so that it keeps to QUERY_SHARE.

    After a long request, the pause is LONGEST_PAUSE, and the share is exceeded.
    """
    return min(seconds * (1 / QUERY_SHARE - 1), LONGEST_PAUSE)


class InvalidStateError(ValueError):
    """The request is not possible in the current state of the process."""


@dataclass(eq=False)
class ModelQuery:
    """A function of the model for the training thread to call, and its result or error."""

    work: Callable[[SampleViewer], Any]
    done: threading.Event = field(default_factory=threading.Event)
    answer: Any = None
    error: BaseException | None = None

    def run(self, viewer: SampleViewer | None) -> None:
        """Call ``work`` and store the result or the error for the requesting thread."""
        try:
            if viewer is None:
                raise InvalidStateError("the run has ended")
            self.answer = self.work(viewer)
        except (Exception, SystemExit) as error:  # raised again in the requesting thread
            self.error = error
        self.done.set()


class QueryQueue:
    """Queries in order of arrival. ``changed`` is notified of each; ``clock`` gives seconds."""

    def __init__(self, changed: threading.Condition, clock: Callable[[], float]) -> None:
        self._changed, self._clock = changed, clock
        self._queries: deque[ModelQuery] = deque()
        self._next_at = 0.0

    def __bool__(self) -> bool:
        return bool(self._queries)

    def ask(self, work: Callable[[SampleViewer], T], seconds: float) -> T:
        """Wait for the training thread to call ``work``; returns its result.

        Raises TimeoutError after ``seconds``, or what ``work`` raises.
        """
        query = ModelQuery(work)
        with self._changed:
            self._queries.append(query)
            self._changed.notify_all()
        if not query.done.wait(seconds):
            with self._changed:
                if query in self._queries:
                    self._queries.remove(query)
            raise TimeoutError(f"the training thread did not answer within {seconds:.0f} s")
        if query.error is not None:
            raise query.error
        answer: T = query.answer
        return answer

    def answer_within_budget(self, viewer: SampleViewer | None) -> None:
        """Answer at most one query, and none in the pause after the last one."""
        if not self._queries or (began := self._clock()) < self._next_at:
            return
        self.answer_next(viewer)
        ended = self._clock()
        self._next_at = ended + pause_after(ended - began)

    def answer_next(self, viewer: SampleViewer | None) -> None:
        """Answer the oldest query, if there is one."""
        with self._changed:
            if not self._queries:
                return
            query = self._queries.popleft()
        query.run(viewer)

    def refuse_all(self, reason: str) -> None:
        """Fail every waiting query with InvalidStateError."""
        with self._changed:
            while self._queries:
                query = self._queries.popleft()
                query.error = InvalidStateError(reason)
                query.done.set()


class AnswerCache:
    """Keeps one answer per run and validation, in JSON, so that many clients cost one computation.

    During the final evaluation, and while another thread computes a new answer, the last one is
    served.
    """

    def __init__(self, status: RunStatus, compute: Callable[[], dict[str, Any]]) -> None:
        self._status, self._compute = status, compute
        self._lock = threading.Lock()
        self._kept: tuple[Version, str] | None = None

    def get(self, seconds: float = ANSWER_SECONDS) -> str:
        """Return the current answer; raises TimeoutError, or what the computation raises."""
        kept = self._kept
        if kept is not None and kept[0][0] != self._status.run_id:
            kept = None
        if not self._lock.acquire(timeout=seconds if kept is None else 0):
            if kept is None:
                raise TimeoutError(f"no answer within {seconds:.0f} s")
            return kept[1]
        try:
            version = self._status.version
            if self._kept is None or not self._is_valid(self._kept[0], version):
                self._kept = (version, to_json(self._compute()))
            return self._kept[1]
        finally:
            self._lock.release()

    def _is_valid(self, kept: Version, version: Version) -> bool:
        return kept == version or (kept[0] == version[0] and self._status.in_test_phase)
