"""Routes that compare the runs of a folder."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, abort, current_app, request

from arc.server.runs_view import MOST_RUNS, RunsView

VIEW = "arc.server.runs"
blueprint = Blueprint("runs", __name__)
page_blueprint = Blueprint("page", __name__)  # in place of the dashboard's


def _view() -> RunsView:
    found: RunsView = current_app.extensions[VIEW]
    return found


@blueprint.get("/runs")
def runs() -> dict[str, Any]:
    """Return the runs of the folder: their settings, states and results, and their groups."""
    return _view().table()


@blueprint.get("/run_curves")
def run_curves() -> dict[str, Any]:
    """Return the curve ``?name=`` of the runs and groups ``?of=ID,ID``."""
    name, chosen = request.args.get("name", ""), request.args.get("of", "")
    if not name or not chosen:
        abort(400, "name and of are required, such as /run_curves?name=val_acc&of=ID,ID")
    ids = chosen.split(",")
    if len(ids) > MOST_RUNS:
        abort(400, f"of: at most {MOST_RUNS} runs or groups")
    return _view().curves(name, ids)


@page_blueprint.get("/")
def index() -> Response:
    """Return the page that shows runs and nothing else."""
    return current_app.send_static_file("runs.html")


@page_blueprint.get("/favicon.ico")
def icon() -> Response:
    """Return the page's icon."""
    return current_app.send_static_file("icon.svg")
