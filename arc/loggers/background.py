"""Loggers that call a library which may block: in a thread of its own."""

from __future__ import annotations

import contextlib
import json
import logging
import queue
import secrets
import threading
import time
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from arc.io.files import replace_json
from arc.loggers.base import LOGGERS
from arc.loggers.tracking import ImageConfig, Record, TrackingLogger
from arc.training.callbacks import in_one_line

log = logging.getLogger(__name__)
CAPACITY = 10_000  # records that wait for the library
CLOSE_SECONDS = 10.0  # a library that needs longer at the end of the run is left behind


class UnavailableError(Exception):
    """A library cannot be used; the message says why, in one line."""


class BackgroundLogger(TrackingLogger):
    """Base of loggers that pass records to a library, in order and in a daemon thread.

    Subclasses implement ``start``, ``send`` and ``finish``, which are called from that thread. The
    first failure is logged in one line, and later records are dropped.

    The run's ``identity`` in the library and its last step are kept in a file beside the
    checkpoints. A resumed run continues under the same identity and leaves out the steps that are
    recorded already. A fresh run does not continue the file of an earlier run of its name.
    """

    def __init__(self, config: ImageConfig, output: Path, run: Mapping[str, Any]) -> None:
        super().__init__(config, output, run)
        self.name = next(name for name in LOGGERS if isinstance(self, LOGGERS[name]))
        self.identity, self.is_resumed = secrets.token_hex(4), False
        self._recorded = 0
        self._state = self.prefix.with_name(f"{self.prefix.name}_{self.name}.json")
        self._queue: queue.Queue[Record | None] = queue.Queue(CAPACITY)
        self._reported = threading.Event()
        self._thread = threading.Thread(target=self._work, name=self.name, daemon=True)

    @abstractmethod
    def start(self) -> None:
        """Open the run in the library; if ``is_resumed``, it exists there."""

    @abstractmethod
    def send(self, record: Record) -> None:
        """Pass a record to the library."""

    @abstractmethod
    def finish(self) -> None:
        """Close the run in the library."""

    def begin(self, step: int) -> None:
        """Continue the identity of a run that is resumed; a fresh run gets a new one."""
        if step == 0:
            self._state.unlink(missing_ok=True)
            return
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            state = json.loads(self._state.read_text(encoding="utf-8"))
            self.identity, self._recorded = str(state["identity"]), int(state["step"])
            self.is_resumed = True

    def write(self, record: Record) -> None:
        """Queue a record; never waits."""
        if self._thread.ident is None:
            self._thread.start()
        if self._reported.is_set() or (record.kind != "results" and record.step <= self._recorded):
            return
        try:
            self._queue.put_nowait(record)
        except queue.Full:
            self.report(f"more than {CAPACITY} records wait; later ones are dropped")

    def close(self) -> None:
        """Wait until everything is recorded, at most ``CLOSE_SECONDS``."""
        if self._thread.ident is None:
            return
        end = time.monotonic() + CLOSE_SECONDS
        with contextlib.suppress(queue.Full):
            self._queue.put(None, timeout=CLOSE_SECONDS if self._thread.is_alive() else 0.001)
        self._thread.join(max(0.0, end - time.monotonic()))
        if self._thread.is_alive():
            self.report(f"no answer within {CLOSE_SECONDS:.0f} s; the last records may be lost")

    def report(self, fault: str) -> None:
        """Log a fault; later ones, and later records, are dropped."""
        if not self._reported.is_set():
            self._reported.set()
            log.error(f"logger={self.name}: {fault}; training continues without it")

    def _work(self) -> None:
        try:
            self.start()
            while (record := self._queue.get()) is not None:
                self.send(record)
                replace_json(self._state, {"identity": self.identity, "step": record.step})
            self.finish()
        except UnavailableError as error:
            self.report(str(error))
        except (Exception, SystemExit) as error:
            self.report(in_one_line(error))
