"""Callbacks receive the events of a run: loggers, the console, the server, checkpoints."""

from __future__ import annotations

import contextlib
import logging
import traceback
from collections.abc import Sequence
from pathlib import Path

log = logging.getLogger(__name__)


class Callback:
    """Base class of callbacks; each method does nothing unless it is overridden.

    ``on_event`` is called from the training thread with every event of a run, in order: see
    ``arc.training.events`` and ``arc.runs.run``. A callback ignores events that it does not know.

    An exception in a callback is logged in one line and disables that callback; the run continues.
    In a ``required`` callback it ends the run.
    """

    required = False

    def on_event(self, event: object) -> None:
        """Handle one event."""

    def close(self) -> None:
        """Release resources at the end of the run."""


class CallbackList(Callback):
    """Passes each event to several callbacks, in order."""

    required = True

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        self._callbacks = list(callbacks)

    def on_event(self, event: object) -> None:
        """Pass ``event`` to each callback."""
        for callback in list(self._callbacks):
            try:
                callback.on_event(event)
            except (Exception, SystemExit) as error:
                self._disable(callback, error)
                with contextlib.suppress(Exception, SystemExit):  # it has been reported
                    callback.close()

    def close(self) -> None:
        """Close each callback."""
        for callback in list(self._callbacks):
            try:
                callback.close()
            except (Exception, SystemExit) as error:
                self._disable(callback, error)

    def _disable(self, callback: Callback, error: BaseException) -> None:
        if callback.required:
            raise error
        name = type(callback).__name__
        log.error(f"{name} failed and is disabled; training continues: {in_one_line(error)}")
        log.debug(f"{name}: traceback", exc_info=error)
        self._callbacks.remove(callback)


def in_one_line(error: BaseException) -> str:
    """Return type, message and place of an exception."""
    message = (str(error).strip().splitlines() or [""])[0]
    place = traceback.extract_tb(error.__traceback__)[-1:]
    where = "".join(f" ({Path(each.filename).name}, line {each.lineno})" for each in place)
    return f"{type(error).__name__}: {message}{where}"
