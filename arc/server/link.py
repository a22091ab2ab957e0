"""The thread that keeps the front process running, and hands it what is published."""

from __future__ import annotations

import logging
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from arc.server.security import Guard
from arc.server.status import Board

log = logging.getLogger(__name__)
WAITING_NOTES = 10_000  # a front process that lets so many wait is replaced
SHORT_LIFE = 5.0  # seconds
SHORT_LIVES = 5  # in a row, after which no other is started
PAUSE = 0.1  # seconds before the second, twice as many before the third …
PATIENCE = 5.0
LOOK_EVERY = 1.0


class Link:
    """A front process that listens on ``listening`` and asks at the socket ``path``.

    One that dies is replaced, until some in a row were of a SHORT_LIFE: ``on_lost`` is called
    then. If it ``lingers``, pages that are open can have a last look before it ends.
    """

    def __init__(
        self,
        board: Board,
        guard: Guard,
        listening: socket.socket,
        path: str,
        *,
        lingers: bool = False,
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        self.board, self.guard, self.listening, self.path = board, guard, listening, path
        self.lingers, self.on_lost = lingers, on_lost
        self._closed = threading.Event()
        self._notes: queue.Queue[tuple[str, Any] | None] = queue.Queue()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._keep, name="link", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the front process."""
        self._closed.set()
        self._notes.put(None)
        self._thread.join(PATIENCE)
        self._kill()
        self._thread.join()

    def _keep(self) -> None:
        """Have a front process, and another one if it dies."""
        short_lives = 0
        while not self._closed.is_set():
            began = time.monotonic()
            try:
                ended = self._have_one()
            except OSError as error:
                ended = str(error)
            if self._closed.is_set():
                break
            short_lives = short_lives + 1 if time.monotonic() - began < SHORT_LIFE else 0
            if short_lives == SHORT_LIVES:
                log.error(f"the page's process has ended ({ended}): no page from now on")
                self.on_lost()
                break
            log.warning(f"the page's process has ended ({ended}); starting another")
            if short_lives:
                self._closed.wait(PAUSE * 2**short_lives)
        self.board.tell(None)
        self.listening.close()

    def _have_one(self) -> str:
        """Start a front process and hand it notes while both last; returns how it ended."""
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = process = self._start(theirs)
        with Connection(ours.detach()) as link:
            try:
                self._feed(link, process)
            except OSError:  # it is gone
                process.kill()
        try:
            return f"status {process.wait(PATIENCE)}"  # the end of the link is its end
        except subprocess.TimeoutExpired:
            process.kill()
            return f"status {process.wait()}"

    def _start(self, theirs: socket.socket) -> subprocess.Popen[bytes]:
        sockets = (self.listening.fileno(), theirs.fileno())
        return subprocess.Popen(
            [sys.executable, "-m", "arc.server.front", *map(str, sockets)],
            pass_fds=sockets,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            start_new_session=True,  # Ctrl-C is for the process that trains
        )

    def _feed(self, link: Connection, process: subprocess.Popen[bytes]) -> None:
        notes: queue.Queue[tuple[str, Any] | None] = queue.Queue()
        self._notes = notes
        if self._closed.is_set():
            return
        link.send((self.board.tell(self._take), self.guard, self.path))
        while process.poll() is None:
            try:
                waiting = [notes.get(timeout=LOOK_EVERY)]
            except queue.Empty:
                continue
            while not notes.empty():
                waiting.append(notes.get())
            ends = None in waiting
            link.send([note for note in waiting if note is not None])
            if ends:
                if self.lingers:
                    link.send(None)
                return

    def _take(self, what: str, content: Any) -> None:
        if self._notes.qsize() >= WAITING_NOTES:
            self._kill()
        else:
            self._notes.put((what, content))

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()
