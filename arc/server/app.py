"""The Flask application that shows and controls the runs of its own process."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from flask import Flask, Response, abort, g, jsonify, request
from flask.json.provider import JSONProvider
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from arc.checkpointing.archive import CheckpointError
from arc.server.queries import ANSWER_SECONDS, InvalidStateError, pause_after
from arc.server.requests import SESSION, to_json
from arc.server.routes import checkpoints, control, metrics, page, runs, samples
from arc.server.runs_view import RunsView
from arc.server.security import Guard, install_guard
from arc.server.session import Session

log = logging.getLogger(__name__)
CONCURRENT_REQUESTS = 16  # other threads serve FREE requests
FREE_SECONDS = 0.001  # of processor time per request: about as much as HTTP itself takes
FREE = {"page.index", "page.icon", "static", "metrics.status", "metrics.results", "control.stop"}
NO_TURN = {  # these wait for the training thread, or their file is sent by the server's thread
    "checkpoints.download",
    "samples.samples",
    "samples.probe",
    "control.start_train",
    "control.start_pretrain",
    "control.save_checkpoint",
}
ERRORS = {
    InvalidStateError: 400,
    FileExistsError: 409,
    CheckpointError: 400,
    TimeoutError: 503,
    ValueError: 400,
}


def create_app(session: Session, guard: Guard) -> Flask:
    """Create the application of ``session``."""
    app = _application(guard, lambda: session.is_running, RunsView(session.run_folders))
    app.extensions[SESSION] = session
    for routes in (page, metrics, control, samples, checkpoints):
        app.register_blueprint(routes.blueprint)
    return app


def create_runs_app(view: RunsView, guard: Guard) -> Flask:
    """Create an application that shows runs and nothing else."""
    app = _application(guard, lambda: False, view)
    app.register_blueprint(runs.page_blueprint)
    return app


def _application(guard: Guard, is_running: Callable[[], bool], view: RunsView) -> Flask:
    """Create an application with the routes of runs, limits and errors."""
    app = Application(__name__)
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.json = FiniteJson(app)
    app.extensions[runs.VIEW] = view
    install_guard(app, guard)
    _limit_concurrency(app, is_running)
    app.register_blueprint(runs.blueprint)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unexpected_error)
    for kind, status in ERRORS.items():
        app.register_error_handler(kind, lambda error, status=status: _error(str(error), status))
    return app


class Application(Flask):
    """An application whose requests cannot end the process."""

    def dispatch_request(self) -> Any:
        """Call the route; an exit requested by a library is an error of the request."""
        try:
            return super().dispatch_request()
        except SystemExit as error:
            raise RuntimeError(f"SystemExit: {error}") from error


class FiniteJson(JSONProvider):
    """JSON with null in place of NaN and infinity, which the standard lacks."""

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        """Return compact JSON."""
        return to_json(obj)

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        """Parse JSON."""
        return json.loads(s)


class ComputeTurn:
    """Lets one request compute at a time, so that few compete with the training thread.

    During a run, each is followed by a pause for what it takes beyond FREE_SECONDS: see
    ``pause_after``.
    """

    def __init__(self, is_running: Callable[[], bool]) -> None:
        self._is_running, self._lock = is_running, threading.Lock()
        self._began = self._next_at = 0.0

    def acquire(self) -> None:
        """Wait for the turn; aborts with 503 if it takes too long."""
        if not self._lock.acquire(timeout=ANSWER_SECONDS):
            abort(503, "too many requests are in progress: try again")
        while self._is_running() and time.monotonic() < self._next_at:
            time.sleep(min(0.1, max(0.0, self._next_at - time.monotonic())))
        self._began = time.thread_time()

    def release(self) -> None:
        """End the turn; called by the thread that has it."""
        excess = time.thread_time() - self._began - FREE_SECONDS
        self._next_at = time.monotonic() + pause_after(max(0.0, excess))
        self._lock.release()


def _limit_concurrency(app: Flask, is_running: Callable[[], bool]) -> None:
    """Refuse requests with 503 when too many are in progress; FREE ones are exempt."""
    places, turn = threading.BoundedSemaphore(CONCURRENT_REQUESTS), ComputeTurn(is_running)

    @app.before_request
    def enter() -> None:
        if request.endpoint in FREE:
            return
        if not places.acquire(blocking=False):
            abort(503, "too many requests are in progress: try again")
        g.held = [places]
        if request.endpoint not in NO_TURN:
            turn.acquire()
            g.held.append(turn)

    @app.teardown_request
    def leave(error: BaseException | None) -> None:
        for lock in g.pop("held", ()):
            lock.release()


def _error(message: str, status: int) -> tuple[Response, int]:
    response = jsonify(error=message)
    if status == 503:
        response.headers["Retry-After"] = "1"
    return response, status


def _http_error(error: HTTPException) -> tuple[Response, int]:
    response, status = _error(error.description or error.name, error.code or 500)
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        response.headers["Allow"] = ", ".join(sorted(error.valid_methods))
    return response, status


def _unexpected_error(error: Exception) -> tuple[Response, int]:
    """Return 500 for an unexpected exception; the run continues."""
    log.error("a request failed", exc_info=error)
    return _error(f"{type(error).__name__}: {error}", 500)
