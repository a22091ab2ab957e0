"""The process that pages and scripts speak to, so that most requests never reach training's.

It has a copy of the board and answers from it what pages ask for all the time; everything
else it passes on to the process that trains. It is started by ``arc.server.link`` and ends
with the process that started it. It must not import torch: that takes seconds and memory.
"""

from __future__ import annotations

import json
import logging
import os
import pickle
import socket
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from flask import Flask, Response, abort, request
from waitress.channel import HTTPChannel
from waitress.server import TcpWSGIServer, create_server
from waitress.task import ErrorTask

from arc.server.base import base_app
from arc.server.relay import DOWNLOADS, WAITING, Relay
from arc.server.security import BODY_LIMIT, Guard
from arc.server.status import Board

SHARED_SECONDS = 40.0
THREADS = WAITING + DOWNLOADS + 16  # some are always left for what is answered at once
SENT_BODY_LIMIT = 32 * BODY_LIMIT  # what is longer is not even read; the guard refuses the rest
HEADER_LIMIT = 16 * 1024
CONNECTIONS = 1000  # pages keep theirs open
WATCHED_SECONDS = 3.0  # since somebody asked for the status
LAST_LOOK_SECONDS = 1.5  # for pages to see how a run ended that its process ends with
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
SHARED = ("/samples", "/examples", "/language")


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
