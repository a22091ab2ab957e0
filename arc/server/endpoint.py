"""Serving a session over HTTP from the run's own process."""

from __future__ import annotations

import errno
import itertools
import json
import logging
import secrets
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from flask import Flask, request
from waitress.channel import HTTPChannel
from waitress.server import TcpWSGIServer
from waitress.task import ErrorTask

from arc.config.files import ConfigError
from arc.config.schema import AUTO_TOKEN, LOOPBACK, ServerConfig
from arc.server.app import CONCURRENT_REQUESTS, FREE_SECONDS, create_app
from arc.server.queries import QUERY_SHARE
from arc.server.security import BODY_LIMIT, Guard
from arc.server.session import Session
from arc.server.status import RunStatus

log = logging.getLogger(__name__)
ALL_INTERFACES = ("0.0.0.0", "::")
THREADS = CONCURRENT_REQUESTS + 8  # some are always free for requests that never wait
CONNECTIONS = 200  # browsers keep theirs open; each takes one of the process's file descriptors
IDLE_SECONDS = 8.0  # of a connection that sends no complete request
SPARE = 56  # connections that may wait to be closed, and the server's own descriptors
STALLED_SECONDS = 1.0  # without progress, after which a response makes room for a new connection
PAUSE_SECONDS = 1.0  # before connections are accepted again when no descriptor was free
BURST_SECONDS = 0.25  # of processor time, such as that of loading the page, before requests wait
CROWDED_SHARE = 0.25  # of the time, with so many connections that /stop would wait long
LONGEST_REST = 1.0  # seconds
STOP_SECONDS = 5.0  # for the server's thread to end
ADDRESS_ERRORS = (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES)
READ_LIMIT = 32 * BODY_LIMIT  # longer bodies are not read; the guard refuses those over BODY_LIMIT
HEADER_LIMIT = 16 * 1024
WATCHED_SECONDS = 3.0  # since the last request for the status
LAST_LOOK_SECONDS = 1.5  # for open pages to see the outcome before the process exits


@contextmanager
def endpoint(config: ServerConfig, session: Session) -> Iterator[str | None]:
    """Serve ``session`` within the context; yields the page's address, or None without one.

    If it cannot start, for example because the port is taken, logs a warning, or raises
    ConfigError if the process requires the endpoint (``server.required`` or not
    ``server.autostart``).
    """
    with ExitStack() as stack:
        address = None
        if config.enabled:
            try:
                address = _serve(config, session, stack)
            except (Exception, SystemExit) as error:  # the run continues without it
                _report_unavailable(config, error)
        if address is not None:
            log.info(f"dashboard: {address}")
        yield address


def guard_of(config: ServerConfig) -> Guard:
    """Return the access rules for an endpoint on ``server.host``."""
    any_address = config.host in ALL_INTERFACES
    own_name = (socket.gethostname().lower(),) if any_address else ()
    return Guard((*LOOPBACK, config.host.lower(), *own_name), config.token, any_address=any_address)


def _report_unavailable(config: ServerConfig, error: BaseException) -> None:
    number, detail = getattr(error, "errno", None), getattr(error, "strerror", None) or repr(error)
    message = f"server.port={config.port} of {config.host} is not available ({detail})"
    if number in ADDRESS_ERRORS or isinstance(error, socket.gaierror):
        message += "; set server.port=… (0: any free port)"
    if config.required or not config.autostart:
        raise ConfigError(message)
    log.warning(f"{message}; dashboard disabled for this run")


def _serve(config: ServerConfig, session: Session, stack: ExitStack) -> str:
    """Start the server and register its shutdown with ``stack``; returns the address."""
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    if is_made := config.token == AUTO_TOKEN:
        config = config.model_copy(update={"token": secrets.token_urlsafe(16)})
    with ExitStack() as unfinished:
        listening = socket.create_server((config.host, config.port), family=family)
        unfinished.callback(listening.close)
        app = create_app(session, guard_of(config))
        last_look = LastLook(app)
        server = Server.of(app, listening, lambda: session.is_running)
        server.start()
        unfinished.pop_all()
    stack.callback(server.stop)
    if session.exit_after_run:
        stack.callback(last_look.wait)
    stack.callback(session.shutdown)
    address = f"http://{_display_host(config.host)}:{listening.getsockname()[1]}"
    if is_made:
        _show_link(f"{address}/#token={config.token}")
    return address


def _show_link(link: str) -> None:
    """Show the link with the token on the terminal; log lines would store it in files."""
    with suppress(OSError, ValueError):
        sys.stderr.write(f"{link}\n")
        sys.stderr.flush()


def _display_host(host: str) -> str:
    """Return the name under which a browser reaches ``host``, from other machines if possible."""
    if host in LOOPBACK:
        return "localhost"
    if host in ALL_INTERFACES:
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host


@contextmanager
def published_log(status: RunStatus) -> Iterator[None]:
    """Publish the log lines of the context."""
    tail = LogTail(status)
    logging.getLogger().addHandler(tail)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(tail)


class LogTail(logging.Handler):
    """Publishes log records."""

    def __init__(self, status: RunStatus) -> None:
        super().__init__(logging.INFO)
        # Pages that outlive a process must not take the next one's lines for old ones.
        self._status, self._numbers = status, itertools.count(time.time_ns() // 1_000_000)

    def emit(self, record: logging.LogRecord) -> None:
        """Publish one record."""
        try:
            line = {
                "n": next(self._numbers),
                "time": time.strftime("%H:%M:%S", time.localtime(record.created)),
                "level": record.levelname,
                "text": record.getMessage(),
            }
            self._status.publish("line", line)
        except Exception:  # such as arguments that do not fit the message
            self.handleError(record)


class LastLook:
    """Delays the end of the server while a page polls the status."""

    def __init__(self, app: Flask) -> None:
        self._polled = -WATCHED_SECONDS
        app.before_request(self._note)

    def _note(self) -> None:
        if request.path == "/status":
            self._polled = time.monotonic()

    def wait(self) -> None:
        """Let pages poll the outcome, if the status was requested a moment ago."""
        if time.monotonic() - self._polled < WATCHED_SECONDS:
            time.sleep(LAST_LOOK_SECONDS)


class JsonErrorTask(ErrorTask):
    """Reports a malformed request in JSON."""

    def execute(self) -> None:
        """Write the response."""
        error = self.request.error  # type: ignore[attr-defined]
        body = json.dumps({"error": f"{error.reason}: {error.body}"}).encode()
        self.status = f"{error.code} {error.reason}"
        self.response_headers = [("Content-Type", "application/json")]
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class Channel(HTTPChannel):
    """A connection. Only complete requests count as activity, so slow senders time out."""

    error_task_class = JsonErrorTask
    server: Server
    _began = 0.0

    def received(self, data: bytes) -> bool:
        """Handle received bytes."""
        if self.request is None:
            self._began = self.last_activity
        result = super().received(data)
        if self.request is not None:
            self.last_activity = self._began
        return result

    def service(self) -> None:
        """Answer the requests, in a thread of the server."""
        began = time.thread_time()
        super().service()
        self.server.costs.append(min(time.thread_time() - began, FREE_SECONDS))

    @property
    def is_idle(self) -> bool:
        """Whether no response is being made or sent."""
        return not (self.requests or self.total_outbufs_len or self.will_close)

    def is_stalled(self, now: float, seconds: float) -> bool:
        """Return whether no part of a finished response was received for ``seconds``."""
        is_waiting = not self.requests and self.total_outbufs_len > 0 and not self.will_close
        return is_waiting and self.last_activity < now - seconds


class Server(TcpWSGIServer):
    """A waitress server that makes room for new connections by closing the longest idle ones.

    A client that has stopped receiving counts as idle. While ``is_busy``, HTTP takes at most
    QUERY_SHARE of the time of a processor beyond BURST_SECONDS (CROWDED_SHARE with more than half
    of CONNECTIONS): the server rests in between.
    """

    channel_class = Channel
    is_busy: Callable[[], bool]
    costs: deque[float]  # processor time of the threads, up to FREE_SECONDS each; see ComputeTurn
    _accepts_from = _rested_at = _counted_to = 0.0
    _credit = BURST_SECONDS
    active_channels: dict[int, Channel]  # type: ignore[assignment]  # the stubs are wrong
    trigger: Any
    _map: dict[int, Any]

    @classmethod
    def of(cls, app: Flask, listening: socket.socket, is_busy: Callable[[], bool]) -> Server:
        """Make a server of ``app`` that takes over the socket ``listening``."""
        logging.getLogger("waitress").setLevel(logging.CRITICAL)  # keep the terminal for the run
        server = cls(
            app,
            _sock=listening,
            bind_socket=False,
            sockinfo=(listening.family, listening.type, listening.proto, listening.getsockname()),
            sockets=[listening],
            threads=THREADS,
            connection_limit=CONNECTIONS + SPARE,
            cleanup_interval=1,
            max_request_body_size=READ_LIMIT,
            max_request_header_size=HEADER_LIMIT,
            asyncore_use_poll=True,
            ident=None,
        )
        server.is_busy, server.costs = is_busy, deque()
        return server

    def start(self) -> None:
        """Serve in a background thread."""
        self._thread = threading.Thread(target=self.run, name="endpoint", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Finish the responses in progress, then close every connection and the socket."""
        try:
            self.task_dispatcher.shutdown(timeout=1)
            self.trigger.pull_trigger(self._close_all)
            self._thread.join(STOP_SECONDS)
        except Exception:  # the run has its own result
            log.exception("the endpoint did not stop cleanly")

    def _close_all(self) -> None:
        for channel in list(self.active_channels.values()):
            channel.handle_close()
        self.close()

    def readable(self) -> bool:
        """Return whether to accept connections, after making room for one.

        The server's thread calls this before it waits for events.
        """
        self._rest()
        excess = len(self.active_channels) - CONNECTIONS + 1
        if excess > 0:
            now, channels = time.time(), self.active_channels.values()
            idle = [
                each for each in channels if each.is_idle or each.is_stalled(now, STALLED_SECONDS)
            ]
            idle.sort(key=lambda channel: channel.last_activity)
            for channel in idle[:excess]:
                self._close(channel)
        return super().readable() and time.monotonic() >= self._accepts_from

    def _rest(self) -> None:
        """Sleep while the processor time of HTTP exceeds its share."""
        now, counted_to = time.monotonic(), time.thread_time()
        spent = counted_to - self._counted_to
        while self.costs:
            spent += self.costs.popleft()
        is_crowded = len(self.active_channels) > CONNECTIONS // 2
        share = CROWDED_SHARE if is_crowded else QUERY_SHARE
        earned = (now - self._rested_at) * share
        self._rested_at, self._counted_to = now, counted_to
        if not self.is_busy():
            self._credit = BURST_SECONDS
            return
        self._credit = min(BURST_SECONDS, self._credit + earned) - spent
        if self._credit < 0:
            time.sleep(min(-self._credit / share, LONGEST_REST))

    def handle_accept(self) -> None:
        """Accept the connections that wait, as many as there is room for."""
        for _ in range(SPARE):
            before = len(self._map)
            super().handle_accept()
            if not before < len(self._map) < self.adj.connection_limit:
                break

    def accept(self) -> Any:
        """Accept a connection; after an error, such as too many open files, pause."""
        try:
            return super().accept()
        except OSError:
            self._accepts_from = time.monotonic() + PAUSE_SECONDS
            raise

    def maintenance(self, now: float) -> None:
        """Close idle connections and those that have stopped receiving a response."""
        for channel in self.active_channels.values():
            is_idle = channel.is_idle and channel.last_activity < now - IDLE_SECONDS
            if is_idle or channel.is_stalled(now, self.adj.channel_timeout):
                self._close(channel)

    def _close(self, channel: Channel) -> None:
        """Close a connection, also if its client receives nothing, soon in the server's thread."""
        channel.will_close = True
        self.trigger.pull_trigger(channel.handle_close)
