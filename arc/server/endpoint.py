"""Serving a session: its application beside the run, behind a process that pages speak to."""

from __future__ import annotations

import itertools
import logging
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

from werkzeug.serving import WSGIRequestHandler, make_server

from arc.config.schema import LOOPBACK, ConfigError, ServerConfig
from arc.server.app import create_app
from arc.server.link import Link
from arc.server.security import Guard
from arc.server.session import Session
from arc.server.status import Board

log = logging.getLogger(__name__)
EVERYWHERE = ("0.0.0.0", "::")
PREFIX, SOCKET = "arc-endpoint-", "run"
SWEPT_SECONDS = 60.0  # of age


class LogTail(logging.Handler):
    """Publishes the lines of the log."""

    def __init__(self, board: Board) -> None:
        super().__init__(logging.INFO)
        self._board, self._numbers = board, itertools.count(1)

    def emit(self, record: logging.LogRecord) -> None:
        """Take in one record."""
        line = {
            "n": next(self._numbers),
            "time": time.strftime("%H:%M:%S", time.localtime(record.created)),
            "level": record.levelname,
            "text": record.getMessage(),
        }
        self._board.note("line", line)


class Handler(WSGIRequestHandler):
    """Answers requests without a line in the log for each."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing of a request: making the line costs a tenth of answering it."""


def guard_of(config: ServerConfig) -> Guard:
    """Return who may speak to the endpoint."""
    everywhere = config.host in EVERYWHERE
    own = (socket.gethostname().lower(),) if everywhere else ()
    return Guard((*LOOPBACK, config.host, *own), config.token, any_address=everywhere)


@contextmanager
def endpoint(config: ServerConfig, session: Session) -> Iterator[str | None]:
    """Serve ``session`` while the context lasts; yields the page's address, None if it has none.

    A port that is taken never ends a run, unless the run has no use without its endpoint.
    Raises ConfigError then.
    """
    with ExitStack() as stack:
        try:
            address = _serve(config, session, stack) if config.enabled else None
        except OSError as error:
            fault = f"server.port={config.port} of {config.host} cannot be had"
            _without(config, f"{fault} ({error.strerror or error})")
            address = None
        if address is not None:
            stack.callback(session.close)  # before what is served is taken away
            log.info(f"page and control: {address}")
        yield address


def _without(config: ServerConfig, fault: str) -> None:
    """Say that there is no endpoint, or raise ConfigError where there must be one."""
    if config.required or not config.autostart:
        raise ConfigError(f"{fault}; set server.port=… (0: any that is free)")
    log.warning(f"{fault}: no page beside this run; set server.port=… (0: any that is free)")


def _serve(config: ServerConfig, session: Session, stack: ExitStack) -> str:
    """Begin to serve, with what ends it on ``stack``; returns the address."""
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    listening = socket.create_server((config.host, config.port), family=family, backlog=128)
    stack.enter_context(closing(listening))
    port = listening.getsockname()[1]
    _sweep()
    path = f"{stack.enter_context(tempfile.TemporaryDirectory(prefix=PREFIX))}/{SOCKET}"
    guard = guard_of(config)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    app = create_app(session, guard)
    server = make_server(f"unix://{path}", 0, app, threaded=True, request_handler=Handler)
    server.daemon_threads = True  # type: ignore[attr-defined]
    stack.callback(server.server_close)
    thread = threading.Thread(target=server.serve_forever, name="endpoint", daemon=True)
    thread.start()
    stack.callback(thread.join)
    stack.callback(server.shutdown)
    tail = LogTail(session.board)
    logging.getLogger().addHandler(tail)
    stack.callback(logging.getLogger().removeHandler, tail)
    link = Link(
        session.board, guard, listening, path, lingers=session.once, on_lost=session.abandon
    )
    stack.enter_context(closing(link))
    return f"http://{_shown(config.host)}:{port}"


def _shown(host: str) -> str:
    """Return how an address is asked for, by others if they can."""
    if host in LOOPBACK:
        return "localhost"
    if host in EVERYWHERE:
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host


def _sweep() -> None:
    """Take away the sockets of processes that died; a new one may not be listening yet."""
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/{SOCKET}"):
        with suppress(OSError), socket.socket(socket.AF_UNIX) as asking:
            if time.time() - path.stat().st_mtime < SWEPT_SECONDS:
                continue
            try:
                asking.connect(str(path))
            except ConnectionRefusedError:
                shutil.rmtree(path.parent, ignore_errors=True)
