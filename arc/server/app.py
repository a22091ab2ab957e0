"""The Flask application: routes in blueprints, every answer JSON but the page."""

from __future__ import annotations

import json
import logging
from typing import Any

from flask import Flask, Response, jsonify
from flask.json.provider import JSONProvider
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from arc.archive import CheckpointError
from arc.config import ServerConfig
from arc.metadata import json_plain
from arc.server.guard import install_guard
from arc.server.routes import control, files, look, page
from arc.server.state import EXTENSION, State
from arc.session import NotNow

log = logging.getLogger(__name__)


class FiniteJson(JSONProvider):
    """JSON in which NaN and infinity are null, as the standard has it."""

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        """Return compact JSON; only what holds such a number is walked through, which is slow."""
        try:
            return _compact(obj)
        except (TypeError, ValueError):
            return _compact(json_plain(obj))

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        """Read JSON."""
        return json.loads(s)


def _compact(obj: Any) -> str:
    return json.dumps(obj, separators=(",", ":"), allow_nan=False)


def create_app(state: State, config: ServerConfig) -> Flask:
    """Make the application that shows and steers ``state``'s session."""
    app = Flask(__name__)
    app.json = FiniteJson(app)
    app.extensions[EXTENSION] = state
    install_guard(app, config)
    for blueprint in (page.blueprint, control.blueprint, look.blueprint, files.blueprint):
        app.register_blueprint(blueprint)
    app.register_error_handler(HTTPException, _refused)
    app.register_error_handler(NotNow, lambda error: _answer(str(error), 400))
    app.register_error_handler(FileExistsError, lambda error: _answer(str(error), 409))
    app.register_error_handler(CheckpointError, lambda error: _answer(str(error), 400))
    app.register_error_handler(TimeoutError, lambda error: _answer(str(error), 503))
    app.register_error_handler(ValueError, lambda error: _answer(str(error), 400))
    app.register_error_handler(Exception, _failed)
    return app


def _answer(message: str, status: int) -> tuple[Response, int]:
    return jsonify(error=message), status


def _refused(error: HTTPException) -> tuple[Response, int]:
    response, status = _answer(error.description or error.name, error.code or 500)
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        response.headers["Allow"] = ", ".join(sorted(error.valid_methods))
    return response, status


def _failed(error: Exception) -> tuple[Response, int]:
    """Answer a fault of the program; the run goes on."""
    log.error("a request failed", exc_info=error)
    return _answer(f"{type(error).__name__}: {error}", 500)
