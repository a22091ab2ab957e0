"""What the agents say: examples, messages changed by hand, the language."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, abort, request

from arc.server.here import board, session
from arc.server.samples import SampleViewer, language_table

blueprint = Blueprint("look", __name__)


def _channel(looker: SampleViewer) -> dict[str, Any]:
    bottleneck = looker.model.bottleneck
    return {"vocab_size": bottleneck.vocab_size, "max_message_length": bottleneck.max_length}


@blueprint.get("/samples")
def samples() -> dict[str, Any]:
    """Return some held-out examples, as they are understood now."""
    run_id, validated, has_model = board().moment
    about = {"run_id": run_id, "step": validated}
    if not has_model:
        return {**about, "task_type": None, "samples": []}
    return session().ask(
        lambda looker: {
            **about,
            "task_type": looker.task.config.name,
            **_channel(looker),
            "samples": looker.samples(),
        }
    )


@blueprint.get("/examples")
def examples() -> dict[str, Any]:
    """Return the names of the held-out examples."""
    if not board().has_model:
        return {"examples": []}
    return {"examples": session().ask(SampleViewer.examples)}


@blueprint.get("/probe")
def probe() -> dict[str, Any]:
    """Return one held-out ``example``, as its own message or ``message=4,0,3`` is heard.

    With ``beside``, another one by the same model.
    """
    example, text = request.args.get("example", ""), request.args.get("message")
    other = request.args.get("beside")
    message = None
    if text is not None:
        try:
            message = [int(symbol[:9]) for symbol in text[:2000].split(",")]
        except ValueError:
            abort(400, "message: symbols are whole numbers, with commas between them")
    published = board()

    def heard(looker: SampleViewer) -> dict[str, Any]:
        beside = {} if other is None else {"beside": looker.sample(other)}
        return {"step": published.step, **looker.sample(example, message), **beside}

    return session().ask(heard)


@blueprint.get("/language")
def language() -> dict[str, Any]:
    """Return the messages of the last validation by how often they were sent."""
    run_id, step, _ = board().moment
    validated = session().validated
    messages = validated.evaluation.messages if validated else None
    if messages is None:
        return {"run_id": run_id, "step": step, "messages": [], "positions": []}

    def table(looker: SampleViewer) -> dict[str, Any]:
        vocab_size = looker.model.bottleneck.vocab_size
        assert vocab_size is not None
        return {
            "run_id": run_id,
            "step": step,
            "vocab_size": vocab_size,
            "max_length": looker.model.bottleneck.max_length,
            **language_table(looker.task.corpus.validation, messages.tolist(), vocab_size),
        }

    return session().ask(table)
