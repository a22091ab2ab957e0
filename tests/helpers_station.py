"""The endpoint's application and a training thread, wired as ``python -m arc.train`` does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient
from helpers_cli import until

from arc.config.schema import ServerConfig
from arc.runs.next_run import NextRun
from arc.runs.run import build_run, run_to_end
from arc.server.app import create_app
from arc.server.endpoint import guard_of
from arc.server.session import Session
from arc.training.callbacks import Callback

PATIENCE = 60
GAME = ["task=selection", "task.num_distractors=3", "pretrain.num_distractors=3"]


def server_config(**changes: Any) -> ServerConfig:
    defaults = {
        "enabled": True,
        "host": "127.0.0.1",
        "port": 0,
        "token": None,
        "autostart": False,
        "required": False,
    }
    return ServerConfig(**{**defaults, **changes})


class Request(threading.Thread):
    """A request from another thread; ``answer`` is its response."""

    def __init__(self, client: FlaskClient, url: str, **options: Any) -> None:
        super().__init__(daemon=True)
        self.send: Callable[[], Any] = lambda: client.open(url, **options)
        self.start()

    def run(self) -> None:
        self.answer = self.send()


class Station(Callback):
    """A session, a thread that trains what it starts, and a client of its endpoint."""

    def __init__(self, typed: list[str], output: Path) -> None:
        self.session = Session(NextRun(typed), exit_after_run=False)
        self.output = output
        self.app = create_app(self.session, guard_of(server_config()))
        self.client: FlaskClient = self.app.test_client()
        self._may_step, self._is_held = threading.Event(), threading.Event()
        self._may_step.set()
        self._hold_at: type = object
        self.thread = threading.Thread(target=self._train, daemon=True)
        self.thread.start()

    def _train(self) -> None:
        while (plan := self.session.next_plan()) is not None:
            try:
                with self.session.running(plan) as control:
                    run = build_run(plan, self.output / str(plan.config.run_name))
                    run_to_end(run, control=control, callbacks=[self.session, self])
            except ValueError:
                continue  # the session has published it

    def on_event(self, event: object) -> None:
        """Pause the training thread while it is held."""
        if not self._may_step.is_set() and isinstance(event, self._hold_at):
            self._is_held.set()
            self._may_step.wait()
            self._is_held.clear()

    def hold(self) -> None:
        """Pause training between two steps."""
        self.hold_at(object)
        self.wait_until_held()

    def hold_at(self, kind: type) -> None:
        """Pause the training thread at the next event of that kind."""
        self._hold_at = kind
        self._may_step.clear()

    def wait_until_held(self) -> None:
        """Wait for that event."""
        assert self._is_held.wait(PATIENCE)

    def go_on(self) -> None:
        """Continue training."""
        self._may_step.set()

    def get(self, url: str, status: int = 200) -> Any:
        answer = self.client.get(url)
        assert answer.status_code == status, answer.text
        return answer.get_json()

    def post(self, url: str, body: Any = None, status: int = 200) -> Any:
        answer = self.client.post(url, json=body) if body is not None else self.client.post(url)
        assert answer.status_code == status, answer.text
        return answer.get_json()

    def start(self, *overrides: str) -> dict[str, Any]:
        """Start a training; returns the status after its first step."""
        self.post("/start_train", {"overrides": overrides})
        return self.stepped()

    def request(self, url: str, **options: Any) -> Request:
        """Send a request from another thread."""
        return Request(self.app.test_client(), url, **options)

    @property
    def example(self) -> str:
        """The first validation example."""
        return str(self.get("/examples")["examples"][0])

    def written(self) -> None:
        """Wait until the checkpoints requested so far are written."""
        self.until(lambda status: status["last_save"] and not status["pending_saves"])

    def until(self, holds: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """Poll until ``holds(status)``; returns the status."""
        return until(lambda: self.get("/status"), holds)

    def idle(self) -> dict[str, Any]:
        """Wait until the process is idle; returns the status."""
        return self.until(lambda status: status["state"] == "idle")

    def finish(self, *overrides: str) -> dict[str, Any]:
        """Train to the end; returns the status."""
        self.post("/start_train", {"overrides": overrides})
        status = self.idle()
        assert status["outcome"] == "finished", status["error"]
        return status

    def stepped(self, step: int = 1) -> dict[str, Any]:
        """Wait until the run has made ``step`` steps; returns the status."""
        return self.until(
            lambda status: status["running"] and status["step"] and status["step"] >= step
        )

    def end(self) -> None:
        """End the training thread; called once, after the tests."""
        self.go_on()
        self.session.shutdown()
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()
