"""A process that serves the page, and the errors and requests of the page in Chromium."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from typing import Any

import helpers_served
from helpers_cli import CHECKOUT
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
# At most ten steps a second, so that Chromium has the processor too.
SLOWED = """
import time, torch, arc.train
step = torch.optim.AdamW.step
def slowed(*arguments, **options):
    time.sleep(0.1)
    return step(*arguments, **options)
torch.optim.AdamW.step = slowed
arc.train.main()
"""
# Keeps the text of each toast in window.toasts: a toast itself is removed after some seconds.
TOASTS = """
window.toasts = [];
new MutationObserver(changes => {
  for (const { addedNodes } of changes) {
    for (const node of addedNodes) {
      if (node.classList?.contains('toast')) {
        window.toasts.push(node.querySelector('span').textContent);
      }
    }
  }
}).observe(document, { childList: true, subtree: true });
"""
OpenPage = Callable[..., Page]


class Served(helpers_served.Served):
    """A process whose runs continue until they are stopped."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    _shared = ""  # the name of the latest run that `running` or `halted` started

    def running(self) -> None:
        """Have a run past its first validation; a shared one that is under way serves."""
        status = self.get("/status")
        if status["state"] != "training" or status["run_name"] != self._shared:
            self.initial_settings()
            self._shared = self.restart()

    def halted(self, steps: int = 12) -> None:
        """Have a stopped run of at least ``steps`` steps, and so of several validations."""
        status = self.get("/status")
        stopped = status["outcome"] == "stopped" and status["run_name"] == self._shared
        if not stopped or status["step"] < steps:
            self.initial_settings()
            self._shared = self.restart()
            self.until(lambda status: status["step"] >= steps)
        self.idle()

    def initial_settings(self) -> None:
        """Undo the changes that tests made to the settings of the next run."""
        self.idle()
        plain = {"task_type": "selection", "bottleneck_type": "communication", "batch_size": 16}
        extra = {"distractors": "random", "stop_token": False, "augment": False}
        lengths = {"seed": 0, "max_steps": None}
        self.post(
            "/task_config", {**plain, **extra, **lengths, "num_distractors": 3, "vocab_size": 25}
        )

    def restart(self, *overrides: str) -> str:
        """Have a new run with ``overrides`` past its first validation; returns its name."""
        self.idle()
        self.post("/start_train", {"overrides": list(overrides)})
        self.until(lambda status: status["metrics"]["val_acc"] is not None)
        return str(self.get("/status")["run_name"])


class Watch:
    """Every error and every request of a page; ``expect`` names errors that belong to a test."""

    def __init__(self, page: Page) -> None:
        self.errors: list[str] = []
        self.hosts: set[str] = set()
        self._expected: list[str] = []
        self._page = page
        self._listeners: dict[Any, Callable[..., None]] = {
            "console": self._console,
            "pageerror": lambda error: self.errors.append(str(error)),
            "request": self._request,
        }
        for event, listener in self._listeners.items():
            page.on(event, listener)

    def close(self) -> None:
        for event, listener in self._listeners.items():
            self._page.remove_listener(event, listener)

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


def toasted(page: Page, text: str) -> None:
    """Wait until a toast with ``text`` has been shown in the shared window."""
    page.wait_for_function("text => window.toasts.some(each => each.includes(text))", arg=text)


def copied(page: Page, title: str) -> list[dict[str, str]]:
    """Copy the table under the heading ``title``; returns a dict for each row."""
    page.evaluate("window.toasts.length = 0")
    page.get_by_role("button", name=f"Copy CSV of {title}", exact=True).click()
    toasted(page, f"of {title}")
    return list(csv.DictReader(io.StringIO(page.evaluate("navigator.clipboard.readText()"))))


def alter(page: Page, url: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Let ``change`` edit the server's answers at ``url`` on their way to ``page``."""

    def handle(route: Route) -> None:
        response = route.fetch(max_retries=3)
        answer = response.json()
        change(answer)
        route.fulfill(response=response, json=answer)

    page.route(url, handle)
