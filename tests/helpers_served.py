"""``python -m arc.train`` in a process of its own, used through its endpoint."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from helpers_cli import Outcome, Process, place, start, tiny, until, wait_for

PATIENCE = 60
ANNOUNCED = "dashboard: http://localhost:"
GAME = ["task.num_distractors=3", "pretrain.num_distractors=3"]
S = TypeVar("S", bound="Served")


class Client:
    """A client of the endpoint on ``port``, whose files are below ``folder``."""

    def __init__(self, port: int, folder: Path) -> None:
        self.port, self.checkpoints = port, folder / "checkpoints"

    def ask(self, method: str, path: str, body: Any = None, **options: Any) -> tuple[int, bytes]:
        """Send one request with ``body`` as it is; returns status and content."""
        connection = http.client.HTTPConnection("localhost", self.port, timeout=PATIENCE)
        try:
            connection.request(method, path, body, **options)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        status, content = self.ask("GET", path)
        assert status == 200, content
        return json.loads(content)

    def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        status, content = self.ask("POST", path, json.dumps(body or {}))
        assert status == 200, content
        return json.loads(content)

    def until(self, holds: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """Poll until ``holds(status)``; returns the status."""
        return until(lambda: self.get("/status"), holds)

    def training(self) -> dict[str, Any]:
        """Start a training unless one is running; returns the status after its first step."""
        if self.get("/status")["state"] != "training":
            self.idle()
            self.post("/start_train")
        return self.until(lambda status: status["state"] == "training" and status["step"])

    def idle(self) -> dict[str, Any]:
        """Stop the run, if there is one; returns the status."""
        if self.get("/status")["mode"] is not None:
            self.ask("POST", "/stop")
        return self.until(lambda status: status["state"] == "idle")

    def save(self, name: str) -> Path:
        """Save a checkpoint of that name; returns its path."""
        self.training()
        self.post("/save_checkpoint", {"name": name, "overwrite": True})
        self.until(lambda status: not status["pending_saves"])
        path = self.checkpoints / f"{name}.pth"
        assert path.exists()
        return path


class Served(Client):
    """A process and a client of its endpoint."""

    def __init__(self, process: Process, port: int, folder: Path) -> None:
        super().__init__(port, folder)
        self.process = process
        self._log: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        self._log.extend(self.process.stderr)  # a full pipe would block the process

    def end(self) -> Outcome:
        """Wait for the process to end by itself."""
        status = self.process.wait(PATIENCE)
        self._reader.join()
        return Outcome(status, "", "".join(self._log))

    @classmethod
    @contextmanager
    def started(
        cls: type[S], folder: Path, corpus: Path, *overrides: str, script: str | None = None
    ) -> Iterator[S]:
        """Start a process that waits for requests, its files below ``folder``."""
        listening = ["server.enabled=true", "server.port=0", "server.autostart=false"]
        small = [*tiny(corpus, steps=None), *GAME]
        process = start(folder, *place(folder), *small, *listening, *overrides, script=script)
        try:
            line = wait_for(process, ANNOUNCED).splitlines()[-1]
            served = cls(process, int(line.split(ANNOUNCED)[1]), folder)
            try:
                yield served
            finally:
                process.kill()
                served._reader.join(PATIENCE)  # it reads a pipe that is closed below
        finally:
            process.kill()
            process.wait()
            for pipe in (process.stdout, process.stderr):
                assert pipe is not None
                pipe.close()
