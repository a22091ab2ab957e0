"""Serving the application beside the run, in a thread of its own."""

from __future__ import annotations

import logging
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from werkzeug.serving import WSGIRequestHandler, make_server

from arc.config import LOOPBACK, ConfigError, ServerConfig
from arc.server.app import create_app
from arc.server.state import Line, State
from arc.session import Session

log = logging.getLogger(__name__)
GIVING_WAY = 1e-4  # seconds after which a request lets training go on: 5 ms cost it twice as much


class LogTail(logging.Handler):
    """Keeps the last lines of the log for the page."""

    def __init__(self, lines: deque[Line]) -> None:
        super().__init__(logging.INFO)
        self._lines, self._count = lines, 0

    def emit(self, record: logging.LogRecord) -> None:
        """Take in one record."""
        self._count += 1
        moment = time.strftime("%H:%M:%S", time.localtime(record.created))
        self._lines.append(Line(self._count, moment, record.levelname, record.getMessage()))


class Handler(WSGIRequestHandler):
    """Answers requests without a line in the log for each."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing of a request: making the line costs a tenth of answering it."""


@contextmanager
def endpoint(config: ServerConfig, session: Session) -> Iterator[str | None]:
    """Serve ``session`` while the context lasts; yields the page's address, None if it has none.

    A port that is taken never ends a run, unless the run has no use without its endpoint.
    Raises ConfigError then.
    """
    listening = _listen(config) if config.enabled else None
    if listening is None:
        yield None
        return
    state = State(session)
    tail = LogTail(state.lines)
    app = create_app(state, config)
    host, port = listening.getsockname()[:2]
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server(
        host, port, app, threaded=True, request_handler=Handler, fd=listening.fileno()
    )
    server.daemon_threads = True  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, name="endpoint", daemon=True)
    logging.getLogger().addHandler(tail)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(GIVING_WAY)
    thread.start()
    shown = f"[{config.host}]" if ":" in config.host else config.host
    address = f"http://{shown if config.host not in LOOPBACK else 'localhost'}:{port}"
    log.info(f"page and control: {address}")
    try:
        yield address
    finally:
        session.close()
        server.shutdown()
        thread.join()
        server.server_close()
        listening.close()
        sys.setswitchinterval(interval)
        logging.getLogger().removeHandler(tail)


def _listen(config: ServerConfig) -> socket.socket | None:
    """Bind the address; None, with a line that says what to set, if it cannot be had."""
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    try:
        return socket.create_server((config.host, config.port), family=family, backlog=128)
    except OSError as error:
        what = (
            f"server.port={config.port} of {config.host} cannot be had ({error.strerror or error})"
        )
        if config.required or not config.autostart:
            raise ConfigError(f"{what}; set server.port=… (0: any that is free)") from None
        log.warning(f"{what}: no page beside this run; set server.port=… (0: any that is free)")
        return None
