"""Signals: the first one stops the run cleanly, a second one ends the process."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from arc.terminal.signals import signals_handled
from arc.training import RunControl

log = logging.getLogger(__name__)


@contextmanager
def on_signal(act: Callable[[str], None]) -> Iterator[list[signal.Signals]]:
    """Call ``act`` with the name of the first SIGINT, SIGTERM, SIGHUP or SIGUSR1.

    A second one ends the process. Under torchrun it is ignored: a signal for all processes arrives
    twice, since torchrun passes on its own, and torchrun ends processes that take too long. SIGHUP
    is left alone if it is ignored, as under nohup. Yields the list of received signals. No
    exception is raised in the main thread, since code that catches exceptions could lose it.
    """
    received: list[signal.Signals] = []

    def handle(number: int, frame: object) -> None:
        for each in handled:
            signal.signal(each, signal.SIG_IGN if _under_torchrun() else signal.SIG_DFL)
        received.append(signal.Signals(number))
        act(received[-1].name)

    with signals_handled(handle) as handled:
        yield received


def stops(control: RunControl) -> Callable[[str], None]:
    """Return a signal action that requests a stop of the run."""

    def stop(name: str) -> None:
        control.request_stop(name)
        second = "" if _under_torchrun() else f"; a second {name} ends the process at once"
        message = f"{name}: stopping{second}"
        # from another thread: the signal may have interrupted the writing of a log line
        threading.Thread(target=log.info, args=(message,)).start()

    return stop


def _under_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ
