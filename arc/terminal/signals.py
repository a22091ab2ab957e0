"""Handlers of the signals that end a process."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def signals_handled(handle: Callable[[int, object], None]) -> Iterator[list[signal.Signals]]:
    """Call ``handle`` for SIGINT, SIGTERM, SIGHUP and SIGUSR1; yields these signals.

    The last two stay ignored if they were, as SIGHUP under nohup. The former handlers are restored
    at the end.
    """
    handled = [signal.SIGINT, signal.SIGTERM]
    for name in ("SIGHUP", "SIGUSR1"):  # Windows has none
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            handled.append(number)
    before = {each: signal.signal(each, handle) for each in handled}
    try:
        yield handled
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
