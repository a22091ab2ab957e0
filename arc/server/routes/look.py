"""What the agents say: examples, messages changed by hand, the language; and the log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from flask import Blueprint, Response, abort, current_app, request

from arc.looking import Looker, language_table
from arc.server.state import here, number

blueprint = Blueprint("look", __name__)


def _moment() -> tuple[int, int | None]:
    """Return what changes with every validation."""
    board = here().session.board
    return board.run_id, board.validated.step if board.validated else None


def _channel(looker: Looker) -> dict[str, Any]:
    bottleneck = looker.model.bottleneck
    return {"vocab_size": bottleneck.vocab_size, "max_message_length": bottleneck.max_length}


def _once(what: str, moment: tuple[int, Any], work: Callable[[Looker], dict[str, Any]]) -> Response:
    """Answer what ``work`` finds out at this ``moment``, made and written down once for all."""
    write = current_app.json.dumps
    text = here().once(what, moment, lambda looker: write(work(looker)))
    return Response(text, mimetype="application/json")


@blueprint.get("/samples")
def samples() -> Response | dict[str, Any]:
    """Return some held-out examples, as of the last validation."""
    moment = _moment()
    if not here().session.has_model:
        return {"run_id": moment[0], "step": None, "task_type": None, "samples": []}
    return _once(
        "samples",
        moment,
        lambda looker: {
            "run_id": moment[0],
            "step": moment[1],
            "task_type": looker.task.config.name,
            **_channel(looker),
            "samples": looker.samples(),
        },
    )


@blueprint.get("/examples")
def examples() -> Response | dict[str, Any]:
    """Return the names of the held-out examples."""
    run_id = here().session.board.run_id
    if not here().session.has_model:
        return {"examples": []}
    return _once("examples", (run_id, None), lambda looker: {"examples": looker.examples()})


@blueprint.get("/probe")
def probe() -> dict[str, Any]:
    """Return one held-out ``example``, as its own message or ``message=4,0,3`` is heard."""
    example, text = request.args.get("example", ""), request.args.get("message")
    message = None
    if text is not None:
        try:
            message = [int(symbol[:9]) for symbol in text[:2000].split(",")]
        except ValueError:
            abort(400, "message: symbols are whole numbers, with commas between them")
    session = here().session

    def heard(looker: Looker) -> dict[str, Any]:
        step = session.board.step
        return {"step": step.step if step else None, **looker.sample(example, message)}

    return session.ask(heard)


@blueprint.get("/language")
def language() -> Response | dict[str, Any]:
    """Return the messages of the last validation by how often they were sent."""
    moment, validated = _moment(), here().session.board.validated
    messages = validated.judgement.messages if validated else None
    if messages is None:
        return {"run_id": moment[0], "step": moment[1], "messages": [], "positions": []}

    def table(looker: Looker) -> dict[str, Any]:
        vocab_size = looker.model.bottleneck.vocab_size
        assert vocab_size is not None
        split = looker.task.corpus.validation
        return {
            "run_id": moment[0],
            "step": moment[1],
            "vocab_size": vocab_size,
            "max_length": looker.model.bottleneck.max_length,
            **language_table(split, messages.tolist(), vocab_size),
        }

    return _once("language", moment, table)


@blueprint.get("/log")
def log() -> dict[str, Any]:
    """Return the lines of the log after ``?since=N``."""
    since = number("since", 0)
    return {"lines": [asdict(line) for line in list(here().lines) if line.n > since]}
