"""A real process that serves its page, and what a test sees of that page in Chromium."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from helpers_cli import CHECKOUT, TIMEOUT, place, start, tiny, until, wait_for
from playwright.sync_api import ConsoleMessage, Page, Request, Route

SCREENSHOTS = CHECKOUT / "outputs" / "screenshots"
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP evil.test 127.0.0.1",
]
# A real run, ten steps a second at most, so that Chromium has the processor too.
UNHURRIED = """
import time, torch, arc.train
step = torch.optim.AdamW.step
def unhurried(*arguments, **options):
    time.sleep(0.1)
    return step(*arguments, **options)
torch.optim.AdamW.step = unhurried
arc.train.main()
"""


class Served:
    """``python -m arc.train server.autostart=false``, its files below ``folder``."""

    def __init__(self, folder: Path, corpus: Path, *overrides: str, port: int = 0) -> None:
        self.folder = folder
        game = ["task=selection", "task.num_distractors=3", "model.latent_dim=16"]
        alone = ["server.enabled=true", "server.autostart=false", f"server.port={port}"]
        typed = [each for each in tiny(corpus, steps=None) if not each.startswith("server.")]
        words = [*place(folder), *typed, *game, *alone, *overrides]
        self.process: subprocess.Popen[str] = start(folder, *words, script=UNHURRIED)
        said = wait_for(self.process, "page and control: ")
        self.port = int(re.findall(r"localhost:(\d+)", said)[-1])
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._drain, daemon=True).start()

    def _drain(self) -> None:
        assert self.process.stderr is not None
        for _ in self.process.stderr:
            pass

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    def ask(self, path: str, body: Any = None, *, post: bool = False) -> Any:
        data = json.dumps(body or {}).encode() if post or body is not None else None
        with urllib.request.urlopen(urllib.request.Request(self.url + path, data)) as answer:
            return json.load(answer)

    def until(self, holds: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """Poll the status until ``holds`` of it; returns it."""
        return until(lambda: self.ask("/status"), holds)

    def idle(self) -> None:
        """Stop what is running."""
        if self.ask("/status")["running"]:
            self.ask("/stop", post=True)
        self.until(lambda status: status["state"] == "idle")

    def running(self, *overrides: str) -> None:
        """Have an endless run under way, past its first validation."""
        if self.ask("/status")["state"] != "training":
            self.idle()
            self.ask("/start_train", {"overrides": list(overrides)})
        self.until(lambda status: status["metrics"]["val_acc"] is not None)

    def halted(self, steps: int) -> None:
        """Have a run of at least ``steps`` steps that was stopped; any such will do."""
        status = self.ask("/status")
        if status["outcome"] != "stopped" or status["step"] < steps:
            self.restart()
            self.until(lambda status: status["step"] >= steps)
        self.idle()

    def restart(self, *overrides: str) -> None:
        """Have a new endless run under way, with ``overrides``."""
        self.idle()
        self.running(*overrides)

    def saved(self, name: str) -> Path:
        """Save the run under way, and wait for the file."""
        path = self.checkpoints / f"{name}.pth"
        before = path.stat().st_ino if path.exists() else None
        self.ask("/save_checkpoint", {"name": name, "overwrite": True})
        self.until(lambda _: path.exists() and path.stat().st_ino != before)
        return path

    def finished(self, steps: int) -> None:
        """Have run ``steps`` steps to the end."""
        self.idle()
        self.ask("/start_train", {"overrides": [f"training.max_steps={steps}"]})
        self.until(lambda status: status["state"] == "idle" and status["outcome"] == "finished")

    def close(self) -> None:
        self.process.kill()
        self.process.wait(TIMEOUT)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()


class Watch:
    """Every error and every request of a page; ``expect`` names errors that belong to a test."""

    def __init__(self, page: Page) -> None:
        self.errors: list[str] = []
        self.hosts: set[str] = set()
        self._expected: list[str] = []
        self._page = page
        self._hears: dict[Any, Callable[..., None]] = {
            "console": self._console,
            "pageerror": lambda error: self.errors.append(str(error)),
            "request": self._request,
        }
        for event, hear in self._hears.items():
            page.on(event, hear)

    def close(self) -> None:
        for event, hear in self._hears.items():
            self._page.remove_listener(event, hear)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)

    def _request(self, request: Request) -> None:
        if match := re.match(r"(?:https?|wss?)://([^/]+)", request.url):
            self.hosts.add(match[1])

    def expect(self, text: str) -> None:
        self._expected.append(text)

    def unexpected(self) -> list[str]:
        return [error for error in self.errors if not any(e in error for e in self._expected)]


def alter(page: Page, url: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Let ``change`` edit the server's answers at ``url`` on their way to ``page``."""

    def handle(route: Route) -> None:
        response = route.fetch()
        answer = response.json()
        change(answer)
        route.fulfill(response=response, json=answer)

    page.route(url, handle)
