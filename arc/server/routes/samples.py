"""Routes for the model's behavior: examples, edited messages, the language."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, abort, request

from arc.server.requests import session
from arc.server.samples import SampleViewer

blueprint = Blueprint("samples", __name__)
LONGEST_MESSAGE = 10_000  # characters: twice those of 1,000 symbols of four digits


@blueprint.get("/samples")
def samples() -> Response:
    """Return some validation examples with the current messages and outputs."""
    return Response(session().samples.get(), content_type="application/json")


@blueprint.get("/examples")
def examples() -> dict[str, Any]:
    """Return the names of the validation examples."""
    return {"examples": session().examples()}


@blueprint.get("/probe")
def probe() -> dict[str, Any]:
    """Return the validation ``example`` with the output for its own message or ``message=4,0,3``.

    With ``beside``, a second example by the same model.
    """
    current = session()
    example, other = request.args.get("example", ""), request.args.get("beside")
    message = _message(request.args.get("message"))

    def view(viewer: SampleViewer) -> dict[str, Any]:
        beside = {} if other is None else {"beside": viewer.sample(other)}
        return {"step": current.status.step, **viewer.sample(example, message), **beside}

    return current.ask(view)


def _message(text: str | None) -> list[int] | None:
    if text is None:
        return None
    if len(text) > LONGEST_MESSAGE:
        abort(400, f"message: {len(text)} characters; at most {LONGEST_MESSAGE} are allowed")
    try:
        return [int(symbol[:9]) for symbol in text.split(",")]
    except ValueError:
        abort(400, "message: symbols are whole numbers, separated by commas")


@blueprint.get("/concepts")
def concepts() -> Response:
    """Return what the messages of the last validation say about concepts."""
    return Response(session().concepts.get(), content_type="application/json")


@blueprint.get("/language")
def language() -> Response:
    """Return the messages of the last validation by frequency."""
    return Response(session().language.get(), content_type="application/json")
