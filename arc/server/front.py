"""The process that pages and scripts speak to, so that most requests never reach training's.

It has a copy of the board and answers from it what pages ask for all the time; everything
else it passes on to the process that trains. It is started by ``arc.server.link`` and ends
with the process that started it. It must not import torch: that takes seconds and memory.
"""

from __future__ import annotations

import http.client
import logging
import os
import pickle
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any
from urllib.parse import quote

import waitress
from flask import Flask, Response, abort, request

from arc.board import Board
from arc.server.base import base_app
from arc.server.guard import Guard

COUNT = "Arc-Notes"  # how many notes had been published when an answer was given
NOTES_SECONDS = 1.0
ANSWER_SECONDS = 150.0  # a start waits for the end of the run before it
SHARED_SECONDS = 40.0
CHUNK = 1 << 16
THREADS = 64  # of those that wait, such as starts and downloads; what is polled takes no time
CONNECTIONS = 1000  # pages keep theirs open
WATCHED_SECONDS = 3.0  # since somebody asked for the status
LAST_LOOK_SECONDS = 1.5  # for pages to see how a run ended that its process ends with
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
SHARED = ("/samples", "/examples", "/language")
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

    def __call__(self, rest: str = "") -> Response:
        """Answer the request at hand as the other process does."""
        connection = Behind(self.path)
        try:
            connection.request(*self._request(), headers=self._headers())
            answer = connection.getresponse()
        except (ValueError, http.client.InvalidURL) as error:
            connection.close()
            abort(400, f"not a request: {error}")
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            abort(503, f"the process that trains does not answer: {error!r}")
        count = int(answer.getheader(COUNT, "0"))
        self.board.reached(count, NOTES_SECONDS)  # whoever is answered sees what has come of it
        headers = [pair for pair in answer.getheaders() if _is_passed_on(pair[0])]
        return Response(_content(connection, answer), answer.status, headers)

    def _request(self) -> tuple[str, str, bytes | None]:
        query = quote(request.query_string, safe="!$%&'()*+,/:;=?@")
        url = quote(request.path) + (f"?{query}" if query else "")
        return request.method, url, request.get_data(cache=False) or None

    def _headers(self) -> dict[str, str]:
        """Return those of the request; its length is said anew."""
        passed = (pair for pair in request.headers if _is_passed_on(pair[0]))
        return {name: value for name, value in passed if name != "Content-Length"}


def _is_passed_on(header: str) -> bool:
    return header.lower() not in OF_THIS_CONNECTION


def _content(
    connection: http.client.HTTPConnection, answer: http.client.HTTPResponse
) -> Iterator[bytes]:
    try:
        while chunk := answer.read(CHUNK):
            yield chunk
    finally:
        connection.close()


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
    logging.getLogger("waitress").setLevel(logging.CRITICAL)  # the terminal is the run's
    waitress.serve(
        app,
        sockets=[listening],
        threads=THREADS,
        connection_limit=CONNECTIONS,
        asyncore_use_poll=True,
        ident=None,
    )


if __name__ == "__main__":
    main()
