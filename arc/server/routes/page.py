"""The dashboard."""

from __future__ import annotations

from flask import Blueprint, Response, current_app

blueprint = Blueprint("page", __name__)


@blueprint.get("/")
def index() -> Response:
    """Return the page; its parts come from /static."""
    return current_app.send_static_file("index.html")


@blueprint.get("/favicon.ico")
def icon() -> Response:
    """Return the page's mark."""
    return current_app.send_static_file("icon.svg")
