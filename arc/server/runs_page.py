"""A page of runs in a process of its own, such as that of all jobs of a sweep."""

from __future__ import annotations

import secrets
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from arc.config.files import ConfigError
from arc.config.schema import AUTO_TOKEN, LOOPBACK, ServerConfig
from arc.runs.signals import on_signal
from arc.server.app import create_runs_app
from arc.server.endpoint import Server
from arc.server.runs_view import RunsView
from arc.server.security import Guard
from arc.terminal import show

HOST = "127.0.0.1"


def serve_runs(folders: Sequence[Path], port: int, token: str | None) -> int:
    """Serve the runs below ``folders`` until Ctrl-C; returns the exit status.

    ``token``: as server.token. Raises ConfigError if it is not one, and as ``runs_page``.
    """
    ended = threading.Event()
    _check(token)
    if is_made := token == AUTO_TOKEN:
        token = secrets.token_urlsafe(16)
    with runs_page(folders, port, token) as address, on_signal(lambda _: ended.set()) as received:
        link = f"{address}/#token={token}" if is_made else address
        show(f"runs: {link}  (Ctrl-C ends)")
        ended.wait()
    return 128 + received[0]


def _check(token: str | None) -> None:
    try:
        ServerConfig(enabled=True, host=HOST, port=0, token=token, autostart=True, required=True)
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise ConfigError(f"ARC_TOKEN=***: {reason}") from None


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
