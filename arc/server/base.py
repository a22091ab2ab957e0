"""What every application here has: the guard, the page, what is published, answers in JSON."""

from __future__ import annotations

import json
import logging
from typing import Any

from flask import Flask, Response, jsonify
from flask.json.provider import JSONProvider
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from arc.server.here import BOARD
from arc.server.routes import metrics, page
from arc.server.security import Guard, install_guard
from arc.server.status import Board
from arc.trees import json_plain

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


def base_app(board: Board, guard: Guard) -> Flask:
    """Make an application that serves the page, and what ``board`` shows."""
    app = Flask(__name__)
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.json = FiniteJson(app)
    app.extensions[BOARD] = board
    install_guard(app, guard)
    for blueprint in (page.blueprint, metrics.blueprint):
        app.register_blueprint(blueprint)
    app.register_error_handler(HTTPException, _refused)
    app.register_error_handler(Exception, _failed)
    return app


def answer(message: str, status: int) -> tuple[Response, int]:
    """Return an error's answer."""
    return jsonify(error=message), status


def _refused(error: HTTPException) -> tuple[Response, int]:
    response, status = answer(error.description or error.name, error.code or 500)
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        response.headers["Allow"] = ", ".join(sorted(error.valid_methods))
    return response, status


def _failed(error: Exception) -> tuple[Response, int]:
    """Answer a fault of the program; the run goes on."""
    log.error("a request failed", exc_info=error)
    return answer(f"{type(error).__name__}: {error}", 500)
