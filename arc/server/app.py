"""The Flask application that shows and controls the runs of its own process."""

from __future__ import annotations

import json
import logging
import threading
from typing import Any

from flask import Flask, Response, abort, g, jsonify, request
from flask.json.provider import JSONProvider
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from arc.checkpointing.archive import CheckpointError
from arc.server.queries import InvalidStateError
from arc.server.requests import SESSION, to_json
from arc.server.routes import checkpoints, control, metrics, page, samples
from arc.server.security import Guard, install_guard, is_cheap
from arc.server.session import Session

log = logging.getLogger(__name__)
CONCURRENT_REQUESTS = 16  # other threads serve cheap requests and /stop
WAITING = {  # for the training thread
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
    app = Flask(__name__)
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.json = FiniteJson(app)
    app.extensions[SESSION] = session
    install_guard(app, guard)
    _limit_concurrency(app)
    for routes in (page, metrics, control, samples, checkpoints):
        app.register_blueprint(routes.blueprint)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unexpected_error)
    for kind, status in ERRORS.items():
        app.register_error_handler(kind, lambda error, status=status: _error(str(error), status))
    return app


class FiniteJson(JSONProvider):
    """JSON with null in place of NaN and infinity, which the standard lacks."""

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        """Return compact JSON."""
        return to_json(obj)

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        """Parse JSON."""
        return json.loads(s)


def _limit_concurrency(app: Flask) -> None:
    """Refuse requests with 503 when too many are in progress; cheap ones and /stop are exempt.

    Requests that compute rather than wait run one at a time, so that they do not compete with the
    training thread for the interpreter.
    """
    places, computing = threading.BoundedSemaphore(CONCURRENT_REQUESTS), threading.Lock()

    @app.before_request
    def enter() -> None:
        if is_cheap(request) or request.endpoint == "control.stop":
            return
        if not places.acquire(blocking=False):
            abort(503, "too many requests are in progress: try again")
        g.held = [places]
        if request.endpoint not in WAITING:
            computing.acquire()
            g.held.append(computing)

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
