"""Requests to a run from other threads and signal handlers."""

from __future__ import annotations

import threading


class RunControl:
    """Stop requests, safe from any thread or signal handler.

    The trainer polls them between steps and the final evaluation between chunks of examples;
    requests never block.
    """

    def __init__(self) -> None:
        self._stop = threading.Event()
        self.reason: str | None = None

    def request_stop(self, reason: str) -> None:
        """Stop the run after the current step; the first reason is kept."""
        if self.reason is None:
            self.reason = reason
        self._stop.set()

    @property
    def stop_requested(self) -> bool:
        """Whether a stop was requested."""
        return self._stop.is_set()
