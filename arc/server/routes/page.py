"""The dashboard."""

from __future__ import annotations

from flask import Blueprint, Response, current_app

blueprint = Blueprint("page", __name__)


@blueprint.get("/")
def index() -> Response:
    """Return the page; its scripts and styles are in /static."""
    return current_app.send_static_file("index.html")


@blueprint.get("/favicon.ico")
def icon() -> Response:
    """Return the page's icon."""
    return current_app.send_static_file("icon.svg")
