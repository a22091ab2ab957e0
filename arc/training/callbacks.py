"""Callbacks receive the events of a run: loggers, the console, the server, checkpoints."""

from __future__ import annotations


class Callback:
    """Base class of callbacks; each method does nothing unless it is overridden.

    ``on_event`` is called from the training thread with every event of a run, in order: see
    ``arc.training.events`` and ``arc.runs.run``. A callback ignores events that it does not know.
    """

    def on_event(self, event: object) -> None:
        """Handle one event."""

    def close(self) -> None:
        """Release resources at the end of the run."""
