"""Handlers of the signals that end a process."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def signals_handled(handle: Callable[[int, object], None]) -> Iterator[list[signal.Signals]]:
    """Call ``handle`` for SIGINT, SIGTERM and SIGHUP; yields these signals.

    SIGHUP stays ignored if it was, as under nohup. The former handlers are restored at the end.
    """
    handled = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        handled.append(signal.SIGHUP)  # Windows has none
    before = {each: signal.signal(each, handle) for each in handled}
    try:
        yield handled
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
