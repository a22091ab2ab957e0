"""A page of runs in a process of its own, such as that of all jobs of a sweep."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from arc.config.files import ConfigError
from arc.config.schema import LOOPBACK
from arc.runs.signals import on_signal
from arc.server.app import create_runs_app
from arc.server.endpoint import Server
from arc.server.runs_view import RunsView
from arc.server.security import Guard
from arc.terminal import show

HOST = "127.0.0.1"


def serve_runs(folders: Sequence[Path], port: int, token: str | None) -> int:
    """Serve the runs below ``folders`` until Ctrl-C; returns the exit status."""
    ended = threading.Event()
    with runs_page(folders, port, token) as address, on_signal(lambda _: ended.set()) as received:
        show(f"runs: {address}  (Ctrl-C ends)")
        ended.wait()
    return 128 + received[0]


@contextmanager
def runs_page(folders: Sequence[Path], port: int, token: str | None) -> Iterator[str]:
    """Serve the runs within the context; yields the page's address.

    Raises ConfigError if a folder does not exist or the port is taken.
    """
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"{folder}: no such folder")
    try:
        listening = socket.create_server((HOST, port))
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error).rstrip(".")
        raise ConfigError(
            f"--port={port}: {reason}; choose another one (0: any free port)"
        ) from None
    view = RunsView(lambda: folders)
    app = create_runs_app(view, Guard((*LOOPBACK, HOST), token))
    server = Server.of(app, listening, lambda: False)
    server.start()
    threading.Thread(target=view.table, daemon=True).start()  # reads the files ahead
    try:
        yield f"http://localhost:{listening.getsockname()[1]}"
    finally:
        server.stop()
