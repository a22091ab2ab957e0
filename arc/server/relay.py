"""The way from the process that pages speak to, to the one that trains."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from urllib.parse import quote

from flask import Response, abort, request

from arc.server.status import Board

COUNT = "Arc-Notes"  # how many notes had been published when an answer was given
NOTES_SECONDS = 1.0
ANSWER_SECONDS = 150.0  # a start waits for the end of the run before it
CHUNK = 1 << 16
WAITING, DOWNLOADS = 32, 16  # so many may wait for the other process, and for who reads slowly
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
