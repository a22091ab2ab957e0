"""Routes for polling: status, metrics history, results and log."""

from __future__ import annotations

from typing import Any

from flask import Blueprint

from arc.server.requests import integer, session

blueprint = Blueprint("metrics", __name__)


@blueprint.get("/status")
def status() -> dict[str, Any]:
    """Return the state and settings of the run; before the first run, those of the next."""
    return session().status.status()


@blueprint.get("/metrics_history")
def metrics_history() -> dict[str, Any]:
    """Return the run's steps and validations; with ``?since=STEP`` only those after it."""
    return session().status.history(integer("since", -1))


@blueprint.get("/results")
def results() -> dict[str, Any]:
    """Return the test results of a finished run; null before its end."""
    return session().status.results()


@blueprint.get("/log")
def log() -> dict[str, Any]:
    """Return the log lines after ``?since=N``."""
    return {"lines": session().status.lines(integer("since", 0))}
