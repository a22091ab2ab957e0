"""What others may ask of a run while it trains."""

from __future__ import annotations

import threading


class RunControl:
    """Requests to a run, safe to make from any thread or signal handler.

    The loop looks here between two steps; who asks never waits.
    """

    def __init__(self) -> None:
        self._stop = threading.Event()
        self.reason: str | None = None

    def request_stop(self, reason: str) -> None:
        """Ask the run to stop after the step under way; the first reason is kept."""
        if self.reason is None:
            self.reason = reason
        self._stop.set()

    @property
    def stop_requested(self) -> bool:
        """Whether somebody asked the run to stop."""
        return self._stop.is_set()
