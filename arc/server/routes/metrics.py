"""Where the run is, its course and its log, as published: what pages ask for all the time."""

from __future__ import annotations

from typing import Any

from flask import Blueprint

from arc.server.here import board
from arc.server.requests import number

blueprint = Blueprint("watch", __name__)


@blueprint.get("/status")
def status() -> dict[str, Any]:
    """Return where the run is, and its settings (the next one's, before the first)."""
    return board().status()


@blueprint.get("/metrics_history")
def metrics_history() -> dict[str, Any]:
    """Return the run's course; ``?since=STEP`` what is new."""
    return board().history(number("since", -1))


@blueprint.get("/results")
def results() -> dict[str, Any]:
    """Return what a finished run came to on the test set; null before."""
    return board().results()


@blueprint.get("/log")
def log() -> dict[str, Any]:
    """Return the lines of the log after ``?since=N``."""
    return {"lines": board().lines(number("since", 0))}
