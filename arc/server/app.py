"""The whole application: it shows and steers the session of the process that it is in."""

from __future__ import annotations

from flask import Flask, Response

from arc.checkpointing.archive import CheckpointError
from arc.server.base import answer, base_app
from arc.server.here import SESSION
from arc.server.relay import COUNT
from arc.server.routes import checkpoints, control, samples
from arc.server.security import Guard
from arc.server.session import InvalidStateError, Session

REFUSALS = {
    InvalidStateError: 400,
    FileExistsError: 409,
    CheckpointError: 400,
    TimeoutError: 503,
    ValueError: 400,
}


def create_app(session: Session, guard: Guard) -> Flask:
    """Make the application that shows and steers ``session``."""
    app = base_app(session.board, guard)
    app.extensions[SESSION] = session
    for blueprint in (control.blueprint, samples.blueprint, checkpoints.blueprint):
        app.register_blueprint(blueprint)
    for kind, status in REFUSALS.items():
        app.register_error_handler(kind, lambda error, status=status: answer(str(error), status))

    @app.after_request
    def count(response: Response) -> Response:
        response.headers[COUNT] = str(session.board.count)
        return response

    return app
