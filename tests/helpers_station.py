"""The endpoint's application beside a thread that trains, as ``python -m arc.train`` has them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient
from helpers_cli import until

from arc.config.schema import ServerConfig
from arc.runs.next_run import NextRun
from arc.runs.results import table
from arc.runs.run import Run, make_run
from arc.server.app import create_app
from arc.server.endpoint import guard_of
from arc.server.session import Session
from arc.training import Heap, RunControl

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


class Station:
    """A session, a thread that trains what it is asked for, and a client of its endpoint."""

    def __init__(self, typed: list[str], output: Path) -> None:
        self.session = Session(NextRun(typed), once=False)
        self.output, self.heap = output, Heap()
        self.app = create_app(self.session, guard_of(server_config()))
        self.client: FlaskClient = self.app.test_client()
        self._may_go, self._stands = threading.Event(), threading.Event()
        self._may_go.set()
        self.thread = threading.Thread(target=self._train, daemon=True)
        self.thread.start()

    def _train(self) -> None:
        while (plan := self.session.next_plan()) is not None:
            try:
                with self.session.running(plan) as control:
                    output = self.output / str(plan.config.run_name)
                    output.mkdir(parents=True, exist_ok=True)
                    run = make_run(plan, output, self.heap)
                    with run.claimed():
                        self._see_through(run, control)
            except ValueError:
                continue  # the session has told

    def _see_through(self, run: Run, control: RunControl) -> None:
        self.session.attach(run)
        outcome = run.execute(control, self.session.watch, self._pause)
        self.session.end(outcome)
        if outcome.kind == "finished":
            results = run.report()
            self.session.show_results(results, table(results))

    def _pause(self, event: object) -> None:
        if not self._may_go.is_set():
            self._stands.set()
            self._may_go.wait()
            self._stands.clear()

    def hold(self) -> None:
        """Let the loop stand still between two steps."""
        self._may_go.clear()
        assert self._stands.wait(PATIENCE)

    def go_on(self) -> None:
        """Let the loop go on."""
        self._may_go.set()

    def get(self, url: str, status: int = 200) -> Any:
        answer = self.client.get(url)
        assert answer.status_code == status, answer.text
        return answer.get_json()

    def post(self, url: str, body: Any = None, status: int = 200) -> Any:
        answer = self.client.post(url, json=body) if body is not None else self.client.post(url)
        assert answer.status_code == status, answer.text
        return answer.get_json()

    def until(self, holds: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """Poll the status until ``holds`` of it; returns it."""
        return until(lambda: self.get("/status"), holds)

    def idle(self) -> dict[str, Any]:
        """Wait for the end of what is under way; returns the status."""
        return self.until(lambda status: status["state"] == "idle")

    def stepped(self, step: int = 1) -> dict[str, Any]:
        """Wait for a step of the run under way; returns the status."""
        return self.until(
            lambda status: status["running"] and status["step"] and status["step"] >= step
        )

    def close(self) -> None:
        self.go_on()
        if self.session.state not in ("idle", "testing", "stopping"):
            self.session.stop()
        self.idle()
        self.session.close()
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()
