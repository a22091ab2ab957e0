"""Requests to a run from other threads and signal handlers."""

from __future__ import annotations


class RunControl:
    """Stop requests, safe from any thread or signal handler.

    ``stop_requested``: whether there was one; ``reason``: that of the first. The trainer polls them
    between steps and the final evaluation between chunks of examples; requests never block.
    """

    def __init__(self) -> None:
        self.stop_requested = False
        self.reason: str | None = None

    def request_stop(self, reason: str) -> None:
        """Stop the run after the current step; the first reason is kept."""
        if self.reason is None:
            self.reason = reason
        self.stop_requested = True
