"""The process that pages and scripts speak to, so that most requests never reach training's.

It has a copy of the board and answers from it what pages ask for all the time; everything
else it passes on to the process that trains. It is started by ``arc.server.link`` and ends
with the process that started it. It must not import torch: that takes seconds and memory.
"""

from __future__ import annotations

import http.client
import json
import logging
import os
import pickle
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from multiprocessing.connection import Connection
from typing import Any
from urllib.parse import quote

from flask import Flask, Response, abort, request
from waitress.channel import HTTPChannel
from waitress.server import TcpWSGIServer, create_server
from waitress.task import ErrorTask

from arc.board import Board
from arc.server.base import base_app
from arc.server.guard import BODY_LIMIT, Guard

COUNT = "Arc-Notes"  # how many notes had been published when an answer was given
NOTES_SECONDS = 1.0
ANSWER_SECONDS = 150.0  # a start waits for the end of the run before it
SHARED_SECONDS = 40.0
CHUNK = 1 << 16
THREADS = 64
WAITING, DOWNLOADS = 32, 16  # so many may wait for the other process, and for who reads slowly
SENT_BODY_LIMIT = 32 * BODY_LIMIT  # what is longer is not even read; the guard refuses the rest
HEADER_LIMIT = 16 * 1024
CONNECTIONS = 1000  # pages keep theirs open
WATCHED_SECONDS = 3.0  # since somebody asked for the status
LAST_LOOK_SECONDS = 1.5  # for pages to see how a run ended that its process ends with
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
SHARED = ("/samples", "/examples", "/language")
ASKED_WITH = (
    *("host", "origin", "sec-fetch-site", "authorization", "content-type"),
    *("range", "if-range", "if-none-match", "if-modified-since"),
)
OF_THIS_CONNECTION = (
    *("connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "expect"),
    *("server", "date", COUNT.lower()),
)


class Behind(http.client.HTTPConnection):
    """A connection to the process that trains."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=ANSWER_SECONDS)
        self._path = path

    def connect(self) -> None:
        """Open it."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Relay:
    """Passes requests on to the process that trains, and its answers back."""

    def __init__(self, board: Board, path: str) -> None:
        self.board, self.path = board, path
        self._waiting = threading.BoundedSemaphore(WAITING)
        self._downloads = threading.BoundedSemaphore(DOWNLOADS)

    def __call__(self, rest: str = "") -> Response:
        """Answer the request at hand as the other process does."""
        with ExitStack() as stack:
            stack.enter_context(self._place())
            connection = stack.enter_context(closing(Behind(self.path)))
            try:
                connection.request(*self._request(), headers=self._headers())
                answer = connection.getresponse()
            except (ValueError, http.client.InvalidURL) as error:
                abort(400, f"not a request: {error}")
            except (OSError, http.client.HTTPException) as error:
                abort(503, f"the process that trains does not answer: {error!r}")
            count = int(answer.getheader(COUNT, "0"))
            self.board.reached(count, NOTES_SECONDS)  # whoever is answered sees what came of it
            headers = [pair for pair in answer.getheaders() if _is_passed_on(pair[0])]
            response = Response(_content(answer), answer.status, headers)
            response.call_on_close(stack.pop_all().close)
            return response

    @contextmanager
    def _place(self) -> Iterator[None]:
        """Be one of those that may wait; there is always a place for who stops the run."""
        if request.path == "/stop":
            yield
            return
        places = self._downloads if request.path.startswith("/download/") else self._waiting
        if not places.acquire(blocking=False):
            abort(503, "too many requests wait to be answered: try again")
        try:
            yield
        finally:
            places.release()

    def _request(self) -> tuple[str, str, bytes | None]:
        query = quote(request.query_string, safe="!$%&'()*+,/:;=?@")
        url = quote(request.path) + (f"?{query}" if query else "")
        return request.method, url, request.get_data(cache=False) or None

    def _headers(self) -> dict[str, str]:
        """Return those of the request that say something to the other process."""
        return {name: value for name, value in request.headers if name.lower() in ASKED_WITH}


def _is_passed_on(header: str) -> bool:
    return header.lower() not in OF_THIS_CONNECTION


def _content(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    while chunk := answer.read(CHUNK):
        yield chunk


class Shared:
    """Answers that everybody gets alike, asked for once for each moment of a run.

    While a run is being tested nobody can look: what was seen of it last is told again.
    """

    def __init__(self, board: Board, ask: Callable[[], Response]) -> None:
        self.board, self.ask = board, ask
        self._lock = threading.Lock()
        self._known: tuple[tuple[Any, ...], bytes, Any] | None = None

    def __call__(self) -> Response:
        """Answer the request at hand; one asks, the rest get the last answer about that run."""
        known = self._known
        same_run = known is not None and known[0][0] == self.board.moment[0]
        if not self._lock.acquire(timeout=0 if same_run else SHARED_SECONDS):
            if known is not None and same_run:
                return Response(known[1], content_type=known[2])
            abort(503, f"no answer within {SHARED_SECONDS:.0f} s")
        try:
            moment = self.board.moment
            if self._known is None or not self._still_holds(self._known[0], moment):
                answer = self.ask()
                if answer.status_code != 200:
                    return answer
                with answer:
                    self._known = (moment, answer.get_data(), answer.content_type)
            _, content, kind = self._known
            return Response(content, content_type=kind)
        finally:
            self._lock.release()

    def _still_holds(self, then: tuple[Any, ...], now: tuple[Any, ...]) -> bool:
        return then == now or (self.board.state == "testing" and then[0] == now[0])


def create_front(board: Board, guard: Guard, ask: Callable[..., Response]) -> Flask:
    """Make the application that answers from ``board``; ``ask`` answers the rest."""
    app = base_app(board, guard)
    for url in SHARED:
        app.add_url_rule(url, url.strip("/"), Shared(board, ask), methods=["GET"])
    app.add_url_rule("/<path:rest>", "relay", ask, methods=METHODS, provide_automatic_options=False)
    return app


class Refusal(ErrorTask):
    """Tells in JSON, as all errors here, that something is no request."""

    def execute(self) -> None:
        """Write the answer."""
        error = self.request.error  # type: ignore[attr-defined]
        body = json.dumps({"error": f"{error.reason}: {error.body}"}).encode()
        self.status = f"{error.code} {error.reason}"
        self.response_headers = [("Content-Type", "application/json")]
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class Channel(HTTPChannel):
    """A client's connection."""

    error_task_class = Refusal


class Watched:
    """When the status was asked for last."""

    def __init__(self, app: Flask) -> None:
        self._last = -WATCHED_SECONDS
        app.before_request(self._note)

    def _note(self) -> None:
        if request.path == "/status":
            self._last = time.monotonic()

    def __bool__(self) -> bool:
        return time.monotonic() - self._last < WATCHED_SECONDS


def follow(link: Connection, board: Board, watched: Watched) -> None:
    """Take the notes that come by ``link``, whose end is the end of this process.

    After None, which tells of an end in order, whoever watches can have a last look.
    """
    try:
        while (notes := link.recv()) is not None:
            for what, content in notes:
                board.note(what, content)
        if watched:
            time.sleep(LAST_LOOK_SECONDS)
    except (EOFError, OSError):
        pass
    os._exit(0)  # nothing here needs tidying


def main() -> None:
    """Serve until the process at the other end of the link is gone."""
    listening, link = socket.socket(fileno=int(sys.argv[1])), Connection(int(sys.argv[2]))
    pickled, guard, path = link.recv()
    board: Board = pickle.loads(pickled)
    app = create_front(board, guard, Relay(board, path))
    threading.Thread(target=follow, args=(link, board, Watched(app)), daemon=True).start()
    server = create_server(
        app,
        sockets=[listening],
        threads=THREADS,
        connection_limit=CONNECTIONS,
        max_request_body_size=SENT_BODY_LIMIT,
        max_request_header_size=HEADER_LIMIT,
        asyncore_use_poll=True,
        ident=None,
    )
    assert isinstance(server, TcpWSGIServer)  # one address, one server
    server.channel_class = Channel
    logging.getLogger("waitress").setLevel(logging.CRITICAL)  # the terminal is the run's
    server.run()


if __name__ == "__main__":
    main()
